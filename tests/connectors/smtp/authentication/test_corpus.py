"""Third-party mail: the canonical forms of flanker's vectors, and the bodies of signed messages as dkimpy sees them.

The keys of the signed messages are long gone; what is compared is whether the body is the one that was signed.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import dkim  # type: ignore[import-untyped]  # dkimpy ships no types
import pytest

from connectors.smtp.authentication.canonical import Bodies, BodyHash, Fields, Form, canonical_fields
from connectors.smtp.authentication.dkim import SignatureFault, read

CORPUS = Path(os.environ.get("GATEPOST_CORPUS", "/nonexistent"))
VECTORS = CORPUS / "mailgun-flanker" / "tests" / "fixtures" / "messages" / "dkim"
pytestmark = pytest.mark.skipif(
    not CORPUS.is_dir() and "CI" not in os.environ, reason="GATEPOST_CORPUS is not set: no third-party mail is at hand"
)


def with_crlf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def parted(octets: bytes) -> tuple[bytes, bytes]:
    """Return header and body, as its vectors have them."""
    if octets.startswith(b"\r\n"):
        return b"", octets[2:]
    head, _, body = octets.partition(b"\r\n\r\n")
    return (head + b"\r\n" if head and not head.endswith(b"\r\n") else head), body


@pytest.mark.parametrize("form", ["simple", "relaxed"])
def test_flankers_canonical_forms(form: Form) -> None:
    paths = sorted(VECTORS.glob("email.*"))
    assert len(paths) == 21
    for path in paths:
        head, body = parted(with_crlf(path.read_bytes()))
        wanted_head, wanted_body = parted((VECTORS / f"{form}.expected{path.suffix}").read_bytes())
        lines = head.replace(b"\r\n ", b"\0 ").replace(b"\r\n\t", b"\0\t").split(b"\r\n")
        fields = [line.replace(b"\0", b"\r\n") + b"\r\n" for line in lines if b":" in line]
        assert canonical_fields(fields, form) == wanted_head, path.name
        made = BodyHash(form)
        made.update(body)
        if wanted_body or form == "relaxed":
            assert made.digest() == hashlib.sha256(wanted_body).digest(), path.name


def signed_messages() -> Iterator[tuple[str, bytes]]:
    for path in sorted(p for p in CORPUS.rglob("*") if p.is_file() and p.stat().st_size < 3_000_000):
        octets = path.read_bytes()
        if b"dkim-signature:" in octets[:60_000].lower():
            yield str(path.relative_to(CORPUS)), with_crlf(octets)


def test_bodies_are_those_that_dkimpy_sees() -> None:
    seen = matching = 0
    for name, octets in signed_messages():
        head, _, body = octets.partition(b"\r\n\r\n")
        for field in Fields(head + b"\r\n").all(b"dkim-signature"):
            try:
                signature = read(field)
            except SignatureFault:
                continue
            if signature.terms.hash != "sha256":
                continue
            bodies = Bodies()
            bodies.want(signature.terms.body_form, "sha256", signature.length)
            bodies.update(body)
            digest, _ = bodies.get(signature.terms.body_form, "sha256", signature.length)
            policy = dkim.CanonicalizationPolicy.from_c_value(
                f"{signature.terms.header_form}/{signature.terms.body_form}".encode()
            )
            theirs = policy.canonicalize_body(body)[: signature.length]
            assert base64.b64encode(digest) == base64.b64encode(hashlib.sha256(theirs).digest()), name
            seen += 1
            matching += digest == signature.body_hash
    assert seen > 50
    assert matching > 20
