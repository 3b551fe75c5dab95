"""Who is let in, by which scheme, over TLS or not; and where the service is."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest
import requests
from requests_ntlm import HttpNtlmAuth

from tests.peers.ews.asking import NAMES
from tests.peers.ews.auth import PASSWORD
from tests.peers.ews.process import EwsCompany, EwsPeer

_BODY = (
    f"<s:Envelope {' '.join(f'xmlns:{k}=' + chr(34) + v + chr(34) for k, v in NAMES.items())}><s:Body><m:GetFolder>"
    "<m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape><m:FolderIds>"
    '<t:DistinguishedFolderId Id="inbox"/></m:FolderIds></m:GetFolder></s:Body></s:Envelope>'
)


@pytest.fixture
def here(ews_peer: EwsPeer) -> EwsCompany:
    return ews_peer.organisation("ann", "bob")


def _post(url: str, body: str = _BODY, **how: object) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(url, body, timeout=60, **how)  # type: ignore[arg-type]


def test_without_a_login_the_ways_in_are_told(here: EwsCompany) -> None:
    answer = _post(here.peer.url)
    assert answer.status_code == 401
    assert [each.split(" ")[0] for each in answer.headers["WWW-Authenticate"].split(", ")] == [
        "NTLM",
        "Basic",
        "Bearer",
    ]


@pytest.mark.parametrize(
    ("user", "password", "status"), [("ann", PASSWORD, 200), ("ann", "x", 401), ("eve", PASSWORD, 401)]
)
def test_basic(here: EwsCompany, user: str, password: str, status: int) -> None:
    assert _post(here.peer.url, auth=(f"{user}@{here.domain}", password)).status_code == status
    assert _post(here.peer.url, auth=(f"{here.domain}\\{user}", password)).status_code == status


@pytest.mark.parametrize(("password", "status"), [(PASSWORD, 200), ("wrong", 401)])
@pytest.mark.parametrize("form", ["{domain}\\ann", "ann@{domain}"])
def test_ntlm(here: EwsCompany, form: str, password: str, status: int) -> None:
    answer = _post(here.peer.url, auth=HttpNtlmAuth(form.format(domain=here.domain), password))
    assert answer.status_code == status
    if status == 200:
        assert here.log("GetFolder")[0].user == here.address("ann")


def test_ntlm_is_of_a_connection(here: EwsCompany) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.auth = HttpNtlmAuth(f"{here.domain}\\ann", PASSWORD)
        assert [session.post(here.peer.url, _BODY, timeout=60).status_code for _ in range(3)] == [200] * 3
    connection = http.client.HTTPConnection("127.0.0.1", here.peer.port, timeout=60)
    connection.request("POST", "/EWS/Exchange.asmx", _BODY)
    assert connection.getresponse().status == 401, "another connection is nobody's"
    connection.close()


def test_tokens_over_tls(here: EwsCompany) -> None:
    said = here.oauth()
    ca = str(said["ca_file"])
    form = {
        "grant_type": "client_credentials",
        "client_id": said["client_id"],
        "client_secret": said["client_secret"],
        "scope": "https://localhost/.default",
    }
    endpoint = f"{said['authority']}/{said['tenant']}"
    found = requests.get(f"{endpoint}/v2.0/.well-known/openid-configuration", verify=ca, timeout=60).json()
    assert found["token_endpoint"] == f"{endpoint}/oauth2/v2.0/token"
    token = _post(found["token_endpoint"], form, verify=ca).json()  # type: ignore[arg-type]
    bearer = {"Authorization": f"Bearer {token['access_token']}"}
    assert _post(str(said["url"]), headers=bearer, verify=ca).status_code == 200
    here.peer.tell("revoke")
    assert _post(str(said["url"]), headers=bearer, verify=ca).status_code == 401
    refused = _post(found["token_endpoint"], {**form, "client_secret": "x"}, verify=ca)  # type: ignore[arg-type]
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


def test_the_certificate_is_for_localhost_by_an_authority_of_its_own(here: EwsCompany, tmp_path: Path) -> None:
    with EwsPeer() as other, pytest.raises(requests.exceptions.SSLError):
        _post(here.peer.tls_url, verify=str(other.ca_file), auth=(here.username, PASSWORD))
    good = _post(here.peer.tls_url, verify=str(here.peer.ca_file), auth=(here.address("ann"), PASSWORD))
    assert good.status_code == 200


def _discover(here: EwsCompany, address: str) -> requests.Response:
    schema = "http://schemas.microsoft.com/exchange/autodiscover/outlook"
    body = (
        f'<Autodiscover xmlns="{schema}/requestschema/2006"><Request><EMailAddress>{address}</EMailAddress>'
        f"<AcceptableResponseSchema>{schema}/responseschema/2006a</AcceptableResponseSchema></Request></Autodiscover>"
    )
    url = here.peer.tls_url.replace("EWS/Exchange.asmx", "Autodiscover/Autodiscover.xml")
    return _post(url, body, verify=str(here.peer.ca_file), auth=(here.username, PASSWORD))


def test_autodiscovery(here: EwsCompany) -> None:
    found = _discover(here, here.address("ann"))
    assert found.status_code == 200
    assert f"<EwsUrl>{here.peer.tls_url}</EwsUrl>" in found.text
    assert f"<LegacyDN>{here.legacy_dn('ann')}</LegacyDN>" in found.text
    assert "<ErrorCode>500</ErrorCode>" in _discover(here, f"nobody@{here.domain}").text


def test_another_path_is_not_there(here: EwsCompany) -> None:
    url = here.peer.url.replace("Exchange.asmx", "Other.asmx")
    assert _post(url, auth=(here.username, PASSWORD)).status_code == 404
