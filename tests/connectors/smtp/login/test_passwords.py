"""Stored passwords: our own forms, and those that other programs write."""

from __future__ import annotations

import subprocess

import pytest

from connectors.smtp.login.passwords import FORMS, Form, fault, is_right, scram_keys, store


@pytest.mark.parametrize("form", FORMS)
def test_our_own(form: Form) -> None:
    stored = store("pä€ secret", form)
    assert fault(stored) is None
    assert is_right(stored, "pä€ secret")
    assert not is_right(stored, "pä€ Secret")
    assert store("pä€ secret", form) != stored, "each has a salt of its own"
    assert (scram_keys(stored) is not None) is (form == "scram")
    assert "secret" not in stored


@pytest.mark.parametrize("method", ["-1", "-5", "-6"])
def test_what_openssl_writes(method: str) -> None:
    made = subprocess.run(
        ["openssl", "passwd", method, "secret"], capture_output=True, text=True, check=True, timeout=60
    )
    stored = made.stdout.strip()
    assert fault(stored) is None
    assert is_right(stored, "secret")
    assert is_right("{CRYPT}" + stored, "secret")
    assert not is_right(stored, "secrets")


def test_what_dovecot_writes() -> None:
    for scheme in ("SCRAM-SHA-256", "SHA512-CRYPT", "BLF-CRYPT"):
        made = subprocess.run(
            ["doveadm", "pw", "-s", scheme, "-p", "secret"], capture_output=True, text=True, check=True, timeout=60
        )
        stored = made.stdout.strip()
        assert fault(stored) is None, stored
        assert is_right(stored, "secret"), stored
        assert not is_right(stored, "secrets"), stored


def test_what_postgresql_writes() -> None:
    stored = store("secret", "scram")
    iterations, salt, stored_key, server_key = stored.removeprefix("{SCRAM-SHA-256}").split(",")
    theirs = f"SCRAM-SHA-256${iterations}:{salt}${stored_key}:{server_key}"
    assert scram_keys(theirs) == scram_keys(stored)
    assert is_right(theirs, "secret")


# RFC 7914 §12 has the raw function; this is its third vector in the form of the password hashing competition.
SCRYPT = (
    "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU"
    "$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw"
)


def test_the_vector_of_scrypt() -> None:
    assert fault(SCRYPT) is None
    assert is_right(SCRYPT, "pleaseletmein")
    assert not is_right(SCRYPT, "pleaseletmeout")


@pytest.mark.parametrize(
    "stored",
    [
        "", "secret", "{PLAIN}secret", "{SSHA}abcd", "$", "$9$salt$hash", "*", "!", "x",
        "$scrypt$ln=25,r=8,p=1$c2FsdA$c2FsdA", "$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ",
        "{SCRAM-SHA-256}1,c2FsdA==,c2FsdA==,c2FsdA==", "{SCRAM-SHA-256}4096,!,!,!", "SCRAM-SHA-256$4096:x$y:z",
        "$6$", "$6$salt$" + "\xff" * 20,
    ],
)  # fmt: skip
def test_what_is_none_is_said_so_and_lets_nobody_in(stored: str) -> None:
    assert fault(stored)
    assert not is_right(stored, "secret")
    assert not is_right(stored, stored)
    assert not is_right(stored, "")
