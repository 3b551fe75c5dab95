"""The connection of a component to its server, opened when it is needed, and told of by what is waited for on it.

Promises: `barrier` returns when the server has dealt with everything that was sent before; whoever waits on a
connection that is lost, or that says nothing for `timeout_s`, gets LinkDown; no wait is without a bound.
Sources: XEP-0114; RFC 6120 §10.1 (a server deals with what it gets in its order).
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import ssl
from collections.abc import Callable
from typing import Any, Final
from xml.etree import ElementTree

from slixmpp.basexmpp import BaseXMPP
from slixmpp.stanza import Handshake, Presence
from slixmpp.xmlstream import StanzaBase
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from gatepost_xmpp.config import XmppConfig, split
from gatepost_xmpp.faults import LinkDown, stream_text
from gateway.contract import Context

_NS: Final = "jabber:component:accept"
_BARRIER: Final = "gatepost-barrier-"
_CLOSE_S: Final = 1.0


class Link:
    """Has at most one connection. `on_message` gets every message stanza, in the loop, at once."""

    def __init__(self, config: XmppConfig, context: Context, on_message: Callable[[StanzaBase], None]) -> None:
        self._config = config
        self._context = context
        self._on_message = on_message
        self._opening = asyncio.Lock()
        self._component: Component | None = None
        self._closed = False
        self.trouble = ""

    @property
    def current(self) -> Component | None:
        """Return the connection that there is; None where there is none."""
        return self._component if self._component is not None and self._component.lost is None else None

    async def opened(self) -> Component:
        """Return the connection, made where there is none. Raises: LinkDown."""
        async with self._opening:
            component = self._component
            if component is not None and component.lost is None:
                return component
            if self._closed:
                raise LinkDown("the gateway stops just now")
            host, port = split(self._config.server)
            made = Component(self._config, self._on_message)
            try:
                await made.open(host, port, self._config.timeout_s)
            except LinkDown as e:
                self._tell(e)
                raise
            except BaseException:
                made.let_go()
                raise
            self.trouble = ""
            self._component = made
            self._context.log.info("connected", server=self._config.server, domain=self._config.domain)
            return made

    def _tell(self, fault: LinkDown) -> None:
        if self.trouble != fault.status.text:
            self._context.log.warning("not_connected", reason=fault.status.text, cause=fault.status.cause)
        self.trouble = fault.status.text

    def failed(self, fault: LinkDown) -> None:
        """Take note of a fault that was met on the connection, and let go of it."""
        self._tell(fault)
        component, self._component = self._component, None
        if component is not None:
            component.let_go()

    async def wait_lost(self) -> None:
        """Return when the connection is lost; at once where there is none."""
        component = self._component
        if component is not None:
            await component.ended.wait()
            if component.lost is not None:
                self._tell(component.lost)

    async def close(self) -> None:
        """Say good-bye, within a second. Safe to call twice."""
        self._closed = True
        component, self._component = self._component, None
        if component is not None:
            await component.close()


class Component(BaseXMPP):
    """One connection of the component.

    The library's own class for components reads all authorities of the system for each, though it never has TLS: 0.2 s
    in which nothing else goes on.
    """

    def __init__(self, config: XmppConfig, on_message: Callable[[StanzaBase], None]) -> None:
        never_used = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        super().__init__(config.domain, _NS, ssl_context=never_used)  # type: ignore[no-untyped-call]
        self.domain = self.server_name = config.domain
        self.is_component = True
        self.enable_direct_tls = self.enable_starttls = False
        self.enable_plaintext = True
        self.stream_header = f"<stream:stream xmlns='{_NS}' xmlns:stream='{self.stream_ns}' to='{config.domain}'>"
        self.stream_footer = "</stream:stream>"
        self._secret = config.secret.get_secret_value()
        self.lost: LinkDown | None = None
        """Why there is no connection any more."""
        self.ended = asyncio.Event()
        self._timeout_s = config.timeout_s
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._barriers: dict[str, asyncio.Future[None]] = {}
        self._numbers = itertools.count(1)
        self._on_message = on_message
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0199", {"keepalive": False})
        self.plugin["xep_0030"].add_identity(category="gateway", itype="smtp", name="Mail")
        self.plugin["xep_0030"].add_feature("urn:xmpp:receipts")
        self.remove_handler("IM")
        self.remove_handler("IMError")
        self.register_handler(Callback("gatepost handshake", MatchXPath(f"{{{_NS}}}handshake"), self._shaken))
        self.register_handler(Callback("gatepost messages", MatchXPath(f"{{{_NS}}}message"), self._message))
        self.register_handler(Callback("gatepost answers", MatchXPath(f"{{{_NS}}}iq"), self._iq))
        # A roster would keep whoever tells that they are there, which is for anybody to do.
        self.add_filter("in", lambda stanza: None if isinstance(stanza, Presence) else stanza)
        self.add_event_handler("connection_failed", self._failed)
        self.add_event_handler("stream_error", self._stream_error)
        self.add_event_handler("disconnected", self._disconnected)

    async def open(self, host: str, port: int, timeout_s: float) -> None:
        """Connect and shake hands. Raises: LinkDown."""
        self.connect(host, port)
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready
        except TimeoutError:
            self._end(LinkDown("the chat server does not answer", f"nothing for {timeout_s} s"))
        if self.lost is not None:
            self.let_go()
            raise self.lost

    async def barrier(self) -> None:
        """Wait until the server has dealt with what was sent before. Raises: LinkDown."""
        if self.lost is not None:
            raise self.lost
        id = f"{_BARRIER}{next(self._numbers)}"
        # To ourselves: it comes back through the server, behind what the server says of what was sent before.
        iq = ElementTree.Element(f"{{{_NS}}}iq", {"type": "result", "id": id, "from": self.domain, "to": self.domain})
        back = self._barriers[id] = asyncio.get_running_loop().create_future()
        try:
            self.send_xml(iq)
            async with asyncio.timeout(self._timeout_s):
                await back
        except TimeoutError:
            self._end(LinkDown("the chat server does not answer", f"nothing for {self._timeout_s} s"))
        finally:
            self._barriers.pop(id, None)
        if self.lost is not None:
            raise self.lost

    def pause(self, on: bool) -> None:
        """Read nothing for a while, so that the server keeps what it has."""
        transport = self.transport
        if transport is None or transport.is_closing() or transport.is_reading() is not on:
            return
        (transport.pause_reading if on else transport.resume_reading)()

    async def close(self) -> None:
        """Send what waits to be sent, and end the stream."""
        if self.lost is None:
            self.lost = LinkDown("the gateway stops just now")
            self.pause(False)
            try:
                async with asyncio.timeout(2 * _CLOSE_S):
                    await self.disconnect(wait=_CLOSE_S)
            except TimeoutError:
                pass
        self.let_go()

    def let_go(self) -> None:
        """End the connection at once."""
        if self.lost is None:
            self.lost = LinkDown("the connection was given up")
        self.ended.set()
        self.cancel_connection_attempt()
        self.abort()
        running = getattr(self, "_run_out_filters", None)
        if running is not None:
            running.cancel()
        self._wake()

    def incoming_filter(self, xml: ElementTree.Element) -> ElementTree.Element:
        if xml.tag.startswith("{jabber:client}"):
            xml.tag = xml.tag.replace("jabber:client", _NS)
        return xml

    def start_stream_handler(self, xml: ElementTree.Element) -> None:
        """Prove that the secret is known, by the id of the stream (XEP-0114 §3)."""
        super().start_stream_handler(xml)  # type: ignore[no-untyped-call]
        proof = Handshake()
        proof["value"] = hashlib.sha1(f"{xml.get('id', '')}{self._secret}".encode()).hexdigest()
        self.send(proof)

    def _shaken(self, stanza: Any) -> None:
        self.session_bind_event.set()
        self.sessionstarted = True
        self.event("session_bind", self.boundjid)
        self.event("session_start")
        self._is_ready()

    def _message(self, stanza: StanzaBase) -> None:
        self._on_message(stanza)

    def _iq(self, iq: Any) -> None:
        back = self._barriers.get(iq.xml.get("id") or "")
        if back is not None and iq.xml.get("from") == self.domain and not back.done():
            back.set_result(None)

    def _is_ready(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)

    def _failed(self, fault: Any) -> None:
        self._end(LinkDown("the chat server cannot be reached", str(fault)))
        self.cancel_connection_attempt()  # it would try again by itself, and not tell

    def _stream_error(self, error: Any) -> None:
        condition = str(error["condition"])
        self._end(LinkDown(stream_text(condition), f"{condition}: {error['text']}"))

    def _disconnected(self, reason: Any) -> None:
        self._end(LinkDown("the connection to the chat server was lost", str(reason or "")))

    def _end(self, why: LinkDown) -> None:
        if self.lost is None:
            self.lost = why
        self.ended.set()
        self._wake()

    def _wake(self) -> None:
        self._is_ready()
        for back in self._barriers.values():
            if not back.done():
                back.set_result(None)
