"""The features that formats are compared by: a message with each, how it is seen, and how a note of its loss reads."""

from __future__ import annotations

from base64 import encodebytes
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import dkim  # type: ignore[import-untyped]  # dkimpy ships no types

from gateway.contract import Address, Notify
from gateway.octets import encode_words
from gateway.parameters import written
from tests.connectors.filedrop.codec_kit import DATA
from tests.connectors.filedrop.fidelity import Feature, Letter, Seen
from tests.connectors.filedrop.test_mailboxes import KEY

_FIELDS: Final = {
    "From": "Bob Berg <bob@acme.example>",
    "To": "Ann Lee <ann@far.example>",
    "Subject": "Plain words",
    "Date": "Tue, 24 Nov 2026 09:12:04 +0200",
    "Message-ID": "<m1@acme.example>",
    "MIME-Version": "1.0",
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Transfer-Encoding": "8bit",
}
_ORIGINALS: Final = (
    b"x-original-to", b"x-original-cc", b"x-ftn-kludge", b"x-gatepost-original-to", b"x-gatepost-original-cc"
)  # fmt: skip
_TEXT: Final = b"Hello Ann,\r\nthis is plain.\r\n"


def letter(body: bytes | str = _TEXT, *, fields: dict[str, str] | None = None, **rest: Any) -> Letter:
    """Return a message with other fields, or more, than usual; an empty one is left out."""
    made = _FIELDS | (fields or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in made.items() if value).encode()
    return Letter(head + b"\r\n" + (body.encode() if isinstance(body, str) else body), **rest)


def _words(text: str) -> str:
    return encode_words(text.encode()).decode()


def _of_field(*names: bytes) -> Callable[[Seen], object]:
    return lambda seen: tuple(seen.field(name) for name in names)


def _any(before: tuple[object, ...], after: tuple[object, ...]) -> bool:
    return any(value is not None and value in before for value in after)


def _no_form(before: object, after: object) -> bool:
    return False


def _has_words(*words: str) -> Callable[[Any, Any], bool]:
    def has(before: Any, after: Any) -> bool:
        text = after.decode("utf-8", "replace") if isinstance(after, bytes) else str(after)
        return all(word in text for word in words)

    return has


def wishes(seen: Seen) -> set[Notify]:
    return {notify for notify, _ in seen.recipients.values()}


def _envelope() -> list[Feature]:
    hidden = letter(recipients=("ann", "zoe"))
    wish = letter(notify=Notify.SUCCESS | Notify.DELAY)

    def recipients(seen: Seen) -> set[Address]:
        return set(seen.recipients)

    def path(seen: Seen) -> Address | None:
        return seen.reverse_path

    return [
        Feature("reverse-path other than From", letter(reverse_path="smtp:bounce-7@acme.example"), path,
                "reverse-path", lambda b, a: a is not None and a.value.endswith("!acme.example!bounce-7")),
        Feature("null reverse-path", letter(reverse_path=None), lambda s: s.reverse_path is None, "null reverse-path"),
        Feature("recipients that the header does not name", hidden, recipients, "recipients?"),
        Feature("NOTIFY=SUCCESS,DELAY", wish, wishes, r"\bNOTIFY\b",
                lambda before, after: any(Notify.SUCCESS in one for one in after)),
        Feature("NOTIFY=NEVER", letter(notify=Notify.NEVER), wishes, r"\bNOTIFY\b", _no_form),
        Feature("ORCPT", letter(orcpt="rfc822;ann+old@far.example"),
                lambda s: {orcpt for _, orcpt in s.recipients.values()}, r"\bORCPT\b", lambda b, a: a != {None}),
        Feature("RET=HDRS", letter(envelope={"ret": "hdrs"}), lambda s: s.ret, r"\bRET\b"),
        Feature("ENVID", letter(envelope={"envid": "QQ314=159"}), lambda s: s.envid, r"\bENVID\b"),
        Feature("priority of the envelope", letter(envelope={"priority": 4}), lambda s: s.priority,
                r"envelope priority|priority of the envelope"),
    ]  # fmt: skip


