"""Folders as LIST tells them: names to paths and back, roles, and what a look at all of them costs.

Promises: a name is asked for by the octets that it was listed with; what a server cannot have in a name is refused in
words before it is asked.
Source: RFC 9051 §6.3.9, RFC 6154 (SPECIAL-USE), RFC 5819 (LIST-STATUS), RFC 5258 (LIST-EXTENDED), RFC 2342.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from connectors.imap.connection import Refused
from connectors.imap.session import Session
from connectors.imap.wire.commands import command, joined
from connectors.imap.wire.dialogue import Untagged
from connectors.imap.wire.names import from_wire, to_wire
from connectors.imap.wire.responses import Data, as_number, as_text
from connectors.imap.wire.tokens import Value, WireError
from gateway.mailbox import FolderRole

MOST_FOLDERS: Final = 100_000
ROLES: Final[Mapping[bytes, FolderRole]] = {
    b"\\sent": "sent",
    b"\\drafts": "drafts",
    b"\\trash": "trash",
    b"\\junk": "junk",
    b"\\archive": "archive",
    b"\\spam": "junk",
}
"""By SPECIAL-USE, and by XLIST, its forerunner."""
_ALL: Final = frozenset((b"\\all", b"\\allmail"))
_VIEWS: Final = _ALL | {b"\\flagged", b"\\starred", b"\\important"}
"""What shows messages of other folders; but where folders are labels, the one of all is a message's last home."""
_NAMES: Final[tuple[tuple[FolderRole, tuple[str, ...]], ...]] = (
    ("sent", ("sent", "sent items", "sent messages", "sent-mail", "gesendet", "gesendete elemente",
        "gesendete objekte", "envoyés", "éléments envoyés", "enviados", "elementos enviados",
        "posta inviata", "inviata", "verzonden", "verzonden items")),
    ("drafts", ("drafts", "draft", "entwürfe", "brouillons", "borradores", "bozze", "concepten")),
    ("trash", ("trash", "deleted items", "deleted messages", "papierkorb", "gelöschte elemente", "corbeille",
        "éléments supprimés", "papelera", "elementos eliminados", "cestino", "posta eliminata",
        "prullenbak", "verwijderde items")),
    ("junk", ("junk", "junk e-mail", "junk email", "spam", "bulk mail", "junk-e-mail", "courrier indésirable",
        "correo no deseado", "posta indesiderata", "ongewenste e-mail")),
    ("archive", ("archive", "archives", "archiv", "archivo", "archivio", "archief")),
)  # fmt: skip
_BY_NAME: Final[Mapping[str, FolderRole]] = {name: role for role, names in _NAMES for name in names}
"""What programs call these folders, for servers that do not say which is which."""
_ITEMS: Final = b"(MESSAGES UNSEEN UIDNEXT UIDVALIDITY)"
_ITEMS_MODSEQ: Final = b"(MESSAGES UNSEEN UIDNEXT UIDVALIDITY HIGHESTMODSEQ)"
_INBOX: Final = b"INBOX"


@dataclass(slots=True)
class Listed:
    """A folder of a LIST answer. `name`: as it was listed. `status`: MESSAGES and so on, where they were told."""

    name: bytes
    separator: str
    attributes: frozenset[bytes]
    status: dict[str, int] = field(default_factory=dict)
    is_subscribed: bool = True
    role: FolderRole | None = None

    @property
    def mark(self) -> str | None:
        """What is another word whenever anything in the folder has changed; None where that is not told."""
        names = ("UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ", "MESSAGES")
        if not self.status.get("HIGHESTMODSEQ") or any(name not in self.status for name in names):
            return None
        return ".".join(str(self.status[name]) for name in names)

    @property
    def can_hold(self) -> bool:
        """Whether it can be selected."""
        return not self.attributes & {b"\\noselect", b"\\nonexistent"}


@dataclass(frozen=True, slots=True)
class Namespace:
    """Where a user's own folders begin: a prefix such as `INBOX.`, and the separator; and where others' do."""

    prefix: str = ""
    separator: str = ""
    others: tuple[str, ...] = ()
    """Beginnings of the names of other users' and of shared folders."""

    def is_own(self, name: str) -> bool:
        """Tell whether a folder of this name is the user's own."""
        if self.prefix and name.startswith(self.prefix):
            return True
        return not any(name.startswith(each) or name + self.separator == each for each in self.others)


async def namespace(session: Session) -> Namespace:
    """Return where the user's own folders are. Raises: Refused, Closed."""
    found = Namespace()

    def takes(what: Untagged) -> bool:
        nonlocal found
        if not isinstance(what, Data):
            return False
        if what.name == "NAMESPACE":
            kinds = [_namespaces(each, utf8=session.utf8) for each in what.values[:3]]
            own = kinds[0][0] if kinds and kinds[0] else ("", "")
            others = tuple(prefix for kind in kinds[1:] for prefix, _ in kind if prefix and prefix != own[0])
            found = Namespace(own[0], own[1], others)
        elif what.name == "LIST" and len(what.values) >= 3:
            found = Namespace("", _one(what).separator)
        else:
            return False
        return True

    if session.has("NAMESPACE"):
        try:
            await session.connection.ask(command(b"NAMESPACE"), takes)
        except Refused:
            found = Namespace()
    if not found.separator:
        before = found
        await session.connection.ask(command(b"LIST", b'""', b'""'), takes)
        found = replace(before, separator=found.separator)
    return found


def _namespaces(told: Value, *, utf8: bool) -> list[tuple[str, str]]:
    found = []
    for each in told if isinstance(told, list) else ():
        if isinstance(each, list) and len(each) >= 2:
            separator = as_text(each[1]).decode("latin-1") if each[1] is not None else ""
            found.append((from_wire(as_text(each[0]), utf8=utf8), separator))
    return found


