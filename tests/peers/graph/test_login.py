"""Discovery and tokens: by secret, by certificate, by none; and tokens that are not valid any more."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.peers.graph.client import Client, token


def _part(value: Any) -> str:
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _assertion(graph: Client, folder: Path, algorithm: str = "PS256", by: str = "x5t#S256", **changed: Any) -> str:
    """Make what msal would, some claims changed."""
    certificate, key = graph.company.certificate(folder)
    der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER)
    print_ = hashlib.sha256(der).digest() if by == "x5t#S256" else hashlib.sha1(der).digest()
    audience = f"{graph.company.authority}/oauth2/v2.0/token"
    id = graph.company.client_id
    now = int(time.time())
    claims = {"aud": audience, "iss": id, "sub": id, "exp": now + 600, "iat": now, "jti": str(uuid.uuid4()), **changed}
    signed = f"{_part({'alg': algorithm, 'typ': 'JWT', by: _part(print_)})}.{_part(claims)}"
    secret = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(secret, rsa.RSAPrivateKey)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    scheme = pss if algorithm == "PS256" else padding.PKCS1v15()
    return f"{signed}.{_part(secret.sign(signed.encode(), scheme, hashes.SHA256()))}"


def _by_assertion(graph: Client, assertion: str) -> Any:
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    return token(graph.company, graph.http, client_secret="", client_assertion_type=kind, client_assertion=assertion)


def test_discovery_names_the_endpoints(graph: Client) -> None:
    found = graph.http.get(f"{graph.company.authority}/v2.0/.well-known/openid-configuration").json()
    assert found["token_endpoint"] == f"{graph.company.authority}/oauth2/v2.0/token"
    assert found["issuer"] == f"{graph.company.authority}/v2.0"


def test_a_secret_gives_a_token_for_an_hour(graph: Client) -> None:
    told = token(graph.company, graph.http).json()
    assert (told["token_type"], told["expires_in"]) == ("Bearer", 3599)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_id": "nobody"}, "unauthorized_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"scope": "https://graph.microsoft.com/Mail.Read"}, "invalid_scope"),
    ],
)
def test_what_is_wrong_gets_no_token(graph: Client, changed: dict[str, str], code: str) -> None:
    answer = token(graph.company, graph.http, **changed)
    assert (answer.status_code in (400, 401), answer.json()["error"]) == (True, code)


@pytest.mark.parametrize(("algorithm", "by"), [("PS256", "x5t#S256"), ("RS256", "x5t")])
def test_a_certificate_gives_a_token(graph: Client, tmp_path: Path, algorithm: str, by: str) -> None:
    assert "access_token" in _by_assertion(graph, _assertion(graph, tmp_path, algorithm, by)).json()


@pytest.mark.parametrize(
    "changed",
    [{"aud": "https://elsewhere.example/token"}, {"exp": 1}, {"iss": "another"}, {"nbf": time.time() + 86_400}],
)
def test_an_assertion_for_others_or_another_time_is_refused(
    graph: Client, tmp_path: Path, changed: dict[str, Any]
) -> None:
    assert _by_assertion(graph, _assertion(graph, tmp_path, **changed)).json()["error"] == "invalid_client"


def test_an_assertion_that_another_key_has_signed_is_refused(graph: Client, tmp_path: Path) -> None:
    good = _assertion(graph, tmp_path)
    graph.company.certificate(tmp_path)
    assert _by_assertion(graph, good).json()["error"] == "invalid_client"


def test_an_assertion_is_good_once(graph: Client, tmp_path: Path) -> None:
    assertion = _assertion(graph, tmp_path)
    assert _by_assertion(graph, assertion).status_code == 200
    assert _by_assertion(graph, assertion).status_code == 401


def test_without_a_valid_token_nothing_is_told(graph: Client) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer abc"}, {"Authorization": "Basic YTpi"}):
        found = graph.ask("GET", "users", status=401, headers=headers)
        assert found["error"]["code"] == "InvalidAuthenticationToken"
    graph.company.revoke()
    assert graph.ask("GET", "users", status=401)["error"]["code"] == "InvalidAuthenticationToken"


def test_a_token_ends(graph: Client) -> None:
    graph.company.set(token_lasts_s=-1)
    late = token(graph.company, graph.http).json()["access_token"]
    assert graph.raw("GET", "users", headers={"Authorization": f"Bearer {late}"}).status_code == 401


def test_a_token_is_of_one_organisation(graph: Client) -> None:
    other = graph.company.peer.organisation("eve")
    found = graph.ask("GET", f"users/{other.address('eve')}/messages", status=404)
    assert found["error"]["code"] == "ErrorInvalidUser"
