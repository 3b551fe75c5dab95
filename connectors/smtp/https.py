"""A small HTTPS client for what mail servers fetch and send of one another: bounded, verified, no redirects.

It goes by the resolver of the connector, so that one set of servers answers all that is asked of DNS.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from connectors.smtp.mta_sts import PolicyError
from connectors.smtp.mx import Absent, LookupFault, Resolver

_TIMEOUT_S: Final = 60.0
"""For one request in all (RFC 8461 §3.3 advises a minute)."""
_MAX: Final = 128 * 1024


class HttpFault(Exception):
    """No answer, or none that can be read. `is_tls` where the server's certificate is not to be trusted."""

    def __init__(self, text: str, *, is_tls: bool = False) -> None:
        self.is_tls = is_tls
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes


class Https:
    """Makes single requests. `port` is 443 but in tests."""

    def __init__(self, resolver: Resolver, context: ssl.SSLContext, port: int = 443) -> None:
        self._resolver = resolver
        self._context = context
        self._port = port

    async def request(
        self, method: str, host: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request to a host whose certificate is verified, and read its answer to the end.

        Raises: HttpFault.
        """
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", "User-Agent: gatepost"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        try:
            octets = "\r\n".join((*lines, "", "")).encode("ascii") + body
        except UnicodeEncodeError as fault:
            raise HttpFault(f"{host}{target}: not a web address") from fault
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return _parsed(await self._exchange(host, octets))
        except TimeoutError as fault:
            raise HttpFault(f"{host}: no answer in {_TIMEOUT_S:g} s") from fault
        except ssl.SSLError as fault:
            raise HttpFault(f"{host}: {fault}", is_tls=True) from fault
        except OSError as fault:
            raise HttpFault(f"{host}: {fault}") from fault
        except http.client.HTTPException as fault:
            raise HttpFault(f"{host}: not an answer: {fault!r}") from fault

    async def _exchange(self, host: str, octets: bytes) -> bytes:
        reader, writer = await self._connect(host)
        try:
            writer.write(octets)
            await writer.drain()
            received = bytearray()
            while piece := await reader.read(16 * 1024):
                received += piece
                if len(received) > _MAX:
                    raise HttpFault(f"{host}: the answer is over the bound")
            return bytes(received)
        finally:
            writer.transport.abort()

    async def _connect(self, host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        fault: Exception = HttpFault(f"{host} has no address")
        for family in ("ipv6", "ipv4"):
            try:
                addresses = await self._resolver.addresses(host, "ipv6" if family == "ipv6" else "ipv4")
            except (Absent, LookupFault):
                continue
            for address in addresses[:4]:
                try:
                    return await asyncio.open_connection(address, self._port, ssl=self._context, server_hostname=host)
                except ssl.SSLError:
                    raise
                except OSError as refused:
                    fault = refused
        raise fault

    async def policy(self, domain: str) -> bytes:
        """Return the MTA-STS policy file of a domain (RFC 8461 §3.3): by its own name, and never redirected.

        Raises: PolicyError.
        """
        try:
            got = await self.request("GET", f"mta-sts.{domain}", "/.well-known/mta-sts.txt")
        except HttpFault as fault:
            result = "sts-webpki-invalid" if fault.is_tls else "sts-policy-fetch-error"
            raise PolicyError(str(fault), result) from fault
        if got.status != 200:
            raise PolicyError(f"mta-sts.{domain} answered {got.status}", "sts-policy-fetch-error")
        if got.content_type.partition(";")[0].strip().lower() != "text/plain":
            raise PolicyError(f"mta-sts.{domain} sent another type than text/plain", "sts-policy-invalid")
        return got.body


class _Received:
    """What http.client reads of a socket."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._octets)


def _parsed(octets: bytes) -> Answer:
    response = http.client.HTTPResponse(cast("ssl.SSLSocket", _Received(octets)))
    response.begin()
    return Answer(response.status, response.headers.get("Content-Type", ""), response.read(_MAX))
