"""What is stored of a password, and whether a password is it.

Taken are the forms that other mail systems and `mkpasswd` write: `$argon2id$…`, `$scrypt$…`, whatever the system's
crypt(3) knows (`$6$…`, `$y$…`, `$2b$…`), and SCRAM's keys as Dovecot and PostgreSQL write them, which serve SCRAM too.
Dovecot's word in braces before a form is read. A password in clear is not.
Everything here takes its time on purpose: call it in a thread.
"""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from functools import cache
from typing import Any, Final, Literal

from cryptography.exceptions import InvalidKey, UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from connectors.smtp.login.scram import ITERATIONS, MOST_ITERATIONS, derive
from connectors.smtp.login.steps import ScramKeys

Form = Literal["scram", "argon2id", "scrypt"]
FORMS: Final[tuple[Form, ...]] = ("scram", "argon2id", "scrypt")

_BRACED: Final = re.compile(r"\{[A-Za-z0-9.-]+\}(?=\$)")
_SCRAM: Final = re.compile(
    r"(?:\{SCRAM-SHA-256\}(\d{1,8}),([^,]+),([^,]+),([^,]+)|SCRAM-SHA-256\$(\d{1,8}):([^$]+)\$([^:]+):(.+))"
)
_SCRYPT: Final = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
_ARGON2: Final = re.compile(r"\$argon2id\$v=19\$m=(\d{1,8}),t=(\d{1,3}),p=(\d{1,3})\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_CRYPT: Final = re.compile(r"\$(?:1|2[aby]|5|6|7|y|gy)\$[!-9;-~]{8,}")
_SCRYPT_MEMORY: Final = 256 * 1024 * 1024
_ARGON2_MEMORY_KIB: Final = 1024 * 1024
_CRYPT_DATA: Final = 256 * 1024
"""Octets of crypt_r's work space: glibc's own has 131,232, libxcrypt's 32,768."""


def fault(stored: str) -> str | None:
    """Return what is wrong with a stored form, None where it is one that is known here."""
    stored = _BRACED.sub("", stored)
    if _SCRAM.fullmatch(stored):
        return None if scram_keys(stored) is not None else "its SCRAM keys are not whole"
    if match := _ARGON2.fullmatch(stored):
        return None if int(match[1]) <= _ARGON2_MEMORY_KIB else "it asks for over 1 GiB of memory"
    if match := _SCRYPT.fullmatch(stored):
        return None if _scrypt_memory(match) <= _SCRYPT_MEMORY else "it asks for over 256 MiB of memory"
    if _CRYPT.fullmatch(stored):
        return None
    return "it is no form of a stored password that is known here; write it by `gatepost accounts set`"


def is_right(stored: str, password: str) -> bool:
    """Say whether `password` is the one that was stored. Blocks for a tenth of a second or so. Raises: nothing."""
    stored = _BRACED.sub("", stored)
    keys = scram_keys(stored)
    if keys is not None:
        made = derive(password, keys.salt, keys.iterations)
        return hmac.compare_digest(made.stored_key, keys.stored_key)
    if fault(stored) is not None:
        return False
    if stored.startswith("$argon2id$"):
        return _argon2(stored, password)
    if match := _SCRYPT.fullmatch(stored):
        return _scrypt(match, password)
    made_by = _crypt(password.encode(), stored.encode("ascii"))
    return made_by is not None and hmac.compare_digest(made_by, stored.encode("ascii"))


def scram_keys(stored: str) -> ScramKeys | None:
    """Return the keys of a form that serves SCRAM, else None."""
    match = _SCRAM.fullmatch(stored)
    if match is None:
        return None
    iterations, salt, stored_key, server_key = (part for part in match.groups() if part is not None)
    try:
        keys = ScramKeys(int(iterations), _b64(salt), _b64(stored_key), _b64(server_key))
    except ValueError:
        return None
    fits = (
        4096 <= keys.iterations <= MOST_ITERATIONS and keys.salt and len(keys.stored_key) == len(keys.server_key) == 32
    )
    return keys if fits else None


def store(password: str, form: Form) -> str:
    """Return what to store of a password that SASLprep has prepared."""
    if form == "scram":
        keys = derive(password, secrets.token_bytes(16), ITERATIONS)
        parts = (keys.salt, keys.stored_key, keys.server_key)
        return f"{{SCRAM-SHA-256}}{keys.iterations}," + ",".join(b64encode(part).decode() for part in parts)
    salt = secrets.token_bytes(16)
    if form == "argon2id":
        # RFC 9106 §4, the second recommended choice
        made = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=64 * 1024)
        return made.derive_phc_encoded(password.encode())
    octets = hashlib.scrypt(password.encode(), salt=salt, n=1 << 15, r=8, p=1, maxmem=_SCRYPT_MEMORY, dklen=32)
    return f"$scrypt$ln=15,r=8,p=1${_unpadded(salt)}${_unpadded(octets)}"


def _argon2(stored: str, password: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(password.encode(), stored)
    except (InvalidKey, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _scrypt_memory(match: re.Match[str]) -> int:
    return int(128 * (1 << int(match[1])) * int(match[2]) * max(1, int(match[3])) * 2)


def _scrypt(match: re.Match[str], password: str) -> bool:
    try:
        salt, wanted = _b64(match[4]), _b64(match[5])
        made = hashlib.scrypt(
            password.encode(),
            salt=salt,
            n=1 << int(match[1]),
            r=int(match[2]),
            p=int(match[3]),
            maxmem=_SCRYPT_MEMORY,
            dklen=len(wanted),
        )
    except (ValueError, MemoryError):
        return False
    return hmac.compare_digest(made, wanted)


@cache
def _crypt_r() -> Any:
    """Return the system's crypt_r(3), which is thread-safe; None where there is none."""
    for name in ("libcrypt.so.1", "libcrypt.so.2", None):  # None: the C library itself, as musl's
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        return function
    return None


def _crypt(password: bytes, setting: bytes) -> bytes | None:
    function = _crypt_r()
    if function is None or b"\0" in password:
        return None
    made: bytes | None = function(password, setting, ctypes.create_string_buffer(_CRYPT_DATA))
    return None if made is None or made.startswith(b"*") else made


def _b64(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4), validate=True)


def _unpadded(octets: bytes) -> str:
    return b64encode(octets).decode().rstrip("=")
