"""The MIME that a client gets: as Exchange makes it anew from what it keeps, or, in faithful mode, as it came in.

A real Exchange keeps properties, recipients and attachments, and writes MIME from them ([MS-OXCMAIL]). Here the
same is reached by taking the MIME apart and writing it by these rules, each of which is a row of EVIDENCE.md:

 1. The header comes in an order of its own, trace first, then the fields of `_ORDER`, then others as they came.
 2. Fields are unfolded and folded anew at 76 columns; encoded words are decoded and encoded anew; octets above 127
    become encoded words.
 3. Address fields are written from names and addresses; comments and groups go.
 4. Other fields, of names that it does not know too, are kept.
 5. Bcc is seen in drafts and in what was sent, not in what was delivered.
 6. X-MS-Exchange-Organization-*, X-MS-Has-Attach and X-MS-TNEF-Correlator are added.
 7. Boundaries are new; preamble and epilogue go.
 8. Text is written as quoted-printable, or base64 where it is not mostly ASCII, in its charset; else base64.
 9. What is signed or encrypted as a whole (multipart/signed, pkcs7-mime) keeps its body octet for octet.
10. Lines end with CRLF; NUL goes.
11. An iCalendar object of an appointment and a vCard of a contact are given as they were put in.
"""

from __future__ import annotations

import base64
import email
import hashlib
import quopri
import re
from email.errors import MessageError
from email.header import Header
from email.message import Message
from email.utils import formataddr
from typing import Final

from tests.peers.ews import mime
from tests.peers.ews.store import Item, Store

_ORDER: Final = (
    "from", "sender", "reply-to", "to", "cc", "bcc", "subject", "thread-topic", "thread-index", "importance",
    "x-priority", "date", "message-id", "references", "in-reply-to", "accept-language", "content-language",
)  # fmt: skip
_SPELLED: Final = {"cc": "CC", "bcc": "BCC", "message-id": "Message-ID", "mime-version": "MIME-Version"}
_PEOPLE: Final = ("from", "sender", "reply-to", "to", "cc", "bcc")
_ONCE: Final = {*_ORDER, "mime-version"}
_BODY: Final = {"content-type", "content-transfer-encoding", "content-disposition", "content-id", "content-description"}
_PRIVATE: Final = ("drafts", "sentitems", "outbox")
_COLUMNS: Final = 76
_MOSTLY: Final = 0.75
_DEEPEST: Final = 50
_OBJECTS: Final = {"IPM.Appointment": b"BEGIN:VCALENDAR", "IPM.Contact": b"BEGIN:VCARD"}


def shown(store: Store, item: Item) -> bytes:
    """Return an item's octets as a client gets them."""
    if not store.is_honest(item.mailbox.partition("@")[2]):
        return store.mime(item.id)
    kept = store.shown(item.id)
    if kept is not None:
        return kept
    octets = store.mime(item.id)
    if octets.startswith(_OBJECTS.get(item.class_, b"\0")):
        return octets
    folder = store.folder(item.folder)
    private = item.is_draft or (folder is not None and folder.role in _PRIVATE)
    made = remade(octets, bcc=item.bcc if private else None, organisation=item.mailbox.partition("@")[2])
    store.keep_shown(item.id, made)
    return made


def remade(octets: bytes, *, bcc: list[str] | None = None, organisation: str = "") -> bytes:
    """Return a message by the rules above. `bcc`: who stands beside the header's; None: none is shown."""
    octets = _lines(octets.replace(b"\0", b""))
    head, _, body = octets.partition(b"\r\n\r\n")
    fields = mime.fields_of(head + b"\r\n\r\n")
    kind = next((value for name, value in fields if name.lower() == "content-type"), "")
    if re.match(r"(?i)\s*(multipart/signed|application/(x-)?pkcs7-mime)\b", kind):
        # Rule 9: the signature is over these octets; Content-Type names their boundary.
        whole = [(name, value) for name, value in fields if name.lower() in _BODY]
        return _written(_header(fields, bcc, organisation, attached=True), whole) + body
    try:
        top = email.message_from_bytes(octets)
        made, body = _part(top, hashlib.sha1(octets).hexdigest()[:16], 0)
    except (MessageError, LookupError, ValueError, AssertionError, TypeError):
        # The library can't take it apart; the body then is text of an unknown kind, and kept.
        made = [(name, value) for name, value in fields if name.lower() in _BODY]
    attached = bool(mime.attachments_of(octets)) if kind.lower().startswith("multipart/") else False
    return _written(_header(fields, bcc, organisation, attached), made) + body


