"""The commands of a batch, read from lines and written as lines: pure.

Promises: a command is one of those below or an Unreadable, which says in an SMTP server's words what is wrong; an
address that cannot be read or a parameter that is not known concerns its transaction alone. ENVID and ORCPT hold
printable characters only, whatever their xtext hides.
Sources: RFC 5321 §4.1.1; RFC 3461 §4 (RET, ENVID, NOTIFY, ORCPT); RFC 1870 (SIZE); RFC 6152 (BODY); RFC 4954 §5
(AUTH, not believed); RFC 6531 §3.4 (SMTPUTF8); RFC 6710 §4 (MT-PRIORITY).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from connectors.filedrop.formats.addresses import read_one, write_one
from connectors.filedrop.formats.envelope_lines import from_xtext, to_xtext
from connectors.filedrop.formats.values import Options, Refused
from gateway.contract import Address, AddressError, Item, Notify, Recipient, Status

IGNORED: Final = frozenset((b"VRFY", b"EXPN", b"ETRN", b"HELP", b"NOOP", b"VERB"))
_VERB: Final = re.compile(rb"[ \t]*([A-Za-z]{4})(?=[ \t]|\Z)[ \t]*")
_ENVELOPE: Final = re.compile(rb"[ \t]*(MAIL[ \t]+FROM|RCPT[ \t]+TO)[ \t]*:[ \t]*", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\s=\x00-\x1f\x7f]+))?")
_BRACKETED: Final = re.compile(r'<(?:[^">\\]|"(?:[^"\\]|\\.)*"|\\.)*>')
_ROUTE: Final = re.compile(r"@[^:<>\"]*:")
_NOTIFY: Final = {"NEVER": Notify.NEVER, "SUCCESS": Notify.SUCCESS, "FAILURE": Notify.FAILURE, "DELAY": Notify.DELAY}
_ORDER: Final = ("SUCCESS", "FAILURE", "DELAY")
_SHOWN: Final = 200


class Unreadable(Exception):
    """A line that is no command of a batch: nobody can tell what those after it belong to. `reply` is a server's."""

    def __init__(self, rule: str, reply: str, mend: str) -> None:
        self.rule, self.reply, self.mend = rule, reply, mend
        super().__init__(reply)


class Unacceptable(Exception):
    """A command that is understood, and that its transaction cannot go on with."""

    def __init__(self, rule: str, reply: str, mend: str) -> None:
        self.rule, self.reply, self.mend = rule, reply, mend
        super().__init__(reply)


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL: who sends."""

    reverse_path: Address | None
    ret: Literal["full", "hdrs"] | None = None
    envid: str | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT: one who is to get it."""

    recipient: Recipient


@dataclass(frozen=True, slots=True)
class Plain:
    """Any other command; `verb` in upper case."""

    verb: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Path:
    """MAIL or RCPT as it is written: its verb, address and parameters, none of them judged yet."""

    verb: Literal["MAIL", "RCPT"]
    address: str
    parameters: str

    def mail(self, options: Options, qualify: str) -> Mail:
        """Raises: Unacceptable."""
        given = _parameters(self.parameters, _MAIL)
        reverse_path = None if self.address in ("", "<>") else _address(self.address, options, qualify)
        ret = given.get("RET", "").lower()
        priority = int(given.get("MT-PRIORITY", "0"))
        envid = from_xtext(given["ENVID"]) if "ENVID" in given else None
        return Mail(reverse_path, "full" if ret == "full" else "hdrs" if ret else None, envid, priority)

    def rcpt(self, options: Options, qualify: str) -> Rcpt:
        """Raises: Unacceptable."""
        given = _parameters(self.parameters, _RCPT)
        notify = Notify.UNSET
        for word in given.get("NOTIFY", "").upper().split(","):
            notify |= _NOTIFY.get(word, Notify.UNSET)
        orcpt = None
        if "ORCPT" in given:
            kind, _, value = given["ORCPT"].partition(";")
            orcpt = f"{kind};{from_xtext(value)}"
        return Rcpt(Recipient(_address(self.address, options, qualify), notify, orcpt))


Command = Path | Plain


def read_command(line: bytes) -> Command:
    """Read a line. Raises: Unreadable."""
    found = _ENVELOPE.match(line)
    if found is not None:
        text = line[found.end() :].decode("utf-8", "surrogateescape").rstrip(" \t")
        return Path("MAIL" if found[1][:1] in b"Mm" else "RCPT", *_split(text))
    verb = _VERB.match(line)
    name = b"" if verb is None else verb[1].upper()
    if verb is None or not (name in _PLAIN or name in IGNORED):
        if name in (b"MAIL", b"RCPT"):
            raise Unreadable("syntax", "501 5.5.4 no FROM: or TO: where one belongs", f"write {_form(name)}")
        raise Unreadable(
            "unknown-command",
            "500 5.5.2 this is no command of a batch",
            "write HELO, MAIL FROM:<…>, RCPT TO:<…>, DATA, RSET or QUIT; end the text before with a line of one dot, "
            "and begin each of its lines that begin with a dot with two",
        )
    argument = line[verb.end() :].decode("utf-8", "replace").strip()
    if name == b"DATA" and argument:
        raise Unreadable("syntax", "501 5.5.4 DATA takes no argument", "write DATA alone on its line")
    return Plain(name.decode(), argument)


