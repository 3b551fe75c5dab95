"""SMTP commands: from a line's octets to values; pure.

Promises: every line gives a value or a Refusal with the reply to send, never an exception; what is not grammar is
not guessed at. The mailbox inside a path is only set off here, its own grammar is that of the network `smtp`.
Source: RFC 5321 §4.1; RFC 1870; RFC 3461 §4; RFC 4954; RFC 6152; RFC 6531 §3; RFC 6710 §4.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from gateway.contract import Notify, quickly_made

_HEAD: Final = re.compile(
    rb"(MAIL FROM|RCPT TO): ?"
    rb"<(?:@[^:<>\"\x00-\x20]*:)?"  # RFC 5321 §3.6.1, appendix F.2: a source route is taken and ignored
    rb"((?:[^<>\"\\()\x00-\x20\x7f]++|\"(?:[^\"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*+\")*+)>"
    rb"(?: +(.*))?",
    re.IGNORECASE | re.DOTALL,
)
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\x00-\x20=\x7f]+))?")
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_HEX: Final = re.compile(r"\+([0-9A-F]{2})")
_ADDR_TYPE: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_PRINTABLE: Final = re.compile(r"[ -~]+")
_UTF8_ADDRESS: Final = re.compile(r"[^\x00- =\x7f-\x9f]+")
# RFC 4422 §3.1: up to 20 of A-Z 0-9 - _; RFC 4954 §4 has them in any case.
_AUTH: Final = re.compile(rb" *([A-Za-z0-9_-]{1,20})(?: +([A-Za-z0-9+/=]+))? *")
_NAME: Final = re.compile(rb"[!-~\x80-\xff]{1,255}")

_NOTIFY: Final = {"SUCCESS": Notify.SUCCESS, "FAILURE": Notify.FAILURE, "DELAY": Notify.DELAY}


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reply to a command that cannot be taken as it is."""

    code: int
    enhanced: str
    text: str


@quickly_made
@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL FROM: `path` is the mailbox as text, empty for the null reverse-path. `size` is as declared, 0 if not."""

    path: str
    size: int = 0
    smtputf8: bool = False
    ret: Literal["full", "hdrs"] | None = None
    envid: str | None = None
    priority: int = 0


@quickly_made
@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT TO: `path` is the mailbox as text; `orcpt` is `addr-type;address`, decoded."""

    path: str
    notify: Notify = Notify.UNSET
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Extensions:
    """Which extensions were offered to this client, as far as the grammar depends on it."""

    esmtp: bool = True
    priority: bool = False
    auth: bool = False


def _syntax(text: str) -> Refusal:
    return Refusal(501, "5.5.4", text)


def parse_hello(argument: bytes) -> str | Refusal:
    """Return the name that a client gives itself; tolerant of what is no domain, bounded and printable."""
    name = argument.strip(b" ")
    if not _NAME.fullmatch(name):
        return _syntax("give one name, as in EHLO mail.example")
    return name.decode("utf-8", "replace")


def parse_mail(line: bytes, offered: Extensions) -> Mail | Refusal:
    """Read a whole MAIL command."""
    match = _HEAD.fullmatch(line)
    if match is None or match[1][:1] not in b"Mm":
        return _syntax("write MAIL FROM:<mailbox@domain>, with nothing but parameters after it")
    if not match[3]:
        path = _path(match[2], utf8=False)
        return path if isinstance(path, Refusal) else Mail(path)
    parameters = _parameters(match[3], offered)
    if isinstance(parameters, Refusal):
        return parameters
    found: dict[str, int | str | bool] = {}
    for key, value in parameters.items():
        reader = _MAIL.get(key)
        if reader is None or (key == "MT-PRIORITY" and not offered.priority) or (key == "AUTH" and not offered.auth):
            return Refusal(555, "5.5.4", f"parameter {key[:32]} is not known here")
        read = reader(value)
        if isinstance(read, Refusal):
            return read
        found.update(read)
    path = _path(match[2], utf8=bool(found.get("smtputf8")))
    return path if isinstance(path, Refusal) else Mail(path, **found)  # type: ignore[arg-type]  # each reader gives its own field's type


def parse_rcpt(line: bytes, offered: Extensions, *, smtputf8: bool) -> Rcpt | Refusal:
    """Read a whole RCPT command; `smtputf8` as the MAIL command of the transaction had it."""
    match = _HEAD.fullmatch(line)
    if match is None or match[1][:1] not in b"Rr":
        return _syntax("write RCPT TO:<mailbox@domain>, with nothing but parameters after it")
    path = _path(match[2], utf8=smtputf8)
    if isinstance(path, Refusal):
        return path
    if not path:
        return Refusal(501, "5.1.3", "a recipient cannot be empty")
    if not match[3]:
        return Rcpt(path)
    parameters = _parameters(match[3], offered)
    if isinstance(parameters, Refusal):
        return parameters
    notify: Notify | Refusal = Notify.UNSET
    orcpt: str | Refusal | None = None
    for key, value in parameters.items():
        if key == "NOTIFY":
            notify = _notify(value)
        elif key == "ORCPT":
            orcpt = _orcpt(value, smtputf8)
        else:
            return Refusal(555, "5.5.4", f"parameter {key[:32]} is not known here")
    if isinstance(notify, Refusal):
        return notify
    return orcpt if isinstance(orcpt, Refusal) else Rcpt(path, notify, orcpt)


def parse_auth(argument: bytes) -> tuple[str, bytes | None] | Refusal:
    """Return the mechanism, and the initial response as it is written, None where there is none (RFC 4954 §4)."""
    match = _AUTH.fullmatch(argument)
    if match is None:
        return _syntax("write AUTH mechanism, or AUTH mechanism initial-response")
    return match[1].decode("ascii").upper(), match[2]