def _lines(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def _header(
    fields: list[tuple[str, str]], bcc: list[str] | None, organisation: str, attached: bool
) -> list[tuple[str, str]]:
    """Return the fields of a message in Exchange's order, without those of its body (rules 1, 4, 5, 6)."""
    known: dict[str, str] = {}
    trace: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    for name, value in fields:
        lower = name.lower()
        if lower in ("received", "return-path"):
            trace.append((name, value))
        elif lower in _BODY or lower == "mime-version":
            continue
        elif lower in _ONCE:
            known.setdefault(lower, value)
        else:
            others.append((name, value))
    if bcc is None:
        known.pop("bcc", None)
    elif bcc:
        known["bcc"] = ", ".join(filter(None, [known.get("bcc", ""), *bcc]))
    made = trace
    for lower in _ORDER:
        if lower in known:
            name = _SPELLED.get(lower, lower.title())
            made.append((name, _people(known[lower]) if lower in _PEOPLE else _encoded(known[lower])))
    if "subject" in known and "thread-topic" not in known:
        made.append(("Thread-Topic", _encoded(re.sub(r"(?i)^((re|fw|fwd)\s*:\s*)+", "", known["subject"]))))
    if organisation:
        made.append(("X-MS-Exchange-Organization-AuthAs", "Internal"))
        made.append(("X-MS-Exchange-Organization-AuthSource", f"mbx1.{organisation}"))
        made.append(("X-MS-Has-Attach", "yes" if attached else ""))
        made.append(("X-MS-TNEF-Correlator", ""))
    return made + [(name, _encoded(value)) for name, value in others]


def _written(header: list[tuple[str, str]], body: list[tuple[str, str]]) -> bytes:
    lines = [_folded(name, value) for name, value in (*header, *body)]
    if not any(name.lower() == "mime-version" for name, _ in header):
        lines.append("MIME-Version: 1.0")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "replace")


def _folded(name: str, value: str) -> str:
    """Return a field folded at its blanks (rule 2); a word that is longer stays."""
    lines: list[str] = []
    line = f"{name}:"
    for word in value.split(" "):
        if len(line) + 1 + len(word) > _COLUMNS and line.strip() and not line.endswith(":"):
            lines.append(line)
            line = ""
        line = f"{line} {word}"
    return "\r\n".join([*lines, line])


def _encoded(value: str) -> str:
    """Return a value with what is not ASCII as encoded words, made anew (rule 2)."""
    if value.isascii() and "=?" not in value:
        return value
    text = mime.decoded(value)
    if text.isascii():
        return re.sub(r"[\r\n\t]+", " ", text)
    try:
        charset = "iso-8859-1" if text.encode("iso-8859-1") else ""
    except UnicodeEncodeError:
        charset = "utf-8"
    safe = re.sub(r"[\x00-\x1f]+", " ", text).encode("utf-8", "replace").decode()
    return " ".join(Header(safe, charset, maxlinelen=70).encode(linesep="\n").replace("\n", "").split())


def _people(value: str) -> str:
    """Return an address field from its names and addresses (rule 3); one that has none stays as it is."""
    found = mime.addresses([value])
    if not found:
        return _encoded(value)
    return ", ".join(_person(*each) for each in found)


def _person(shown_as: str, address: str) -> str:
    plain = re.sub(r"[\x00-\x1f]+", " ", shown_as)
    bare = address if address.isascii() else address.encode("utf-8").decode("latin-1")
    if not bare.isascii():
        return _encoded(f"{plain} <{bare}>") if plain else _encoded(bare)
    return formataddr((plain, bare)) if plain.isascii() else f"{_encoded_text(plain)} <{bare}>"


def _encoded_text(text: str) -> str:
    return _encoded(text.encode("utf-8", "replace").decode("latin-1"))