def _people() -> list[Feature]:
    def named(seen: Seen) -> object:
        return [name for name, _ in seen.people(b"from")]

    def of(*names: bytes) -> Callable[[Seen], object]:
        return lambda seen: [{address for _, address in seen.people(name)} for name in names]

    def everybody(seen: Seen) -> object:
        """To, Cc, and whether all of them stand in another field instead."""
        to, cc = ({address for _, address in seen.people(name)} for name in (b"to", b"cc"))
        others = [v.decode() for n in _ORIGINALS for v in seen.content.get_all(n)]
        return to, cc, all(name in " ".join(others).lower() for name in ("ann", "carl", "dora", "zack"))

    several = {
        "To": "Ann Lee <ann@far.example>, Carl Moe <carl@far.example>",
        "Cc": "Dora Fox <dora@far.example>, zack@else.example",
    }
    long = "Maximiliane von Hohenstein-Wolfsburg zu Lichtenberg-Falkenau (Einkauf und Beschaffung)"
    authors = {"From": "Bob Berg <bob@acme.example>, Eve Ek <eve@acme.example>", "Sender": "bob@acme.example"}
    return [
        Feature("From: the address", letter(), of(b"from"), "From",
                lambda b, a: bool(a[0])),
        Feature("From: the name", letter(), named, "From|name"),
        Feature("From: a name beyond ASCII", letter(fields={"From": f"{_words('Jörg Öst')} <bob@acme.example>"}),
                named, "From|name"),
        Feature("From: a name of 86 characters", letter(fields={"From": f'"{long}" <bob@acme.example>'}),
                named, "From|name"),
        Feature("From: two authors, and Sender", letter(fields=authors), of(b"from", b"sender"), "author|sender|From",
                _no_form),
        Feature("To: the name", letter(), lambda s: [name for name, _ in s.people(b"to")], r"\bTo\b"),
        Feature("several To and Cc", letter(fields=several, recipients=("ann", "carl")), everybody,
                r"^To|^Cc|recipients", lambda b, a: a[2]),
        Feature("Reply-To", letter(fields={"Reply-To": "Desk <desk@acme.example>"}), of(b"reply-to"), "Reply-To"),
    ]  # fmt: skip


def _fields() -> list[Feature]:
    def subject(seen: Seen) -> str:
        return seen.memo.subject

    long = " ".join(f"word{n:03}" for n in range(37)) + " end"
    assert len(long) == 299
    thread = {"In-Reply-To": "<m0@far.example>", "References": "<m-1@far.example> <m0@far.example>"}
    date = "date|time zone"

    def zoned(seen: Seen) -> datetime:
        at = parsedate_to_datetime((seen.field(b"date") or b"").decode("ascii"))
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at  # -0000: a zone that nobody tells

    def moment(before: datetime, after: datetime) -> bool:
        return before == after

    lists = {"List-Id": "<news.acme.example>", "List-Unsubscribe": "<mailto:off@acme.example>", "Precedence": "list"}
    return [
        Feature("Subject in Latin letters beyond ASCII", letter(fields={"Subject": _words("Größe naïve")}), subject,
                "Subject"),
        Feature("Subject in Cyrillic and Chinese", letter(fields={"Subject": _words("Тема 題")}), subject,
                "Subject|characters", _has_words("Тема", "題")),
        Feature("Subject of 299 characters", letter(fields={"Subject": long}), subject, "Subject"),
        Feature("Date", letter(), lambda s: s.memo.date, date),
        Feature("Date: its zone", letter(), lambda s: str(zoned(s)), date,
                lambda b, a: moment(*map(datetime.fromisoformat, (b, a)))),
        Feature("Date with seconds that are odd", letter(fields={"Date": "Tue, 24 Nov 2026 07:12:05 +0000"}),
                lambda s: s.memo.date, date),
        Feature("Message-ID", letter(), _of_field(b"message-id"), "Message-ID", _no_form),
        Feature("thread: In-Reply-To and References", letter(fields=thread), _of_field(b"in-reply-to", b"references"),
                "In-Reply-To|References", _any),
        Feature("fields of a list", letter(fields=lists), _of_field(b"list-id", b"list-unsubscribe", b"precedence"),
                "List-Id", _any),
        Feature("a field of somebody's own (X-)", letter(fields={"X-Color": "light blue"}), _of_field(b"x-color"),
                "X-Color"),
        Feature("Bcc", letter(fields={"Bcc": "zoe@far.example"}), lambda s: "zoe" in str(s.people(b"bcc")), "Bcc"),
        Feature("a mailbox's own fields (Status, X-Keywords)", letter(fields={"Status": "RO", "X-Keywords": "new"}),
                _of_field(b"status", b"x-keywords"), r"\bStatus\b", _any),
        Feature("Received", Letter(b"Received: from a by b; Tue, 24 Nov 2026 01:02:00 +0000\r\n" + letter().octets),
                lambda s: [v for v in s.content.get_all(b"received") if b"from a by b" in v], "Received"),
        Feature("Priority", letter(fields={"Priority": "urgent"}), _of_field(b"priority"), "Priority", _no_form),
        Feature("Importance and X-Priority", letter(fields={"Importance": "high", "X-Priority": "1"}),
                _of_field(b"importance", b"x-priority", b"priority"), "Importance|X-Priority"),
        Feature("Sensitivity", letter(fields={"Sensitivity": "Private"}), _of_field(b"sensitivity"), "Sensitivity"),
        Feature("Auto-Submitted", letter(fields={"Auto-Submitted": "auto-replied"}), _of_field(b"auto-submitted"),
                "Auto-Submitted"),
        Feature("Disposition-Notification-To", letter(fields={"Disposition-Notification-To": "bob@acme.example"}),
                lambda s: (s.field(b"disposition-notification-to"), any(Notify.SUCCESS in n for n in wishes(s))),
                "Disposition-Notification-To"),
    ]  # fmt: skip