_PLAIN: Final = frozenset((b"HELO", b"EHLO", b"DATA", b"RSET", b"QUIT", b"TICK"))


def _form(name: bytes) -> str:
    return "MAIL FROM:<user@domain>" if name == b"MAIL" else "RCPT TO:<user@domain>"


def _split(text: str) -> tuple[str, str]:
    """Part a path, in angle brackets or without, from its parameters."""
    if not text.startswith("<"):
        address, _, parameters = text.partition(" ")
        return address, parameters
    path = _BRACKETED.match(text)
    if path is None:
        raise Unreadable("syntax", "501 5.1.7 no > ends the address", "write <user@domain>")
    if text[path.end() : path.end() + 1] not in ("", " ", "\t"):
        raise Unreadable("syntax", "501 5.5.4 no blank parts the address from what follows", "put a blank behind >")
    return path[0], text[path.end() :]


def _address(text: str, options: Options, qualify: str) -> Address:
    inner = text[1:-1].strip(" ") if text.startswith("<") else text
    route = _ROUTE.match(inner)
    if route is not None:  # RFC 5321 §4.1.1.3: a source route may be left out
        inner = inner[route.end() :]
    if qualify and inner and options.network == "smtp" and not re.search("[@:!]", inner):
        inner = f"{inner}@{qualify}"
    try:
        return read_one(inner, options.network)
    except AddressError as e:
        reply = f"553 5.1.3 {e.message} ({e.rule})"
        raise Unacceptable("bad-address", reply, "mend the address") from None


def _parameters(text: str, known: Mapping[str, Callable[[str], bool]]) -> dict[str, str]:
    """Read `KEY=VALUE …`, keys in upper case. Raises: Unacceptable."""
    given: dict[str, str] = {}
    for word in text.split():
        found = _PARAMETER.fullmatch(word)
        key = "" if found is None else found[1].upper()
        if found is None or key not in known:
            reply = f"555 5.5.4 parameter {_shown(word)} is not known"
            raise Unacceptable("unknown-parameter", reply, "leave the parameter out")
        value = found[2] or ""
        if key in given or not known[key](value):
            reply = f"501 5.5.4 parameter {_shown(word)} is ill-formed, or stands here twice"
            raise Unacceptable("bad-parameter", reply, "mend the parameter, or leave it out")
        given[key] = value
    return given


def _shown(word: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in word[:_SHOWN])


def _is_xtext(value: str) -> bool:
    text = from_xtext(value)
    return bool(text) and text.isprintable()


def _is_notify(value: str) -> bool:
    words = value.upper().split(",")
    return words == ["NEVER"] or all(word in _ORDER for word in words)


def _is_orcpt(value: str) -> bool:
    kind, sign, address = value.partition(";")
    return bool(sign and re.fullmatch(r"[A-Za-z0-9-]+", kind)) and _is_xtext(address)


_MAIL: Final[Mapping[str, Callable[[str], bool]]] = {
    "SIZE": lambda value: value.isascii() and value.isdigit() and len(value) <= 20,
    "BODY": lambda value: value.upper() in ("7BIT", "8BITMIME"),
    "RET": lambda value: value.upper() in ("FULL", "HDRS"),
    "ENVID": lambda value: len(value) <= 100 and _is_xtext(value),
    "AUTH": bool,
    "SMTPUTF8": lambda value: not value,
    "MT-PRIORITY": lambda value: re.fullmatch(r"-?[0-9]", value, re.ASCII) is not None,
}
_RCPT: Final[Mapping[str, Callable[[str], bool]]] = {
    "NOTIFY": _is_notify,
    "ORCPT": lambda value: len(value) <= 500 and _is_orcpt(value),
}


def mail_line(reverse_path: Address | None, network: str, parameters: str = "") -> str:
    """Return a MAIL command. Raises: Refused where a batch cannot hold the address."""
    return f"MAIL FROM:{'<>' if reverse_path is None else _path(reverse_path, network)}{parameters}"


def rcpt_line(item: Item, network: str, *, parameters: bool) -> str:
    """Return a RCPT command. Raises: Refused where a batch cannot hold the address."""
    words = ""
    if parameters and item.notify:
        asked = [word for word in _ORDER if _NOTIFY[word] in item.notify]
        words += f" NOTIFY={'NEVER' if Notify.NEVER in item.notify else ','.join(asked)}"
    if parameters and item.orcpt:
        kind, sign, value = item.orcpt.partition(";")
        words += f" ORCPT={kind if sign else 'rfc822'};{to_xtext(value if sign else kind)}"
    return f"RCPT TO:{_path(item.address, network)}{words}"


def _path(address: Address, network: str) -> str:
    text = f"<{write_one(address, network)}>"
    if _BRACKETED.fullmatch(text) is None:
        raise Refused(Status("5.1.3", f"a batch has no way to write the address {address.value}"))
    return text