def _part(part: Message, seed: str, depth: int) -> tuple[list[tuple[str, str]], bytes]:
    """Return a part's own fields and its body, made anew (rules 7 to 9)."""
    kind = part.get_content_type()
    if re.match(r"multipart/signed$|application/(x-)?pkcs7-mime$", kind) or depth > _DEEPEST:
        head, _, body = _lines(part.as_bytes()).partition(b"\r\n\r\n")
        return [(n, v) for n, v in mime.fields_of(head + b"\r\n\r\n") if n.lower() in _BODY], body
    if kind == "message/rfc822" and part.is_multipart():
        inner = part.get_payload(0)
        assert isinstance(inner, Message)
        return _described(part, kind), remade(_lines(inner.as_bytes()), bcc=[])
    if kind.startswith("multipart/") and part.is_multipart():
        boundary = f"_{depth:03}_{seed.upper()}_"
        parts: list[bytes] = []
        for number, each in enumerate(part.get_payload()):
            assert isinstance(each, Message)
            fields, body = _part(each, hashlib.sha1(f"{seed}{number}".encode()).hexdigest()[:16], depth + 1)
            head = "".join(f"{_folded(n, v)}\r\n" for n, v in fields).encode("ascii", "replace")
            parts.append(f"--{boundary}\r\n".encode() + head + b"\r\n" + body.removesuffix(b"\r\n") + b"\r\n")
        parameters = [(n, v) for n, v in part.get_params([], unquote=True)[1:] if n not in ("boundary", "charset")]
        said = "".join(f'; {n}="{v}"' for n, v in parameters if str(v).isascii() and '"' not in str(v))
        top = [("Content-Type", f'{kind}{said}; boundary="{boundary}"')]
        return top, b"".join(parts) + f"--{boundary}--\r\n".encode()
    if kind.startswith("message/") or (part.is_multipart() and part.get_payload()):
        # Reports: their fields are what is machine-read, and are no text.
        head, _, body = _lines(part.as_bytes()).partition(b"\r\n\r\n")
        return _described(part, kind), body
    payload = part.get_payload(decode=True)
    octets = payload if isinstance(payload, bytes) else b""
    fields = _described(part, kind)
    if part.get_content_maintype() == "text" and kind != "text/rfc822-headers":
        octets = _lines(octets)
        if not octets or sum(each < 128 for each in octets) >= _MOSTLY * len(octets):
            return [*fields, ("Content-Transfer-Encoding", "quoted-printable")], _quoted(octets)
    elif kind == "text/rfc822-headers":
        return fields, _lines(octets)
    return [*fields, ("Content-Transfer-Encoding", "base64")], _base64(octets)


def _described(part: Message, kind: str) -> list[tuple[str, str]]:
    """Return what says what a part is: its type, name, disposition and id, written anew."""
    parameters = {str(n).lower(): v for n, v in part.get_params([], unquote=True)[1:]}
    name = part.get_filename()
    said = kind
    for each in ("charset", "method", "report-type", "smime-type", "protocol", "format", "delsp"):
        value = parameters.get(each)
        if isinstance(value, str) and value.isascii() and value:
            said += f'; {each}="{value}"' if re.search(r"[^\w.+-]", value) else f"; {each}={value}"
    if kind.startswith("text/") and "charset" not in parameters:
        said += '; charset="us-ascii"'
    named = _encoded(name.encode("utf-8", "replace").decode("latin-1")) if name else ""
    named = re.sub(r'["\\\r\n]', "_", mime.decoded(named)) if named.isascii() and "=?" not in named else named
    fields = [("Content-Type", f'{said}; name="{named}"' if named else said)]
    if part.get("content-description"):
        fields.append(("Content-Description", _encoded(re.sub(r"\s+", " ", str(part["content-description"])))))
    disposition = part.get_content_disposition()
    if disposition:
        fields.append(("Content-Disposition", f'{disposition}; filename="{named}"' if named else disposition))
    content_id = part.get("content-id")
    if content_id:
        fields.append(("Content-ID", re.sub(r"[^\x21-\x7e]", "", str(content_id))))
    return fields


def _quoted(octets: bytes) -> bytes:
    return quopri.encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")


def _base64(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")