def _texts() -> list[Feature]:
    def text(seen: Seen) -> str:
        return seen.text

    def body(seen: Seen) -> object:
        return seen.body

    def of(name: str, octets: bytes | str, told: str, *words: str, see: Callable[[Seen], object] = text,
           charset: str = "utf-8") -> Feature:  # fmt: skip
        kind = {"Content-Type": f"text/plain; charset={charset}" if charset else "text/plain"}
        return Feature(
            name, letter(octets, fields=kind), see, f"{told}|written as HTML", _has_words(*words) if words else _no_form
        )

    characters = "text: .*character|characters"
    return [
        of("Latin letters beyond ASCII", "Grüße, naïve façade\r\n", characters, "r"),
        of("Cyrillic", "abc Привет xyz\r\n", characters, "Привет"),
        of("Chinese and Japanese", "abc 題名 かな xyz\r\n", characters, "題名"),
        of("emoji", "abc 🙂 🚀 xyz\r\n", characters, "🙂"),
        of("text in ISO 8859-1", "Grüße\r\n".encode("latin-1"), characters, "Gr", charset="iso-8859-1"),
        of("8-bit octets of no charset", b"abc \xfc\xdf\xe9 xyz\r\n", "charset|8-bit", "abc", see=body, charset=""),
        of("a line of 2,000 characters", "word " * 399 + "last.\r\n", "lines?|text", "word word", "last."),
        of("a word of 2,000 characters", "x" * 2000 + "\r\n", "lines?|text", "xxxx"),
        of("NUL in a text", b"one\0two\r\n", "NUL", "one", "two", see=body),
        of("control characters (BEL, ESC, ^A, ^Z)", b"a\x07b \x1b[1mc d\r\n\x01four\r\nz\x1a\r\n", "control characters",
           "a", "four", "z"),
        of("four ^A on a line", b"one\r\n\x01\x01\x01\x01\r\ntwo\r\n", r"\^A|control characters", "one", "two"),
        of("form feed and tab", b"one\r\n\x0ctwo\tthree\r\n", "control characters|tab", "one", "two", "three"),
        of("trailing blanks", "one  \r\n\ttwo\t\r\n-- \r\nthree\r\n", "blanks", "one", "two", "three"),
        of("leading blanks", "   one\r\n  two\r\n", "blanks", "one", "two"),
        of("From at a line's start", "one\r\nFrom here\r\n>From there\r\n", "From", "here", "there", see=body),
        of("a dot at a line's start", ".\r\n..\r\n.dot\r\nend\r\n", "dot", "end", see=body),
        of("a tilde", "one ~two~ three\r\n", "~", "two"),
        Feature("flowed text", letter("one \r\ntwo\r\n\r\n> three\r\n",
                fields={"Content-Type": "text/plain; charset=utf-8; format=flowed"}), text, "flowed",
                _has_words("one", "two", "three")),
        of("empty lines within", "one\r\n\r\n\r\ntwo\r\n", "empty lines", "one", "two"),
        of("empty lines before and after", "\r\n\r\none\r\n\r\n\r\n", "empty lines", "one", see=body),
        of("a last line without its end", "one\r\ntwo", "last line|line ends", "one", "two", see=body),
        of("line ends of LF alone", b"one\ntwo\n", "bare CR or LF|line ends", "one", "two", see=body),
        of("CR alone within a line", b"one\rtwo\r\n", "bare CR or LF|line ends", "one", "two", see=body),
        of("lines that look like FidoNet's own", "SEEN-BY: 1/2\r\n--- tear\r\n * Origin: x (2:5/6)\r\nend\r\n", "line",
           "tear", "end"),
        of("no text at all", "", "text", see=body),
    ]  # fmt: skip