async def listed(session: Session, own: Namespace) -> dict[bytes, Listed]:
    """Return the user's own folders with their status, by name, in the server's order. Raises: Refused, Closed.

    One command where the server has LIST-STATUS; else one a folder, all in the pipe at once. Where a folder can't be
    asked for its status, it has none.
    """
    found: dict[bytes, Listed] = {}
    statuses: dict[bytes, dict[str, int]] = {}
    subscribed: set[bytes] = set()
    is_extended = session.has("LIST-EXTENDED")
    with_status = session.has("LIST-STATUS")

    def takes(what: Untagged) -> bool:
        if not isinstance(what, Data):
            return False
        if what.name == "STATUS" and len(what.values) >= 2:
            statuses[_folded(as_text(what.values[0]))] = _status(what)
        elif what.name in ("LIST", "LSUB") and len(what.values) >= 3:
            one = _one(what)
            if what.name == "LSUB":
                subscribed.add(_folded(one.name))
            elif own.is_own(from_wire(one.name, utf8=session.utf8)):
                found[_folded(one.name)] = one
                if len(found) > MOST_FOLDERS:
                    raise WireError(f"more than {MOST_FOLDERS} folders")
        else:
            return False
        return True

    ask = session.connection.ask
    items = _ITEMS_MODSEQ if session.has("CONDSTORE") or session.has("QRESYNC") else _ITEMS
    if is_extended:
        wanted = [b"SUBSCRIBED", b"CHILDREN"]
        if session.has("SPECIAL-USE"):
            wanted.append(b"SPECIAL-USE")
        if with_status:
            wanted.append(b"STATUS " + items)
        await ask(joined(b'LIST "" "*" RETURN (', b" ".join(wanted), b")"), takes)
        subscribed = {name for name, each in found.items() if b"\\subscribed" in each.attributes}
    else:
        await ask(command(b"LIST", b'""', b'"*"'), takes)
        await ask(command(b"LSUB", b'""', b'"*"'), takes)
    asked = [each for name, each in found.items() if each.can_hold and name not in statuses]
    for one in asked:
        session.connection.put(joined(b"STATUS ", session.name(one.name), b" ", items), lambda said: None, takes)
    if asked:
        await ask(command(b"NOOP"), takes)
    for name, each in found.items():
        each.status = statuses.get(name, {})
        each.is_subscribed = name in subscribed
    _give_roles(list(found.values()), own, utf8=session.utf8, labels=session.has("X-GM-EXT-1"))
    return {each.name: each for each in found.values()}


def _give_roles(folders: list[Listed], own: Namespace, *, utf8: bool, labels: bool) -> None:
    """Say which folder is for what, each role once: as the server tells, else, if it tells of none, by their names.
    `labels`: each folder is a label."""
    given: dict[FolderRole, Listed] = {}
    for each in folders:
        if each.name.upper() == _INBOX:
            given["inbox"] = each
    for each in folders:
        role = next((ROLES[word] for word in sorted(each.attributes) if word in ROLES), None)
        if role is not None and each.can_hold and each not in given.values():
            given.setdefault(role, each)
        elif each.attributes & _VIEWS:
            if labels and each.attributes & _ALL:
                given["archive"] = each
            else:
                each.role = "view"
    if given.keys() <= {"inbox"}:
        for each in sorted(folders, key=lambda one: one.name):
            path = path_of(each.name, each.separator, own, utf8=utf8)
            role = _BY_NAME.get(path[0].lower()) if len(path) == 1 and each.can_hold else None
            if role is not None:
                given.setdefault(role, each)
    for role, each in given.items():
        each.role = role


def _folded(name: bytes) -> bytes:
    return _INBOX if name.upper() == _INBOX else name


def _one(what: Data) -> Listed:
    attributes, separator, name = what.values[:3]
    return Listed(
        as_text(name),
        as_text(separator).decode("latin-1") if separator is not None else "",
        frozenset(each.lower() for each in attributes if isinstance(each, bytes))
        if isinstance(attributes, list)
        else frozenset(),
    )


def _status(what: Data) -> dict[str, int]:
    told = what.values[1]
    if not isinstance(told, list):
        return {}
    names = [as_text(each).decode("ascii", "replace").upper() for each in told[::2]]
    numbers = [as_number(each) for each in told[1::2]]
    return {name: number for name, number in zip(names, numbers, strict=False) if number is not None}


def path_of(name: bytes, separator: str, own: Namespace, *, utf8: bool) -> tuple[str, ...]:
    """Return a folder's path. The prefix of the user's own namespace is no part of it; the inbox is `INBOX`."""
    if name.upper() == _INBOX:
        return ("INBOX",)
    text = from_wire(name, utf8=utf8)
    if own.prefix and text.startswith(own.prefix):
        text = text[len(own.prefix) :]
    return tuple(text.split(separator)) if separator else (text,)


def name_of(path: tuple[str, ...], own: Namespace, *, utf8: bool) -> bytes:
    """Return the name of a folder that is to be made. Raises: ValueError where the server can't have it."""
    if path == ("INBOX",):
        return _INBOX
    if not path or not all(path):
        raise ValueError("a folder has a name")
    separator = own.separator
    if separator and any(separator in part for part in path):
        raise ValueError(f"a name with {separator!r}, which parts folders from each other at this server")
    if not separator and len(path) > 1:
        raise ValueError("folders in folders, which this server has not")
    text = separator.join(path)
    if any(ord(each) < 0x20 or each == "\x7f" for each in text):
        raise ValueError("a name with a control character")
    if not own.prefix and path[0].upper() == "INBOX" and path[0] != "INBOX":
        raise ValueError("a name that the inbox has in other letters")
    return to_wire(own.prefix + text, utf8=utf8)
