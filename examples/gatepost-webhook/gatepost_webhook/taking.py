"""The source side: an HTTP listener that takes messages of known applications.

Promises: 2xx is answered only after the commit; a request that comes again with its Idempotency-Key is known, and
answered as before; who is not known is refused before the body is read; at most `max_at_once` messages are held at
once, a large one not in memory; a connection that says nothing is closed.
Sources: RFC 9110 §9.3.3, §15; the Idempotency-Key field as the IETF's HTTPAPI group drafts it; RFC 6750 §2.1.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from gatepost_webhook.config import Client, WebhookConfig, secret_octets, split
from gatepost_webhook.listener import Listener
from gatepost_webhook.request import BadRequest, Letter, may_send_as, read_json, recipients_of, sender_of
from gatepost_webhook.signature import is_signed
from gateway.contract import (
    Content,
    ContentWriter,
    Context,
    Envelope,
    Intake,
    Message,
    Origin,
    Receipt,
    Recipient,
    Rejected,
    Unavailable,
    id_text,
)

_RETRY_AFTER_S: Final = "10"
_INLINE_OCTETS: Final = 256 * 1024
_MAX_KEY: Final = 255
_THREAD_OCTETS: Final = 64 * 1024


class Taker:
    """Listens from `open` on, and serves while `run` does."""

    def __init__(self, name: str, config: WebhookConfig, context: Context) -> None:
        self._name = name
        self._config = config
        self._context = context
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLContext | None = None
        self._places, self._signed_places = _places(config)
        self._taking: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._intake: Intake

    @property
    def port(self) -> int:
        """Return the port that is listened at."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    def open(self) -> None:
        """Begin to listen, without serving yet. Raises: OSError or ValueError that names the option."""
        config = self._config
        if config.listen is None:
            return
        if config.tls_certificate is not None and config.tls_key is not None:
            self._tls = _tls(self._context.base_dir, config.tls_certificate, config.tls_key)
        host, port = split(config.listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._context.workers > 1:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind((host, port))
            made.listen(128)
            made.setblocking(False)
        except OSError as e:
            made.close()
            raise OSError(e.errno, f"listen = {config.listen!r} cannot be used: {e.strerror}") from None
        self._socket = made

    def close(self) -> None:
        """Stop listening. Safe to call twice."""
        made, self._socket = self._socket, None
        if made is not None:
            made.close()

    async def run(self, intake: Intake) -> None:
        """Serve until cancelled; then finish what is being accepted."""
        self._intake = intake
        self._stopping = False
        if self._socket is None:
            await asyncio.Event().wait()
            return
        config = self._config
        listener = Listener(
            self._answer, most=config.max_connections, quiet_s=config.request_timeout_s, log=self._context.log
        )
        await listener.start(self._socket.dup(), self._tls)
        try:
            await asyncio.Event().wait()
        finally:
            self._stopping = True
            listener.refuse()
            if self._taking:
                await asyncio.wait(self._taking, timeout=self._context.stop_s * 0.6)
            await listener.stop(within_s=self._context.stop_s * 0.1)

    # -- one request

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        try:
            if request.path != self._config.path:
                return _told(404, f"messages are taken at {self._config.path}")
            if request.method != hdrs.METH_POST:
                return _told(405, "messages come by POST", {"Allow": "POST"})
            if self._stopping:
                return _told(503, "the gateway stops just now", {"Retry-After": _RETRY_AFTER_S})
            client = self._client(request)
            if client is None:
                return _told(401, "who are you?", {"WWW-Authenticate": 'Bearer realm="gatepost"'})
            places = self._places if client.secret is None else self._signed_places
            async with asyncio.timeout(self._config.request_timeout_s), places:
                return await self._take(request, client)
        except BadRequest as e:
            return _told(e.status, str(e))
        except TimeoutError:
            return _told(408, "the request took too long", {"Retry-After": _RETRY_AFTER_S})
        except Rejected as e:
            return _refused(e)
        except Unavailable as e:
            return _told(503, e.status.text, {"Retry-After": _RETRY_AFTER_S})
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as e:  # an unknown fault of ours is not the application's
            self._context.log.error("request_fault", exc_info=e)
            return _told(500, "a fault in the gateway; try again", {"Retry-After": _RETRY_AFTER_S})

    def _client(self, request: web.BaseRequest) -> Client | None:
        """Return who asks by its token; or by its claim to sign, which is looked at when the body is there."""
        kind, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if kind.lower() == "bearer" and given:
            octets = given.strip().encode("utf-8", "replace")
            for client in self._config.client:
                if client.token is not None and hmac.compare_digest(client.token.get_secret_value().encode(), octets):
                    return client
            return None
        if "webhook-signature" in request.headers:
            return next((each for each in self._config.client if each.secret is not None), None)
        return None

    async def _take(self, request: web.BaseRequest, client: Client) -> web.Response:
        config = self._config
        if hdrs.CONTENT_ENCODING in request.headers:
            raise BadRequest("the body is to come as it is, without Content-Encoding", 415)
        if request.content_length is not None and request.content_length > self._most(request):
            raise BadRequest(f"more than {self._most(request)} octets are not taken", 413)
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")  # RFC 9110 §10.1.1
        if request.content_type == "message/rfc822":
            if client.secret is not None:
                raise BadRequest("a whole message comes with a token; signed requests are JSON", 415)
            return await self._take_whole(request, client)
        if request.content_type != "application/json":
            raise BadRequest("the body is application/json or message/rfc822", 415)
        octets = await self._body(request)
        if client.secret is not None:
            signer = self._signer(request, octets)
            if signer is None:
                raise BadRequest("the signature is not by a key that is known here, or too old", 401)
            client = signer
        key = self._key(request, client)
        read = partial(
            read_json,
            octets,
            config.networks,
            hostname=self._context.hostname,
            message_id=self._message_id(client, key),
            now=self._context.clock(),
        )
        letter = await asyncio.to_thread(read) if len(octets) > _THREAD_OCTETS else read()
        if len(letter.octets) > config.max_message_bytes:
            raise BadRequest(f"a message has at most {config.max_message_bytes} octets", 413)
        envelope = self._envelope(request, client, key, letter)
        content = Content(letter.octets)
        if len(letter.octets) <= _INLINE_OCTETS:
            return await self._accept(envelope, content)
        writer = self._intake.content()
        try:
            writer.write(letter.octets)
            await writer.drain()
            content = await writer.finish()
        except BaseException:
            await writer.abandon()
            raise
        return await self._accept(envelope, content, writer)

    async def _take_whole(self, request: web.BaseRequest, client: Client) -> web.Response:
        config = self._config
        query = request.query
        sender = sender_of(query.get("from"), config.networks)
        letter = Letter(sender, recipients_of(query.getall("to", []), config.networks), b"")
        envelope = self._envelope(request, client, self._key(request, client), letter)
        writer = self._intake.content()
        try:
            async for piece in request.content.iter_any():
                if writer.size + len(piece) > config.max_message_bytes:
                    raise BadRequest(f"a message has at most {config.max_message_bytes} octets", 413)
                if not writer.write(piece):
                    await writer.drain()
            content = await writer.finish()
        except BaseException:
            await writer.abandon()
            raise
        return await self._accept(envelope, content, writer)

    async def _body(self, request: web.BaseRequest) -> bytes:
        most = self._most(request)
        found = bytearray()
        async for piece in request.content.iter_any():
            found += piece
            if len(found) > most:
                raise BadRequest(f"more than {most} octets are not taken", 413)
        return bytes(found)

    def _most(self, request: web.BaseRequest) -> int:
        """Return the octets that a body may have: base64 in JSON takes a third more."""
        most = self._config.max_message_bytes
        return most if request.content_type == "message/rfc822" else most * 7 // 5 + 64 * 1024

    def _signer(self, request: web.BaseRequest, octets: bytes) -> Client | None:
        id = request.headers.get("webhook-id", "")
        at = request.headers.get("webhook-timestamp", "")
        signatures = request.headers.get("webhook-signature", "")
        now = self._context.clock()
        for client in self._config.client:
            if client.secret is not None and is_signed(secret_octets(client.secret), id, at, signatures, octets, now):
                return client
        return None

    def _key(self, request: web.BaseRequest, client: Client) -> str | None:
        """Return what names this hand-over. Raises: BadRequest."""
        key = request.headers.get("webhook-id")
        if client.secret is None:  # another key would make a new message of a signed request that somebody sends again
            key = request.headers.get("Idempotency-Key") or key
        if key is None:
            return None
        if len(key) > _MAX_KEY or not key.isascii() or not key.isprintable():
            raise BadRequest(f"Idempotency-Key has up to {_MAX_KEY} printable ASCII characters")
        return key

    def _message_id(self, client: Client, key: str | None) -> str:
        """Return a Message-ID, the same for a request that comes again."""
        unique = secrets.token_hex(16)
        if key is not None:
            unique = hashlib.sha256(f"{self._name}\0{client.name}\0{key}".encode()).hexdigest()[:32]
        return f"{unique}@{self._context.hostname}"

    def _envelope(self, request: web.BaseRequest, client: Client, key: str | None, letter: Letter) -> Envelope:
        """Return the envelope of what a client hands over. Raises: BadRequest."""
        if not may_send_as(client, letter.sender):
            raise BadRequest(f"{client.name} may not send as {letter.sender or '<>'}", 403)
        if len(letter.recipients) > self._config.max_recipients:
            raise BadRequest(f"a message has at most {self._config.max_recipients} recipients", 422)
        peer = request.remote or ""
        protocol = "HTTPS" if self._tls is not None else "HTTP"
        origin = Origin(self._name, peer=peer, protocol=protocol, user=client.name, trusted=client.relay)
        bare = Envelope(letter.sender, (), origin)
        recipients = tuple(map(Recipient, letter.recipients))
        refused = [(each, status) for each in recipients if (status := self._intake.check(bare, each)) is not None]
        if refused:
            raise Rejected(refused[0][1].but(text=f"{refused[0][0].address}: {refused[0][1].text}"))
        # A key is the client's own: two clients that count from 1 hand over different messages.
        dedupe = None if key is None else f"webhook:{self._name}:{client.name}:{key}"
        return Envelope(letter.sender, recipients, origin, dedupe_key=dedupe)

    async def _accept(self, envelope: Envelope, content: Content, writer: ContentWriter | None = None) -> web.Response:
        """Accept a message and answer; `writer` is that of its content, which is the intake's from here on."""
        # A task of its own: it is finished though the request's time runs out, or the gateway stops.
        accepting = asyncio.ensure_future(_taken(self._intake, Message(envelope, content), writer))
        done = asyncio.ensure_future(_over(accepting))
        self._taking.add(done)
        done.add_done_callback(self._taking.discard)
        receipt = await asyncio.shield(accepting)
        told = {"id": id_text(receipt.message_id), "duplicate": receipt.duplicate}
        return web.json_response(told, status=200 if receipt.duplicate else 201)


async def _taken(intake: Intake, message: Message, writer: ContentWriter | None) -> Receipt:
    """Return the receipt; where there is none, what the writer has stored is removed."""
    try:
        return await intake.accept(message)
    except BaseException:
        if writer is not None:
            await writer.abandon()
        raise


async def _over(accepting: asyncio.Future[Receipt]) -> None:
    """Wait until a message is accepted or not, and for the moment that its answer takes to be written."""
    await asyncio.wait((accepting,))
    await asyncio.sleep(0.02)


def _refused(e: Rejected) -> web.Response:
    if e.status.is_permanent:
        return _told(422, e.status.text, code=e.status.code)
    return _told(503, e.status.text, {"Retry-After": _RETRY_AFTER_S}, code=e.status.code)


def _told(status: int, text: str, headers: dict[str, str] | None = None, *, code: str | None = None) -> web.Response:
    told = {"error": text} if code is None else {"error": text, "status": code}
    body = json.dumps(told, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _places(config: WebhookConfig) -> tuple[asyncio.Semaphore, asyncio.Semaphore]:
    """Return how many requests with a token, and how many signed ones, are held at once.

    Whether one is signed is known when its body is there, so that anybody can take those places for a while: where
    there are clients of both kinds, they have places of their own.
    """
    if len({client.secret is None for client in config.client}) < 2:
        both = asyncio.Semaphore(config.max_at_once)
        return both, both
    signed = max(1, config.max_at_once // 2)
    return asyncio.Semaphore(max(1, config.max_at_once - signed)), asyncio.Semaphore(signed)


def _tls(base: Path, certificate: str, key: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_cert_chain(base / certificate, base / key)
    except (OSError, ssl.SSLError) as e:
        raise ValueError(f"tls_certificate = {certificate!r} and tls_key = {key!r} cannot be used: {e}") from None
    return made