def _mime(*parts: str | bytes, kind: str = "mixed") -> Letter:
    octets = [part.encode() if isinstance(part, str) else part for part in parts]
    body = b"".join(b"--bb\r\n" + part + b"\r\n" for part in octets) + b"--bb--\r\n"
    fields = {"Content-Type": f'multipart/{kind}; boundary="bb"', "Content-Transfer-Encoding": "8bit"}
    return letter(body, fields=fields)


def _file(name: str, octets: bytes, kind: str = "application/octet-stream") -> bytes:
    disposition = ";\r\n ".join(["Content-Disposition: attachment", *written("filename", name)])
    head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n{disposition}\r\n\r\n"
    return head.encode() + encodebytes(octets).replace(b"\n", b"\r\n")


_PLAIN: Final = "Content-Type: text/plain; charset=utf-8\r\n\r\nHello Ann.\r\n"
_HTML: Final = "Content-Type: text/html; charset=utf-8\r\n\r\n<p>Hello <b>Ann</b>.</p>\r\n"
_INNER: Final = b"From: eve@acme.example\r\nSubject: inner\r\n\r\nThe inner text.\r\n"
BINARY: Final = bytes(range(256)) * 3 + b"\r\n.\r\nFrom x\n\0"


def _parts() -> list[Feature]:
    def octets(seen: Seen) -> object:
        return [octets for _, _, octets in seen.files]

    def names(seen: Seen) -> object:
        return [name for name, _, _ in seen.files]

    def kinds(seen: Seen) -> object:
        return [kind for _, kind, _ in seen.files]

    long = "Präsentation für das Gespräch mit dem Großkunden, zweite Fassung, 24. November 2026, endgültig.bin"
    one = _mime(_PLAIN, _file("DATA.BIN", BINARY))
    several = _mime(_PLAIN, _file("one.bin", b"1" * 5), _file("two.bin", b"2"), _file("one.bin", b"again"))
    inner = _mime(_PLAIN, b"Content-Type: message/rfc822\r\n\r\n" + _INNER)
    signed = _mime(_PLAIN, "Content-Type: application/pgp-signature; name=s.asc\r\n\r\n-----BEGIN PGP\r\n",
                   kind='signed; protocol="application/pgp-signature"; micalg=pgp-sha256')  # fmt: skip
    related = _mime(_HTML, b"Content-ID: <pic>\r\n" + _file("pic.png", b"\x89PNG", "image/png"), kind="related")
    missing = "attachment|file|parcel"

    def page(seen: Seen) -> object:
        return seen.html.replace("\r\n", "\n")

    return [
        Feature("HTML beside a plain text", _mime(_PLAIN, _HTML, kind="alternative"), page, "HTML"),
        Feature("the plain text beside HTML", _mime(_PLAIN, _HTML, kind="alternative"), lambda s: s.text, "text"),
        Feature("HTML alone", letter("<p>Hello Ann.</p>\r\n", fields={"Content-Type": "text/html"}),
                lambda s: s.html or s.text, "HTML", _has_words("Hello Ann.")),
        Feature("a picture within HTML", related, octets, missing),
        Feature("attachment: its octets", one, octets, missing),
        Feature("attachment: its name", one, names, missing),
        Feature("attachment: a long name beyond ASCII", _mime(_PLAIN, _file(long, BINARY)), names, missing),
        Feature("attachment: its media type", _mime(_PLAIN, _file("A.XYZ", b"x", "application/x-own")), kinds,
                "media type|attachment ", lambda b, a: bool(a)),
        Feature("several attachments, in order", several, octets, missing),
        Feature("several attachments of one name", several, names, missing),
        Feature("an enclosed message", inner, octets, missing),
        Feature("an enclosed message as a message", inner, kinds, "media type|attachment |the message"),
        Feature("signed with PGP", signed, lambda s: (s.content.octets().partition(b"\r\n--bb\r\n")[2].partition(
            b"\r\n--bb")[0]), "signature"),
        Feature("DKIM: the signature holds", _signed(), _is_signed, "DKIM|signature", _no_form),
    ]  # fmt: skip


def _signed() -> Letter:
    """Return a published message with its published key (tests/data/dkimpy/SOURCE.txt)."""
    octets = (DATA.parent / "dkimpy" / "rfc6376.signed.rsa.msg").read_bytes()
    octets = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return Letter(octets, ("suzie",), "smtp:joe@football.example.com")


def _is_signed(seen: Seen) -> bool:
    return bool(dkim.verify(seen.content.octets(), dnsfunc=lambda name, timeout=5: KEY))


FEATURES: Final = {
    "Envelope": _envelope(),
    "People": _people(),
    "Header": _fields(),
    "Text": _texts(),
    "Parts": _parts(),
}
"""All features, by what they belong to."""