def decode_response(octets: bytes) -> bytes | None:
    """Return what base64 stands for; None where it is none."""
    try:
        return b64decode(octets, validate=True)
    except ValueError:
        return None


def parse_bdat(argument: bytes) -> tuple[int, bool] | Refusal:
    """Return a chunk's size in octets and whether it is the last (RFC 3030 §2)."""
    words = argument.split()
    last = len(words) == 2 and words[1].upper() == b"LAST"
    if not words or not words[0].isdigit() or len(words[0]) > 15 or (len(words) > 1 and not last):
        return _syntax("write BDAT size, or BDAT size LAST")
    return int(words[0]), last


def decode_xtext(text: str) -> str | None:
    """Return what xtext stands for (RFC 3461 §4); None where it is none. May hold any octet."""
    if not _XTEXT.fullmatch(text):
        return None
    if "+" not in text:
        return text
    return _HEX.sub(lambda m: chr(int(m[1], 16)), text)


def _path(octets: bytes, *, utf8: bool) -> str | Refusal:
    if octets.isascii():
        return octets.decode("ascii")
    if not utf8:
        # RFC 6531 §3.5: 553 where an address needs SMTPUTF8 and the transaction has it not
        return Refusal(553, "5.6.7", "this address needs SMTPUTF8 in the MAIL command")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return Refusal(553, "5.1.3", "the address is not UTF-8")


def _parameters(octets: bytes, offered: Extensions) -> dict[str, str | None] | Refusal:
    if not offered.esmtp:
        return Refusal(555, "5.5.4", "parameters need EHLO")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        return _syntax("a parameter is not UTF-8")
    found: dict[str, str | None] = {}
    for word in text.split(" "):
        if not word:
            continue
        match = _PARAMETER.fullmatch(word)
        if match is None:
            return _syntax("a parameter is written KEY or KEY=value")
        key = match[1].upper()
        if key in found:
            return _syntax(f"parameter {key[:32]} stands twice")
        found[key] = match[2]
    return found


def _size(value: str | None) -> dict[str, int] | Refusal:
    # RFC 1870 §5: up to 20 digits
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 20:
        return _syntax("SIZE takes a number of octets")
    return {"size": int(value)}


def _body(value: str | None) -> dict[str, int] | Refusal:
    if value is None or value.upper() not in ("7BIT", "8BITMIME"):
        return _syntax("BODY takes 7BIT or 8BITMIME")
    return {}


def _smtputf8(value: str | None) -> dict[str, bool] | Refusal:
    return {"smtputf8": True} if value is None else _syntax("SMTPUTF8 takes no value")


def _ret(value: str | None) -> dict[str, str] | Refusal:
    if value is None or value.upper() not in ("FULL", "HDRS"):
        return _syntax("RET takes FULL or HDRS")
    return {"ret": value.lower()}


def _envid(value: str | None) -> dict[str, str] | Refusal:
    # RFC 3461 §4.4: at most 100 characters of xtext, printable once decoded, since it is shown in a DSN's field
    text = decode_xtext(value) if value is not None and len(value) <= 100 else None
    if text is None or not _PRINTABLE.fullmatch(text):
        return _syntax("ENVID takes up to 100 characters of xtext that stand for printable ASCII")
    return {"envid": text}


def _priority(value: str | None) -> dict[str, int] | Refusal:
    if value is None or not re.fullmatch(r"-?[0-9]", value, re.ASCII):
        return _syntax("MT-PRIORITY takes -9 to 9")
    return {"priority": int(value)}


def _auth(value: str | None) -> dict[str, int] | Refusal:
    # RFC 4954 §5: who wrote the message by the client's word, which a server may leave aside as if it were <>
    if value is None or (value != "<>" and decode_xtext(value) is None):
        return _syntax("AUTH takes <>, or a mailbox in xtext")
    return {}


_MAIL: Final[dict[str, Callable[[str | None], dict[str, int] | dict[str, str] | dict[str, bool] | Refusal]]] = {
    "SIZE": _size,
    "BODY": _body,
    "SMTPUTF8": _smtputf8,
    "RET": _ret,
    "ENVID": _envid,
    "MT-PRIORITY": _priority,
    "AUTH": _auth,
}


def _notify(value: str | None) -> Notify | Refusal:
    words = value.upper().split(",") if value else [""]
    if words == ["NEVER"]:
        return Notify.NEVER
    wishes = Notify.UNSET
    for word in words:
        wish = _NOTIFY.get(word)
        if wish is None:
            return _syntax("NOTIFY takes NEVER, or some of SUCCESS,FAILURE,DELAY")
        wishes |= wish
    return wishes


def _orcpt(value: str | None, smtputf8: bool) -> str | Refusal:
    # RFC 3461 §4.2 has xtext, at most 500 characters in all; RFC 6533 §3 adds `utf-8;` with UTF-8 as it is
    kind, separator, coded = (value or "").partition(";")
    if separator and value is not None and len(value) <= 500 and _ADDR_TYPE.fullmatch(kind):
        if not coded.isascii():
            if smtputf8 and kind.lower() == "utf-8" and _UTF8_ADDRESS.fullmatch(coded):
                return f"{kind};{coded}"
        else:
            address = decode_xtext(coded)
            if address is not None and _PRINTABLE.fullmatch(address):
                return f"{kind};{address}"
    return _syntax("ORCPT takes addr-type;address, the address in xtext that stands for printable ASCII")
