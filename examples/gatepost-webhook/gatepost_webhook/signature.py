"""Signatures of requests, in the form of the Standard Webhooks specification. Pure.

What is signed is `ID.TIMESTAMP.BODY`, by HMAC with SHA-256; the header has one or more of `v1,BASE64`, parted by
blanks, so that keys can be changed one side after the other. The timestamp keeps a request from being used again later.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

TOLERANCE_S: Final = 300
_MOST: Final = 8
"""Signatures of one header that are looked at."""


def sign(keys: Iterable[bytes], id: str, at: int, body: bytes) -> str:
    """Return the value of `webhook-signature`, with each key's signature."""
    return " ".join(f"v1,{base64.b64encode(_mac(key, id, at, body)).decode()}" for key in keys)


def is_signed(key: bytes, id: str, timestamp: str, signatures: str, body: bytes, now: float) -> bool:
    """Tell whether one of the signatures is by this key, and the timestamp not more than five minutes from `now`."""
    if not id or not timestamp.isdecimal() or len(timestamp) > 12 or abs(now - int(timestamp)) > TOLERANCE_S:
        return False
    mac = _mac(key, id, int(timestamp), body)
    for each in signatures.split()[:_MOST]:
        version, _, text = each.partition(",")
        try:
            given = base64.b64decode(text, validate=True)
        except ValueError:
            continue
        if version == "v1" and hmac.compare_digest(given, mac):
            return True
    return False


def _mac(key: bytes, id: str, at: int, body: bytes) -> bytes:
    return hmac.digest(key, b"%s.%d.%s" % (id.encode("latin-1", "replace"), at, body), hashlib.sha256)
