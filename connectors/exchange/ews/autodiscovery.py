"""Autodiscovery: the address of the service by the address of a mailbox ("plain old XML", MS-OXDSCLI).

Promises: credentials go to https alone, and to a host that an answer in the clear or the DNS named only where it is in
the mailbox's own domain; a handful of requests, each bounded in size and time; what was found is kept in the
connector's own folder.
The library's own keeps what it found for the whole machine in a shared folder, as a file that is unpickled.
Sources: MS-OXDSCLI §2.2.3, §3.1.5; learn.microsoft.com "Autodiscover for Exchange" (order: the domain, autodiscover
in it, a redirection in the clear, SRV).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import dns.exception
import dns.resolver
import requests
from lxml import etree
from requests.exceptions import RequestException
from requests.exceptions import SSLError as TlsError

from connectors.exchange.ews.answer import HttpFault, NotSent, short
from connectors.exchange.ews.call import cause
from connectors.exchange.ews.config import EwsConfig
from connectors.exchange.ews.session import authentication, plain_session, trusted
from connectors.exchange.ews.xml import plain
from gateway.contract import Context

_PATH: Final = "/autodiscover/autodiscover.xml"
_REQUEST: Final = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
_RESPONSE: Final = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
_R: Final = f"{{{_RESPONSE}}}"
_MOST_OCTETS: Final = 512 * 1024
_HOPS: Final = 10
_UNAUTHORIZED: Final = 401
_KEPT: Final = "autodiscovered"


class Autodiscovery:
    """Finds the service for the mailbox of a configuration. `find` blocks: it is called in a thread."""

    def __init__(
        self,
        config: EwsConfig,
        context: Context,
        file: Callable[[str], Path],
        bearer: Callable[[str], Any] | None = None,
    ) -> None:
        self._config = config
        self._address = config.autodiscover or ""
        self._kept = context.state_dir / _KEPT
        self._log = context.log
        self._verify = trusted(config, None if config.ca_file is None else str(file(config.ca_file)))
        self._bearer = bearer

    def forget(self) -> None:
        """Look anew, when the server is next needed."""
        with contextlib.suppress(OSError):
            self._kept.unlink()

    def find(self) -> str:
        """Return the address of the service. Raises: NotSent, HttpFault (where a server does not let us in)."""
        known = self._known()
        if known is not None:
            return known
        refused: HttpFault | None = None
        causes: list[str] = []
        for url in self._places():
            try:
                found = self._ask(url)
            except HttpFault as e:
                refused = e if e.status == _UNAUTHORIZED else refused
                causes.append(f"{urlsplit(url).hostname}: HTTP {e.status}")
                continue
            except NotSent as e:
                causes.append(f"{urlsplit(url).hostname}: {e}")
                continue
            self._keep(found)
            self._log.info("service was discovered", url=found)
            return found
        if refused is not None:
            raise refused
        raise NotSent(short(f"autodiscovery finds no server for {self._address}: {'; '.join(causes)}"))

    def _places(self) -> Iterator[str]:
        """Yield where to ask, in order; the later ones are looked up when the earlier ones have failed."""
        domain = self._address.rpartition("@")[2]
        yield self.place(domain)
        yield self.place(f"autodiscover.{domain}")
        for named in (self.redirected(f"http://autodiscover.{domain}{_PATH}"), self.service(domain)):
            # Who answers in the clear, or for the DNS, may be anybody: the password is not for whom he names.
            if named is not None and _is_in(urlsplit(named).hostname or "", domain):
                yield named

    def place(self, host: str) -> str:
        """Return where a host is asked."""
        return f"https://{host}{_PATH}"

    def redirected(self, url: str) -> str | None:
        """Ask in the clear, without credentials, where to ask (MS-OXDSCLI §3.1.5.4): to https alone."""
        try:
            with plain_session(self._verify) as session:
                reply = session.get(url, allow_redirects=False, timeout=self._timeout, stream=True)
                place = urljoin(url, reply.headers.get("Location", ""))
                reply.close()
        except (RequestException, OSError):
            return None
        return place if reply.is_redirect and _is_safe(place) else None

    def service(self, domain: str) -> str | None:
        """Return where the domain's SRV record points (MS-OXDSCLI §3.1.5.4; RFC 2782)."""
        resolver = dns.resolver.Resolver()
        resolver.lifetime = min(10.0, self._config.timeout_s)
        try:
            records = sorted(resolver.resolve(f"_autodiscover._tcp.{domain}", "SRV"), key=lambda each: each.priority)
        except (dns.exception.DNSException, OSError):
            return None
        for each in records:
            host = str(each.target).rstrip(".")
            if host:
                return f"https://{host}{_PATH}" if each.port == 443 else f"https://{host}:{each.port}{_PATH}"
        return None

    @property
    def _timeout(self) -> tuple[float, float]:
        return self._config.connect_timeout_s, min(self._config.timeout_s, 30.0)

    def _ask(self, url: str) -> str:
        """Ask one place, and where it sends us."""
        address = self._address
        seen: set[tuple[str, str]] = set()
        for _ in range(_HOPS):
            if (url, address) in seen or not _is_safe(url):
                raise NotSent("it leads nowhere")
            seen.add((url, address))
            status, place, octets = self._post(url, address)
            if place:
                url = urljoin(url, place)
                continue
            if status != 200:
                raise HttpFault(status)
            match read_reply(octets):
                case ("url", found):
                    return found
                case ("redirect_url", found):
                    url = found
                case ("redirect_address", found):
                    address = found
                    url = self.place(f"autodiscover.{found.rpartition('@')[2]}")
                case (_, text):
                    raise NotSent(short(text))
        raise NotSent("it leads around in circles")

    def _post(self, url: str, address: str) -> tuple[int, str | None, bytes]:
        body = _request(address)
        try:
            with plain_session(self._verify) as session:
                session.headers["Content-Type"] = "text/xml; charset=utf-8"
                bearer = None if self._bearer is None else self._bearer(url)
                session.auth = authentication(self._config, bearer)
                reply = session.post(url, data=body, allow_redirects=False, timeout=self._timeout, stream=True)
                with contextlib.closing(reply):
                    if reply.is_redirect:
                        return reply.status_code, reply.headers["Location"], b""
                    return reply.status_code, None, self._read(reply)
        except (RequestException, OSError) as e:
            words = "its certificate is not valid" if isinstance(e, TlsError) else cause(e)
            raise NotSent(words) from None

    def _read(self, reply: requests.Response) -> bytes:
        until = time.monotonic() + self._timeout[1]
        octets = b""
        for piece in reply.iter_content(65_536):
            octets += piece
            if len(octets) > _MOST_OCTETS or time.monotonic() > until:
                raise NotSent("the reply is too long")
        return octets

    def _known(self) -> str | None:
        try:
            address, _, url = self._kept.read_text("utf-8").strip().partition(" ")
        except (OSError, UnicodeDecodeError):
            return None
        return url if address == self._address and _is_safe(url) else None

    def _keep(self, url: str) -> None:
        new = self._kept.with_suffix(".new")
        with contextlib.suppress(OSError):  # it is found again
            new.write_text(f"{self._address} {url}\n", "utf-8")
            os.replace(new, self._kept)


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" and bool(parts.hostname) and parts.username is None


