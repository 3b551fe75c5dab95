"""SCRAM by the examples of its RFCs, and by what must not pass."""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from connectors.smtp.login.config import LoginConfig
from connectors.smtp.login.desk import LoginDesk
from connectors.smtp.login.scram import Hash, Scram, derive
from connectors.smtp.login.steps import Challenge, Keys, Proven, Refused, ScramKeys
from gateway.contract import Context
from gateway.log import get_log

EXAMPLES: list[tuple[Hash, bytes, bytes, str, bytes, bytes, bytes, bytes]] = [
    (  # RFC 5802 §5
        "sha1",
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        b64decode("QSXCR+Q6sek8bf92"),
        "3rfcNHYJY1ZVvWVs7j",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=",
        b"v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    (  # RFC 7677 §3
        "sha256",
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="),
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=",
        b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("hash_", "first", "salt", "nonce", "server_first", "final", "proof", "server_final"),
    EXAMPLES,
    ids=["RFC 5802", "RFC 7677"],
)
def test_the_example(
    hash_: Hash,
    first: bytes,
    salt: bytes,
    nonce: str,
    server_first: bytes,
    final: bytes,
    proof: bytes,
    server_final: bytes,
) -> None:
    scram = Scram(secret=b"x", hash_=hash_, nonce=lambda: nonce)
    assert scram.step(None) == Challenge(b"")
    assert scram.step(first) == Keys("user")
    assert scram.answer(derive("pencil", salt, 4096, hash_)) == Challenge(server_first)
    assert scram.step(final + proof) == Challenge(server_final)
    assert scram.step(b"") == Proven("user")


class Client:
    """The client's side, written from the RFC for the tests."""

    def __init__(self, password: str, *, gs2: bytes = b"n,,", binding: bytes = b"", name: bytes = b"user") -> None:
        self.password, self.gs2, self.binding = password, gs2, binding
        self.bare = b"n=" + name + b",r=clientnonce"

    def first(self) -> bytes:
        return self.gs2 + self.bare

    def final(self, server_first: bytes) -> bytes:
        nonce, salt, iterations = (part[2:] for part in server_first.split(b","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), b64decode(salt), int(iterations))
        key = hmac.digest(salted, b"Client Key", "sha256")
        bare = b"c=" + b64encode(self.gs2 + self.binding) + b",r=" + nonce
        message = b",".join((self.bare, server_first, bare))
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        return bare + b",p=" + b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True)))


KEYS = derive("pencil", b"0123456789abcdef", 4096)
UNIQUE = {"tls-unique": b"this very channel", "tls-server-end-point": b"this very server"}


def run(client: Client, keys: ScramKeys | None = KEYS, *, plus: bool = False, bound: bool = False) -> bool:
    scram = Scram(secret=b"x", plus=plus, bindings=UNIQUE if bound else None)
    if not isinstance(scram.step(client.first()), Keys):
        return False
    answer = scram.answer(keys)
    assert isinstance(answer, Challenge)
    if not isinstance(scram.step(client.final(answer.octets)), Challenge):
        return False
    return isinstance(scram.step(b""), Proven)


def test_right_and_wrong() -> None:
    assert run(Client("pencil"))
    assert not run(Client("pencils"))
    assert not run(Client("pencil"), None), "nobody is let in who does not exist"


def test_bound_to_the_channel() -> None:
    assert run(Client("pencil", gs2=b"p=tls-unique,,", binding=b"this very channel"), plus=True, bound=True)
    assert run(Client("pencil", gs2=b"p=tls-server-end-point,,", binding=b"this very server"), plus=True, bound=True)
    assert not run(Client("pencil", gs2=b"p=tls-unique,,", binding=b"another channel"), plus=True, bound=True)
    assert not run(Client("pencil", gs2=b"p=tls-exporter,,", binding=b"x"), plus=True, bound=True)
    assert not run(Client("pencil", gs2=b"n,,"), plus=True, bound=True), "-PLUS without what it is for"
    assert not run(Client("pencil", gs2=b"p=tls-unique,,", binding=b"this very channel"), bound=True)


