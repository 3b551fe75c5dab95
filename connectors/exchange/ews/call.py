"""Single: a service of exchangelib that asks once and answers with values.

Promises: one request, no retry, no second version of the protocol, no back-off of the library's own; what comes back is
read with a bound on its size and its time; a connection that was lost is told apart by whether the request had gone.
exchangelib's own reading of answers stops at the first code it does not catch, takes a cut-off answer for whole, and
tells a lost connection as a busy server (exchangelib issue #1237).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final

import urllib3.exceptions
from exchangelib.errors import EWSError
from exchangelib.services.common import EWSAccountService
from requests.exceptions import RequestException

from connectors.exchange.ews.answer import Answer, CutOff, Failure, HttpFault, NotSent, SoapFault, answers
from connectors.exchange.ews.xml import Element

if TYPE_CHECKING:
    from exchangelib import Account

    from connectors.exchange.ews.session import Line

PIECE: Final = 256 * 1024
LOST: Final = (urllib3.exceptions.HTTPError, RequestException, OSError)


class Single(EWSAccountService):  # type: ignore[misc]  # exchangelib has no types
    """The base of every call: a class names its operation in SERVICE_NAME and has `ask`, which builds a payload.

    Used in a thread of `Workers`; an object is for one request.
    """

    SERVICE_NAME: ClassVar[str]
    protocol: Line

    def __init__(self, account: Account) -> None:
        super().__init__(account=account)
        # The body is read by us: the library would read it whole however long it is.
        self.streaming = True
        self.timeout: Any = (self.protocol.connect_timeout_s, self.protocol.timeout_s)

    def _answers(self, payload: Element) -> list[Answer]:
        """Ask once and return the answers. Raises: Failure."""
        # The octets go as soon as they are parsed: they may be 50 MB.
        found, mended = answers(self._octets(payload), self.SERVICE_NAME)
        if mended:
            self.protocol.log.warning("answer with characters that XML does not allow", operation=self.SERVICE_NAME)
        return found

    def _octets(self, payload: Element) -> bytes:
        with self.protocol.under_way(), self._open(payload) as response:
            octets = self._read(response)
            status = response.status_code
        if status != 200 and b"Envelope" not in octets[:500]:
            raise HttpFault(status, _reason(response))
        if "xml" not in response.headers.get("Content-Type", "xml") and not octets.startswith(b"<?xml"):
            raise HttpFault(status, "a page that is no answer of EWS")
        return octets

    @contextmanager
    def _open(self, payload: Element) -> Iterator[Any]:
        """Ask; the answer is to be read within."""
        try:
            response = self._post(payload)
            # The library closes an answer only where it is "true", which one of status 500 is not: its connection would
            # be waited for for ever.
            with closing(response):
                yield response
        finally:
            self.stop_streaming()

    def _post(self, payload: Element) -> Any:
        try:
            return self._get_response(payload=payload, api_version=self.protocol.api_version)
        except Failure:
            raise
        except PermissionError:  # NTLM's handshake was refused at its first step
            raise HttpFault(401, "Unauthorized") from None
        except (EWSError, *LOST) as e:
            # The library tells a lost connection as an error code; the cause is behind it.
            raise self._lost(e.__context__ if isinstance(e, EWSError) and e.__context__ is not None else e) from None

    def _read(self, response: Any) -> bytes:
        most = self.protocol.max_answer_bytes
        said = response.headers.get("Content-Length", "")
        length = int(said) if said.isascii() and said.isdigit() and len(said) < 19 else None
        if length is not None and length > most:
            response.close()
            raise CutOff(f"the answer is longer than {most} octets")
        try:
            if length is not None:
                octets: bytes = response.raw.read(length, decode_content=False)  # in one piece, without a copy
                if len(octets) < length:
                    raise CutOff(f"the answer ends after {len(octets)} of {length} octets")
                return octets
            return self._read_pieces(response, most)
        except LOST as e:
            raise self._lost(e) from None

    def _read_pieces(self, response: Any, most: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        for piece in response.raw.stream(PIECE, decode_content=False):
            size += len(piece)
            if size > most:
                response.close()
                raise CutOff(f"the answer is longer than {most} octets")
            pieces.append(piece)
        return b"".join(pieces)

    def _lost(self, e: BaseException) -> Failure:
        """Say what a lost connection means: whether our request had gone is known by our own socket."""
        words = cause(e)
        return CutOff(words) if self.protocol.has_sent() else NotSent(words)


def cause(e: BaseException) -> str:
    """Return why a connection failed in a few words: the innermost fault, without addresses and headers."""
    seen: BaseException = e
    for _ in range(8):
        inner = getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((each for each in seen.args if isinstance(each, BaseException)), None)
        if inner is None:
            break
        seen = inner
    if isinstance(seen, OSError) and seen.strerror:
        return f"{type(seen).__name__}: {seen.strerror}"
    text = str(seen).rpartition(": ")[2] if isinstance(seen, urllib3.exceptions.HTTPError) else str(seen)
    return f"{type(seen).__name__}: {text}"


def _reason(response: Any) -> str:
    return str(response.reason or "")[:100]


__all__ = ["Answer", "CutOff", "HttpFault", "NotSent", "Single", "SoapFault", "cause"]
