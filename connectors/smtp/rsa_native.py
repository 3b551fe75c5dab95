"""RSA signatures without the interpreter's lock, so that signing in threads uses all cores.

`cryptography` keeps the lock while it signs: for RSA of 2048 bits most of a millisecond, in which nothing else of the
gateway runs. Here the same OpenSSL is called by ctypes, which lets the lock go. Where the library is not found, or does
not sign as `cryptography` verifies, `load` returns None and the caller signs by `cryptography`.

Promises: a key stays in the memory of this process; a handle is safe to use from several threads.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_long, c_size_t, c_ubyte, c_void_p
from functools import cache
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_NAMES: Final = {"darwin": ("libcrypto.3.dylib",)}.get(sys.platform, ("libcrypto.so.3", "libcrypto.so.1.1"))
_PROBE: Final = bytes(range(32))
_OK: Final = 1


@cache
def _library() -> Any | None:
    """Return OpenSSL's library with the types of what is called of it; None where there is none."""
    for name in _NAMES:
        try:
            library = ctypes.CDLL(name)
            library.d2i_AutoPrivateKey.restype = c_void_p
            library.d2i_AutoPrivateKey.argtypes = (c_void_p, POINTER(c_char_p), c_long)
            library.EVP_PKEY_CTX_new.restype = c_void_p
            library.EVP_PKEY_CTX_new.argtypes = (c_void_p, c_void_p)
            library.EVP_PKEY_CTX_free.restype = None
            library.EVP_PKEY_CTX_free.argtypes = (c_void_p,)
            library.EVP_PKEY_free.restype = None
            library.EVP_PKEY_free.argtypes = (c_void_p,)
            library.EVP_PKEY_sign_init.restype = c_int
            library.EVP_PKEY_sign_init.argtypes = (c_void_p,)
            library.EVP_PKEY_CTX_ctrl_str.restype = c_int
            library.EVP_PKEY_CTX_ctrl_str.argtypes = (c_void_p, c_char_p, c_char_p)
            library.EVP_PKEY_sign.restype = c_int
            library.EVP_PKEY_sign.argtypes = (c_void_p, c_void_p, POINTER(c_size_t), c_char_p, c_size_t)
        except (OSError, AttributeError):
            continue
        return library
    return None


class NativeRsa:
    """A private key as OpenSSL holds it."""

    def __init__(self, library: Any, key: RSAPrivateKey) -> None:
        """Raises: ValueError where the library does not take the key."""
        self._library = library
        self._size = (key.key_size + 7) // 8
        der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        self._handle = library.d2i_AutoPrivateKey(None, byref(c_char_p(der)), len(der))
        if not self._handle:
            raise ValueError("OpenSSL does not take the key")

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle:
            self._library.EVP_PKEY_free(handle)

    def sign(self, digest: bytes) -> bytes:
        """Sign a SHA-256 digest (PKCS #1 v1.5). Raises: ValueError."""
        library = self._library
        context = library.EVP_PKEY_CTX_new(self._handle, None)
        if not context:
            raise ValueError("OpenSSL has no memory to sign with")
        try:
            made = (c_ubyte * self._size)()
            size = c_size_t(self._size)
            if (
                library.EVP_PKEY_sign_init(context) == _OK
                and library.EVP_PKEY_CTX_ctrl_str(context, b"rsa_padding_mode", b"pkcs1") == _OK
                and library.EVP_PKEY_CTX_ctrl_str(context, b"digest", b"sha256") == _OK
                and library.EVP_PKEY_sign(context, made, byref(size), digest, len(digest)) == _OK
            ):
                return bytes(made)[: size.value]
        finally:
            library.EVP_PKEY_CTX_free(context)
        raise ValueError("OpenSSL does not sign by the key")


def load(key: RSAPrivateKey) -> NativeRsa | None:
    """Return the key as OpenSSL holds it, once it has signed right; None where that cannot be had."""
    library = _library()
    if library is None:
        return None
    try:
        made = NativeRsa(library, key)
        key.public_key().verify(made.sign(_PROBE), _PROBE, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
    except (ValueError, InvalidSignature):
        return None
    return made