def test_an_offer_that_was_cut_on_the_way_is_seen() -> None:
    """RFC 5802 §6: a client that could have bound itself, and was not offered it, says so."""
    assert not run(Client("pencil", gs2=b"y,,"), bound=True)
    assert run(Client("pencil", gs2=b"y,,"))
    assert run(Client("pencil", gs2=b"n,,"), bound=True)


def test_acting_as_another() -> None:
    assert run(Client("pencil", gs2=b"n,a=user,"))
    assert not run(Client("pencil", gs2=b"n,a=other,"))


def test_who_does_not_exist_is_asked_as_anybody() -> None:
    def asked(name: bytes, nonce: str) -> bytes:
        scram = Scram(secret=b"secret of this start", nonce=lambda: nonce)
        scram.step(b"n,,n=" + name + b",r=x")
        answer = scram.answer(None)
        assert isinstance(answer, Challenge)
        return answer.octets.partition(b",s=")[2]

    assert asked(b"nobody", "1") == asked(b"nobody", "2"), "another salt each time would tell"
    assert asked(b"nobody", "1") != asked(b"nobody2", "1")


async def test_who_does_not_exist_is_asked_in_the_form_of_those_who_do(tmp_path: Path) -> None:
    """Other iterations, or another salt from each worker and start, would tell who has an account."""
    keys = derive("x", b"eight...", 4096)
    parts = (keys.salt, keys.stored_key, keys.server_key)
    stored = ",".join(b64encode(part).decode() for part in parts)
    (tmp_path / "accounts").write_text(f"ann:{{SCRAM-SHA-256}}4096,{stored}\n")
    context = Context("gw.example", tmp_path, tmp_path, get_log("test"), time.time)

    async def asked(name: bytes) -> bytes:
        desk = LoginDesk(LoginConfig(file="accounts"), context)
        await desk.start()
        try:
            log_in = desk.begin("SCRAM-SHA-256", "192.0.2.1", "192.0.2.1", {}, tls=True)
            said = await log_in.step(b"n,,n=" + name + b",r=x")
            assert isinstance(said, Challenge)
            return said.octets.partition(b",s=")[2]
        finally:
            await desk.stop()

    known, unknown = await asked(b"ann"), await asked(b"nobody")
    assert known.partition(b",")[2] == unknown.partition(b",")[2] == b"i=4096"
    assert len(known) == len(unknown)
    assert unknown == await asked(b"nobody"), "another process"
    assert unknown != await asked(b"nobody2")
    assert (tmp_path / "login-secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "first",
    [b"", b"n,,", b"n,,n=,r=x", b"n,,n=user", b"n,,n=us=er,r=x", b"x,,n=user,r=x", b"n,n=user,r=x",
     b"n,,m=x,n=user,r=x", b"n,,n=user,r=" + b"x" * 600, b"n,,n=\xff,r=x", b"p=,,n=user,r=x", b"\0" * 50],
)  # fmt: skip
def test_a_first_message_that_is_none(first: bytes) -> None:
    assert isinstance(Scram(secret=b"x").step(first), Refused)


@pytest.mark.parametrize(
    "final",
    [b"", b"c=biws", b"c=biws,r=NONCE", b"c=biws,r=NONCE,p=", b"c=biws,r=NONCE,p=AAAA", b"c=biws,r=other,p=AAAA",
     b"c=!,r=NONCE,p=AAAA", b"c=eSws,r=NONCE,p=AAAA"],
)  # fmt: skip
def test_a_final_message_that_is_none(final: bytes) -> None:
    scram = Scram(secret=b"x", nonce=lambda: "server")
    scram.step(b"n,,n=user,r=client")
    scram.answer(KEYS)
    assert isinstance(scram.step(final.replace(b"NONCE", b"clientserver")), Refused)


def test_a_proof_is_good_once() -> None:
    client = Client("pencil")
    scram = Scram(secret=b"x", nonce=lambda: "one")
    scram.step(client.first())
    answer = scram.answer(KEYS)
    assert isinstance(answer, Challenge)
    proof = client.final(answer.octets)
    again = Scram(secret=b"x", nonce=lambda: "two")
    again.step(client.first())
    again.answer(KEYS)
    assert isinstance(again.step(proof), Refused)