def _is_in(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def _request(address: str) -> bytes:
    root = etree.Element("Autodiscover", nsmap={None: _REQUEST})
    request = etree.SubElement(root, "Request")
    etree.SubElement(request, "EMailAddress").text = plain(address)
    etree.SubElement(request, "AcceptableResponseSchema").text = _RESPONSE
    octets: bytes = etree.tostring(root, xml_declaration=True, encoding="utf-8")
    return octets


def read_reply(octets: bytes) -> tuple[str, str]:
    """Return what a reply says: ("url", service) | ("redirect_url", …) | ("redirect_address", …) | ("error", text)."""
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, dtd_validation=False)
    try:
        root = etree.fromstring(octets, parser)
    except (etree.XMLSyntaxError, ValueError):
        return "error", "the reply is no XML"
    if root.getroottree().docinfo.doctype:
        return "error", "the reply has a document type"
    address = root.findtext(f".//{_R}RedirectAddr")
    if address and "@" in address:
        return "redirect_address", address.strip()
    place = root.findtext(f".//{_R}RedirectUrl") or root.findtext(f".//{_R}RedirectURL")
    if place:
        return "redirect_url", place.strip()
    services = {
        protocol.findtext(f"{_R}Type"): (protocol.findtext(f"{_R}EwsUrl") or protocol.findtext(f"{_R}ASUrl") or "")
        for protocol in root.iter(f"{_R}Protocol")
    }
    # EXPR is for those who come from outside, EXCH for those within (MS-OXDSCLI §2.2.4.1.1.2.6.49).
    for kind in ("EXPR", "EXCH", *services):
        found = (services.get(kind) or "").strip()
        if urlsplit(found).scheme == "https" and urlsplit(found).hostname:
            return "url", found
    message = root.findtext(".//{*}Message")
    return "error", message or "the reply names no service"
