"""Tokens of an identity provider, by clients that carry them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from connectors.smtp.login.config import OAuthTokens
from connectors.smtp.login.oauth import claims_of, login_of, read_keys
from tests.connectors.smtp.login.test_submission import curl, submission

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def b64(octets: bytes) -> str:
    return urlsafe_b64encode(octets).decode().rstrip("=")


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8))


def jwks() -> bytes:
    public, point = RSA.public_key().public_numbers(), EC.public_key().public_numbers()
    keys: list[dict[str, Any]] = [
        {"kty": "RSA", "kid": "r", "use": "sig", "n": number(public.n), "e": number(public.e)},
        {"kty": "EC", "kid": "e", "crv": "P-256", "x": b64(point.x.to_bytes(32)), "y": b64(point.y.to_bytes(32))},
        {"kty": "OKP", "kid": "d", "crv": "Ed25519", "x": b64(ED.public_key().public_bytes_raw())},
        {"kty": "oct", "kid": "s", "k": b64(b"secret")},
        {"kty": "RSA", "kid": "enc", "use": "enc", "n": number(public.n), "e": number(public.e)},
    ]
    return json.dumps({"keys": keys}).encode()


def token(
    algorithm: str = "RS256",
    kid: str | None = "r",
    key: Any = None,
    header: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    given = {"iss": "https://login.example", "aud": "smtp", "exp": time.time() + 86_400, "email": "ann", **claims}
    head = {"alg": algorithm, **({} if kid is None else {"kid": kid}), **(header or {})}
    signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(given).encode())}"
    octets = signed.encode()
    if algorithm == "RS256":
        proof = (key or RSA).sign(octets, padding.PKCS1v15(), hashes.SHA256())
    elif algorithm == "PS256":
        proof = RSA.sign(octets, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    elif algorithm == "ES256":
        r, s = decode_dss_signature(EC.sign(octets, ec.ECDSA(hashes.SHA256())))
        proof = r.to_bytes(32) + s.to_bytes(32)
    elif algorithm == "EdDSA":
        proof = ED.sign(octets)
    else:
        import hmac

        proof = b"" if algorithm == "none" else hmac.digest(b"secret", octets, "sha256")
    return f"{signed}.{b64(proof)}"


CONFIG = OAuthTokens(issuer="https://login.example", audience="smtp", keys="keys.json")

TOKENS: list[tuple[str, str, str | None]] = [
    ("RSA", token(), "ann"),
    ("RSA, PSS", token("PS256"), "ann"),
    ("elliptic", token("ES256", "e"), "ann"),
    ("Ed25519", token("EdDSA", "d"), "ann"),
    ("no key named", token(kid=None), "ann"),
    ("one of several audiences", token(aud=["imap", "smtp"]), "ann"),
    ("another key", token(key=OTHER), None),
    ("a key that is not there", token(kid="x"), None),
    ("a key for encryption", token(kid="enc"), None),
    ("none", token("none"), None),
    ("a shared secret", token("HS256", "s"), None),
    ("a key by another's algorithm", token("ES256", "r"), None),
    ("what must be understood", token(header={"crit": ["x"], "x": 1}), None),
    ("expired", token(exp=time.time() - 3600), None),
    ("not yet", token(nbf=time.time() + 3600), None),
    ("for ever", token(exp=None), None),
    ("another issuer", token(iss="https://evil.example"), None),
    ("another service", token(aud="imap"), None),
    ("nobody", token(email=None), None),
    ("an address that nobody verified", token(email_verified=False), None),
    ("a part changed", token()[:-8] + "AAAAAAAA", None),
    ("two parts", token().rpartition(".")[0], None),
    ("nothing", "", None),
    ("no JSON", "YWJj.YWJj.YWJj", None),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in TOKENS], ids=[row[0] for row in TOKENS])
def test_tokens(text: str, expected: str | None) -> None:
    claims = claims_of(text, read_keys(jwks()))
    assert (None if claims is None else login_of(claims, CONFIG, time.time())) == expected


def test_a_scope_that_is_asked_for() -> None:
    config = CONFIG.model_copy(update={"scope": "mail.send"})
    now = time.time()
    for claims, expected in (({"scope": "openid mail.send"}, "ann"), ({"scp": ["mail.send"]}, "ann"), ({}, None)):
        made = claims_of(token(**claims), read_keys(jwks()))
        assert made is not None
        assert login_of(made, config, now) == expected


@pytest.mark.parametrize(
    "octets", [b"", b"{}", b"[]", b'{"keys":{}}', b'{"keys":[]}', b'{"keys":[{"kty":"oct"}]}', b"\xff"]
)
def test_keys_that_are_none(octets: bytes) -> None:
    with pytest.raises(ValueError, match=r"JWK set|no key for signatures"):
        read_keys(octets)


async def test_curl_and_msmtp_with_tokens(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(jwks())
    oauth = {"issuer": "https://login.example", "audience": "smtp", "keys": "keys.json"}
    async with submission(tmp_path, login={"oauth": oauth}) as served:
        for options in ((), ("--login-options", "AUTH=XOAUTH2")):
            done = await asyncio.to_thread(
                curl, served.port, tmp_path, "--user", "ann", "--oauth2-bearer", token(), *options
            )
            assert done.returncode == 0, done.stderr
        bad = await asyncio.to_thread(curl, served.port, tmp_path, "--user", "bob", "--oauth2-bearer", token())
        assert bad.returncode == 67, "a token of ann's lets in nobody else"
        nobody = token(email="carl")
        bad = await asyncio.to_thread(curl, served.port, tmp_path, "--user", "carl", "--oauth2-bearer", nobody)
        assert bad.returncode == 67, "the provider knows carl, and the accounts do not"

        def send(method: str) -> subprocess.CompletedProcess[str]:
            command = [
                "msmtp",
                "--host=127.0.0.1",
                f"--port={served.port}",
                "--tls=on",
                "--tls-host-override=gw.example",
            ]
            command += [f"--tls-trust-file={tmp_path / 'cert.pem'}", f"--auth={method}", "--user=ann"]
            command += [f"--passwordeval=echo {token()}", "--from=ann@acme.example", "--timeout=60", "zoe@far.example"]
            return subprocess.run(command, input="Subject: x\n\nx\n", capture_output=True, text=True, timeout=90)

        for method in ("oauthbearer", "xoauth2"):
            sent = await asyncio.to_thread(send, method)
            assert sent.returncode == 0, sent.stderr
        assert [m.envelope.origin.user for m in served.intake.messages] == ["ann"] * 4
