"""A client of the peer's own tests: plain HTTP with a token, and no more understanding than that."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.peers.graph.process import GraphCompany

IMMUTABLE = {"Prefer": 'IdType="ImmutableId"'}
MIME = {"Content-Type": "text/plain"}


class Client:
    """Sends requests below the service's root."""

    def __init__(self, company: GraphCompany, http: httpx.Client) -> None:
        self.company, self.http = company, http
        self.headers = {"Authorization": f"Bearer {token(company, http).json()['access_token']}"}

    def ask(
        self, method: str, path: str, *, status: int = 200, headers: dict[str, str] | None = None, **how: Any
    ) -> dict[str, Any]:
        """Send a request, check the answer's status and return its object."""
        answer = self.raw(method, path, headers=headers, **how)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else {}

    def raw(self, method: str, path: str, *, headers: dict[str, str] | None = None, **how: Any) -> httpx.Response:
        """Send a request."""
        url = path if path.startswith("http") else f"{self.company.peer.url}/{path}"
        return self.http.request(method, url, headers={**self.headers, **(headers or {})}, **how)

    def user(self, name: str = "ann") -> str:
        """Return the path of a mailbox."""
        return f"users/{self.company.address(name)}"

    def create(self, octets: bytes, name: str = "ann", folder: str = "") -> dict[str, Any]:
        """Make a message from MIME."""
        at = f"{self.user(name)}/{f'mailFolders/{folder}/' if folder else ''}messages"
        return self.ask("POST", at, status=201, content=base64.b64encode(octets), headers={**IMMUTABLE, **MIME})


def token(company: GraphCompany, http: httpx.Client, **changed: str) -> httpx.Response:
    """Ask for a token with the secret."""
    form = {
        "grant_type": "client_credentials", "client_id": company.client_id, "client_secret": company.client_secret,
        "scope": f"{company.peer.origin}/.default", **changed,
    }  # fmt: skip
    return http.post(f"{company.authority}/oauth2/v2.0/token", data=form)


@contextmanager
def client(company: GraphCompany) -> Iterator[Client]:
    """Give a client that trusts the peer."""
    import ssl

    context = ssl.create_default_context(cafile=str(company.peer.ca_file))
    with httpx.Client(verify=context, timeout=60, trust_env=False) as http:
        yield Client(company, http)
