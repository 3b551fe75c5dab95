"""Who we are: Basic, NTLM and tokens, against the peer and a web server of ours."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
import spnego
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.connectors.exchange.ews.canned import Asked, Reply, a_folder, canned, http
from tests.connectors.exchange.ews.kit import Log, fault_of, mail, new, organisation
from tests.peers.certificates import Authority, authority
from tests.peers.ews.process import EwsCompany

SECRET = "Tr0ub4dor-\N{LATIN SMALL LETTER E WITH ACUTE}"


async def test_basic(company: EwsCompany, tmp_path: Path) -> None:
    async with organisation(tmp_path, **company.access()) as exchange:
        await exchange.folder(company.address("ann"), "inbox")
    async with organisation(tmp_path, **company.access(password="wrong")) as exchange:
        told = await fault_of(exchange.folder(company.address("ann"), "inbox"))
        assert (exchange.trouble() or "").startswith("HTTP 401")
    assert (told.code, told.why, told.everywhere) == ("HTTP 401", "denied", True)
    assert len(company.log()) == 1, "nothing is asked without leave, and what is refused is not asked again"


async def test_basic_is_utf_8(tmp_path: Path) -> None:
    with canned(a_folder) as server:
        options: dict[str, Any] = {"auth": "basic", "username": "ACME\\svc", "password": SECRET, "url": server.url}
        async with organisation(tmp_path, **options) as exchange:
            await exchange.folder("ann@acme.example", "inbox")
    assert base64.b64decode(server.asked[0].headers["authorization"][6:]).decode() == f"ACME\\svc:{SECRET}"


@pytest.mark.parametrize("form", ["{domain}\\svc", "svc@{domain}"])
async def test_ntlm(company: EwsCompany, tmp_path: Path, form: str) -> None:
    access = company.access(auth="ntlm", username=form.format(domain=company.domain), max_connections=2)
    ann = company.address("ann")
    async with organisation(tmp_path, **access) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        made = await asyncio.gather(*(exchange.create(ann, inbox, [new(f"1.{n}", mail("a"))]) for n in range(6)))
        assert len(made) == 6
    assert len(company.items("ann")) == 6
    assert {each.user for each in company.log()} == {f"svc@{company.domain}"}


async def test_ntlm_with_a_wrong_password(company: EwsCompany, tmp_path: Path) -> None:
    access = company.access(auth="ntlm", username=f"{company.domain}\\svc", password="wrong")
    async with organisation(tmp_path, **access) as exchange:
        told = await fault_of(exchange.folder(company.address("ann"), "inbox"))
    assert (told.code, told.why) == ("HTTP 401", "denied")


def ntlm_door(close: bool) -> Reply:
    """A server that speaks NTLM, refuses everybody, and may end the connection with that."""

    def reply(asked: Asked) -> bytes:
        said = asked.headers.get("authorization", "")
        more = {"Connection": "close"} if close else {}
        if not said.startswith("NTLM "):
            return http(401, WWW_Authenticate="NTLM")
        context: Any = asked.state.setdefault(
            "ntlm", spnego.server(protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm)
        )
        try:
            challenge = context.step(base64.b64decode(said[5:]))
        except Exception:  # noqa: BLE001 - no such user
            return http(401, WWW_Authenticate="NTLM", **more)
        return http(401, WWW_Authenticate=f"NTLM {base64.b64encode(challenge).decode()}")

    return reply


@pytest.mark.parametrize("close", [False, True])
async def test_a_login_that_is_refused_by_ntlm_is_no_busy_server(
    tmp_path: Path, close: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "users"
    users.write_text("ACME:other:secret\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(users))
    with canned(ntlm_door(close)) as server:
        options: dict[str, Any] = {"username": "ACME\\svc", "password": "secret", "url": server.url}
        async with organisation(tmp_path, **options) as exchange:
            told = await fault_of(exchange.folder("ann@acme.example", "inbox"))
    assert (told.code, told.why) == ("HTTP 401", "denied")
    assert len(server.asked) == 3, "asked, negotiated, refused"


async def test_a_server_that_begins_no_handshake_is_no_lost_connection(tmp_path: Path) -> None:
    with canned(lambda _: http(401, WWW_Authenticate="NTLM")) as server:
        options: dict[str, Any] = {"username": "ACME\\svc", "password": "secret", "url": server.url}
        async with organisation(tmp_path, **options) as exchange:
            told = await fault_of(exchange.folder("ann@acme.example", "inbox"))
    assert (told.code, told.why) == ("HTTP 401", "denied")


class Tenant:
    """Issues tokens, and a service that takes them."""

    def __init__(self, origin: str = "") -> None:
        self.origin = origin
        self.forms: list[dict[str, str]] = []
        self.valid: set[str] = set()
        self.expires_in = 3599
        self.refuse = False

    def __call__(self, asked: Asked) -> bytes:
        kind = "application/json"
        if "openid-configuration" in asked.path:
            here = f"https://{asked.headers['host']}/acme"
            places = {"issuer": f"{here}/v2.0", "authorization_endpoint": f"{here}/authorize"}
            places["token_endpoint"] = f"{here}/token"
            return http(200, json.dumps(places).encode(), kind)
        if asked.path == "/acme/token":
            self.forms.append({k: v[0] for k, v in parse_qs(asked.body.decode()).items()})
            if self.refuse:
                return http(401, b'{"error":"invalid_client","error_description":"AADSTS7000215 hush hush"}', kind)
            token = f"token-{len(self.forms)}"
            self.valid = {token}
            said = {"token_type": "Bearer", "expires_in": self.expires_in, "access_token": token}
            return http(200, json.dumps(said).encode(), kind)
        if asked.headers.get("authorization", "").removeprefix("Bearer ") not in self.valid:
            return http(401, WWW_Authenticate="Bearer")
        return a_folder(asked)


@pytest.fixture
def ours() -> Authority:
    return authority()


def served(folder: Path, by: Authority) -> ssl.SSLContext:
    (folder / "ca.pem").write_bytes(by.certificate)
    certificate, key = by.issue("localhost")
    (folder / "server.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


def oauth(url: str, **changed: Any) -> dict[str, Any]:
    origin = url.partition("/EWS")[0]
    return {
        "url": url, "auth": "oauth", "authority": origin, "tenant": "acme", "client_id": "app", "ca_file": "ca.pem",
        "client_secret": "hush hush", **changed,
    }  # fmt: skip


async def test_one_token_serves_all_connections_and_a_revoked_one_is_replaced(tmp_path: Path, ours: Authority) -> None:
    tenant = Tenant()
    with canned(tenant, served(tmp_path, ours)) as server:
        async with organisation(tmp_path, **oauth(server.url, max_connections=4)) as exchange:
            boxes = [f"u{n}@acme.example" for n in range(8)]
            assert await asyncio.gather(*(exchange.folder(each, "inbox") for each in boxes)) == ["F1"] * 8
            assert len(tenant.forms) == 1
            tenant.valid.clear()
            assert await exchange.folder("v@acme.example", "inbox") == "F1"
            assert len(tenant.forms) == 2
    form = tenant.forms[0]
    assert (form["grant_type"], form["client_id"]) == ("client_credentials", "app")
    assert form["client_secret"] == "hush hush"
    assert form["scope"] == f"https://localhost:{server.port}/.default"


async def test_a_token_is_renewed_before_it_ends(tmp_path: Path, ours: Authority) -> None:
    tenant = Tenant()
    tenant.expires_in = 0
    with canned(tenant, served(tmp_path, ours)) as server:
        async with organisation(tmp_path, **oauth(server.url)) as exchange:
            for n in range(3):
                await exchange.folder(f"u{n}@acme.example", "inbox")
    assert len(tenant.forms) == 3


async def test_no_token_is_no_request(tmp_path: Path, ours: Authority) -> None:
    tenant = Tenant()
    tenant.refuse = True
    with canned(tenant, served(tmp_path, ours)) as server:
        async with organisation(tmp_path, **oauth(server.url)) as exchange:
            told = await fault_of(exchange.folder("ann@acme.example", "inbox"))
            trouble = exchange.trouble() or ""
    assert (told.code, told.why) == ("NotSent", "unreachable")
    assert "invalid_client" in told.text
    assert "hush" not in told.text + trouble
    assert not any("EWS" in each.path and each.body for each in server.asked)


async def test_a_certificate_in_place_of_a_secret(tmp_path: Path, ours: Authority) -> None:
    tenant = Tenant()
    certificate, key = _rsa()
    (tmp_path / "app.pem").write_bytes(certificate)
    (tmp_path / "app.key").write_bytes(key)
    with canned(tenant, served(tmp_path, ours)) as server:
        options = oauth(server.url, client_secret=None, certificate="app.pem", certificate_key="app.key")
        async with organisation(tmp_path, **options) as exchange:
            assert await exchange.folder("ann@acme.example", "inbox") == "F1"
    form = tenant.forms[0]
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    public = x509.load_pem_x509_certificate(certificate)
    claims = jwt.decode(
        form["client_assertion"], public.public_key(), ["PS256", "RS256"],
        audience=f"https://localhost:{server.port}/acme/token",
    )  # fmt: skip
    assert (claims["iss"], claims["sub"]) == ("app", "app")
    header = jwt.get_unverified_header(form["client_assertion"])
    thumbprint = base64.urlsafe_b64encode(public.fingerprint(hashes.SHA256())).rstrip(b"=").decode()
    assert header["x5t#S256"].rstrip("=") == thumbprint
    assert "client_secret" not in form


async def test_a_file_that_holds_no_certificate_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "app.pem").write_text("nothing")
    (tmp_path / "ca.pem").write_bytes(authority().certificate)
    options = oauth("https://localhost:1/EWS/Exchange.asmx", client_secret=None, certificate="app.pem")
    with pytest.raises(ValueError, match=r"app\.pem holds no private key"):
        async with organisation(tmp_path, **options):
            pass


def _rsa() -> tuple[bytes, bytes]:
    from datetime import UTC, datetime, timedelta

    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "app")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    made = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made, text


async def test_no_password_or_body_stands_in_a_log_or_a_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The library logs headers and bodies of whatever it did not expect."""
    caplog.set_level(logging.DEBUG)
    replies: list[bytes | None] = [
        None,
        http(401, b"refused", WWW_Authenticate="Basic"),
        http(500, b"<html>boom</html>", "text/html"),
        http(200, b"<?xml version='1.0'?><a>"),
        http(200, b""),
        http(302, Location="https://evil.example/"),
    ]
    log = Log()
    said: list[str] = []
    with canned(lambda _: replies.pop(0)) as server:
        options: dict[str, Any] = {"auth": "basic", "username": "svc", "password": "hush-hush", "url": server.url}
        async with organisation(tmp_path, log=log, **options) as exchange:
            while replies:
                body = mail("very private")
                told = await fault_of(exchange.create("ann@acme.example", "F1", [new("1.1", body)]))
                said += [str(told), repr(told.__cause__), repr(told.__context__), exchange.trouble() or ""]
    everything = "\n".join([caplog.text, repr(log.said), *said])
    secrets = ["hush-hush", base64.b64encode(b"svc:hush-hush").decode(), base64.b64encode(body).decode()[:40]]
    assert not [each for each in (*secrets, "private") if each in everything]
    assert not [each for each in caplog.records if each.name.startswith("exchangelib")]


async def test_tokens_of_the_peers_tenant(company: EwsCompany, tmp_path: Path) -> None:
    ann = company.address("ann")
    async with organisation(tmp_path, **company.oauth()) as exchange:
        await exchange.folder(ann, "inbox")
        company.peer.tell("revoke")
        await exchange.folder(ann, "drafts")
    assert {each.mailbox for each in company.log("GetFolder")} == {ann}
    async with organisation(tmp_path, **company.oauth(client_secret="wrong")) as exchange:
        told = await fault_of(exchange.folder(ann, "inbox"))
    assert "invalid_client" in told.text
