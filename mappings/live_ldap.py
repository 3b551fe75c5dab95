"""Live LDAP: identities from a directory server, and then, at each later call, what has changed since.

What is taken of an entry is told in `mappings.formats.ldap_entry`: of Active Directory with Exchange and of a plain
inetOrgPerson without more. Other attributes are given a meaning by `Server.attributes`:

    {"employeeMail": "mail", "oldMail": "former:smtp", "mhsAddress": "network:mhs", "telephoneNumber": ""}

reads employeeMail as mail, oldMail as former addresses, mhsAddress as addresses of mhs, and leaves telephone numbers
out. How changes are found depends on what the server offers:
- content synchronization (OpenLDAP with syncprov, 389 Directory Server): a cookie; the server names what is gone;
- update sequence numbers (Active Directory): what was changed after the highest number of the last call, on the same
  domain controller;
- else modifyTimestamp: what was changed since the newest of the last call, and a little before, since servers that
  replicate get changes late.
With the last two the numbers of all entries are listed as well, since what is gone has no time of change.

Promises: a server is asked for no more than a page at once, and no more than `max_entries` and `total_timeout_s` in
all; a certificate is verified, and its name is the server's; a password goes over no network in the clear; a result
that the server cut short is a DirectoryError, never half a directory. Nothing is changed in the directory.
It blocks: call it from a thread. It needs the extra `gatepost[ldap]`.
Source: RFC 4511, RFC 4513, RFC 2696, RFC 4533, RFC 4512 §3.4 (modifyTimestamp); Microsoft's "Polling for Changes Using
USNChanged" and "Searching Using Range Retrieval".
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from mappings import ldap_wire as wire
from mappings.formats import Entry, Reading, ldap_entry
from mappings.formats.people import ANY, People, guid
from mappings.identity import Kind, Role
from mappings.ldap_server import DirectoryError, Server, check
from mappings.ldap_session import Session
from mappings.network import Registry
from mappings.tabular import Problem

_NUMBERS: Final = ("entryUUID", "objectGUID", "nsUniqueId", "ipaUniqueID", "guid")
_ACTIVE_DIRECTORY: Final = "1.2.840.113556.1.4.800"
_MAX_LOOK_UPS: Final = 1000
_OVERLAP: Final = timedelta(minutes=10)
_TIME: Final = "%Y%m%d%H%M%SZ"
_LIFETIME: Final = re.compile(rb"(\d{14})(?:[.,]\d+)?(?:Z|[+-]\d{2}(?:\d{2})?)")
_REFRESH_REQUIRED: Final = 4096
_CANNOT: Final = frozenset({2, 11, 12, 53})
"""Codes by which a server refuses synchronization: a protocol error, a limit, an unknown control, unwilling."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a server told. The lines of entries and problems count the entries in the order that they came.

    `is_whole` says that all is in `reading`; else it is what changed. What is gone is in `removed` by its `ref`, or,
    where the server does not tell it, is all that is not in `present`. `state` is what the next call is to be given.
    `how` is `sync`, `usn` or `time`.
    """

    reading: Reading
    is_whole: bool
    state: str
    how: str
    removed: frozenset[str] = frozenset()
    present: frozenset[str] | None = None

    def gone(self, known: Iterable[str]) -> Iterator[str]:
        """Yield those of the known refs that are no longer in the directory."""
        return (ref for ref in known if ref in self.removed or (self.present is not None and ref not in self.present))


def fetch(
    server: Server, networks: Registry, state: str = "", *, clock: Callable[[], float] = time.monotonic
) -> Fetched:
    """Read all of a directory, or with the `state` of the last call what has changed since.

    Raises: DirectoryError.
    """
    check(server, networks)
    with Session(server, clock) as session:
        root = session.root()
        last = _last(state, server)
        reader = _Reader(server, networks, session)
        if _ACTIVE_DIRECTORY in root["supportedcapabilities"] and root["highestcommittedusn"]:
            return _by_number(reader, last, root)
        if wire.SYNC_REQUEST in root["supportedcontrol"]:
            found = _by_cookie(reader, last)
            if found is not None:
                return found
        return _by_time(reader, last)


# -- what the next call is given


def _state(server: Server, how: str, **more: str) -> str:
    return json.dumps({"how": how, "of": _of(server), **more}, sort_keys=True)


def _of(server: Server) -> str:
    """Return what says that a state is of the same question; another user may see other entries."""
    asked = (server.base, server.sought, server.asked, sorted(server.attributes.items()), server.user, server.phones)
    return hashlib.sha256(repr(asked).encode()).hexdigest()[:16]


def _last(state: str, server: Server) -> dict[str, str]:
    """Return the state of the last call, empty where it is none, or of another question."""
    try:
        found = json.loads(state) if state else {}
    except ValueError:
        return {}
    if not isinstance(found, dict) or found.get("of") != _of(server):
        return {}
    return {str(key): str(value) for key, value in found.items()}


# -- the three ways


def _by_cookie(reader: _Reader, last: Mapping[str, str]) -> Fetched | None:
    """Read by content synchronization; None where the server refuses it."""
    cookie: bytes | None = None
    if last.get("how") == "sync":
        try:
            cookie = b64decode(last.get("cookie", ""), validate=True)
        except ValueError:
            cookie = None
    present: set[str] = set()
    removed: set[str] = set()
    control = (wire.SYNC_REQUEST, True, wire.sync_request(cookie))
    had_presence = is_silent = False
    done: wire.Done | None = None
    for answer in reader.session.search(reader.server.base, reader.server.sought, reader.server.asked, (control,)):
        if isinstance(answer, wire.Found):
            said = wire.sync_state(answer)
            if said is None:
                is_silent = True
                continue
            kind, number = said
            if kind is wire.State.DELETE:
                removed.add(number)
                continue
            present.add(number)
            removed.discard(number)
            if kind is not wire.State.PRESENT:
                reader.take(answer, number)
        elif isinstance(answer, wire.Told):
            had_presence = had_presence or wire.ends_presence(answer)
            ids = wire.sync_ids(answer)
            if ids is not None:
                (removed if ids.deleted else present).update(ids.uuids)
        elif isinstance(answer, wire.Done):
            done = answer
    if done is None or done.code in _CANNOT or is_silent:
        reader.forget()
        return None
    if done.code == _REFRESH_REQUIRED and cookie is not None:  # the server has forgotten where we were
        reader.forget()
        return _by_cookie(reader, {})
    reader.session.check(done)
    new, deletes = wire.sync_done(done)
    new = new if new is not None else cookie  # where nothing has changed there is no new one
    state = _state(reader.server, "sync", cookie=b64encode(new).decode()) if new is not None else ""
    if cookie is None:
        return Fetched(reader.reading(), True, state, "sync", present=frozenset(present))
    reader.look_members_up()
    tells_all = deletes and not had_presence
    return Fetched(
        reader.reading(),
        False,
        state,
        "sync",
        removed=frozenset(removed),
        present=None if tells_all else frozenset(present),
    )


def _by_number(reader: _Reader, last: Mapping[str, str], root: Mapping[str, Sequence[str]]) -> Fetched:
    """Read by update sequence numbers, which are of one domain controller alone."""
    server = reader.server
    controller = next(iter(root["dsservicename"]), "")
    committed = root["highestcommittedusn"][0]
    state = _state(server, "usn", usn=committed, controller=controller)
    since = last.get("usn", "")
    if last.get("how") == "usn" and last.get("controller") == controller and since.isascii() and since.isdigit():
        reader.read_all(f"(&{server.sought}(uSNChanged>={int(since) + 1}))")
        present = reader.numbers()
        reader.look_members_up()
        return Fetched(reader.reading(), False, state, "usn", present=present)
    reader.read_all(server.sought)
    return Fetched(reader.reading(), True, state, "usn", present=frozenset(reader.refs))


def _by_time(reader: _Reader, last: Mapping[str, str]) -> Fetched:
    """Read by the time of the last change."""
    server = reader.server
    since = last.get("at", "")
    if last.get("how") == "time" and re.fullmatch(r"\d{14}Z", since):
        reader.newest = max(reader.newest, since)
        reader.read_all(f"(&{server.sought}(modifyTimestamp>={_earlier(since)}))", "modifyTimestamp")
        present = reader.numbers()
        reader.look_members_up()
        state = _state(server, "time", at=reader.newest)
        return Fetched(reader.reading(), False, state, "time", present=present)
    reader.read_all(server.sought, "modifyTimestamp")
    state = _state(server, "time", at=reader.newest) if reader.newest else ""
    return Fetched(reader.reading(), True, state, "time", present=frozenset(reader.refs))


def _earlier(time_: str) -> str:
    try:
        return (datetime.strptime(time_, _TIME).replace(tzinfo=UTC) - _OVERLAP).strftime(_TIME)
    except (ValueError, OverflowError):
        return time_


# -- entries


class _Reader:
    """Makes drafts of entries as they come."""

    def __init__(self, server: Server, networks: Registry, session: Session) -> None:
        self.server = server
        self.session = session
        self.newest = ""
        self.refs: list[str] = []
        self._networks = networks
        self._meanings = {name.lower(): meaning for name, meaning in server.attributes.items()}
        self.forget()

    def forget(self) -> None:
        """Begin again."""
        self._people = People(self._networks, phones=self.server.phones)
        self._names: list[str] = []
        self._wanted: dict[str, str] = {}
        self._own = 0
        self.refs = []

    def take(self, found: wire.Found, number: str | None = None) -> None:
        """Make a draft of an entry; `number` is its number where the server tells it apart from its attributes."""
        self._names.append(found.dn)
        if len(self._names) > self.server.max_entries:
            raise DirectoryError(
                f"the directory has more than {self.server.max_entries} entries; "
                "narrow the filter, or raise max_entries"
            )
        raw = found.values
        newest = next((values[0] for name, values in raw if name.lower() == "modifytimestamp" and values), b"")
        stamp = _LIFETIME.fullmatch(newest)
        if stamp is not None:
            self.newest = max(self.newest, f"{stamp[1].decode()}Z")
        line = len(self._names)
        values = ldap_entry.simplified(
            (meant, value) for name, each in raw for meant in self._meant(name) for value in each
        )
        if number is not None:
            values["entryuuid"] = [number.encode()]
        draft = ldap_entry.take(self._people, line, found.dn, values)
        for name, each in raw:
            kind, _, network = self._meanings.get(name.partition(";")[0].lower(), "").partition(":")
            if network:
                role = Role.FORMER if kind == "former" else None
                for value in each:
                    text = value.decode("utf-8", "backslashreplace").strip()
                    draft.add(network, text, name, ANY, role)
        self.refs.append(_ref_of(values, found.dn))
        if draft.kind is Kind.GROUP:
            for name in ("member", "uniquemember", "managedby", "owner"):
                for value in values.get(name, ()):
                    dn = value.decode("utf-8", "replace")
                    self._wanted.setdefault(_folded(dn), dn)

    def read_all(self, filter_: str, *more: str) -> None:
        """Read all entries that match, page by page."""
        for found in self.session.pages(self.server.base, filter_, (*self.server.asked, *more)):
            self.take(found)

    def numbers(self) -> frozenset[str]:
        """Return the refs of all entries that are there now."""
        found = set()
        asked = [name for name in _NUMBERS if name in self.server.asked]
        for entry in self.session.pages(self.server.base, self.server.sought, asked):
            values = ldap_entry.simplified((name, value) for name, each in entry.values for value in each)
            found.add(_ref_of(values, entry.dn))
            if len(found) > self.server.max_entries:
                raise DirectoryError(f"the directory has more than {self.server.max_entries} entries")
        return frozenset(found)

    def look_members_up(self) -> None:
        """Read the members of groups that did not change themselves, so that the groups can name their addresses."""
        self._own = len(self._names)
        have = {_folded(dn) for dn in self._names}
        missing = {folded: dn for folded, dn in self._wanted.items() if folded not in have}
        if len(missing) > _MAX_LOOK_UPS:
            for found in self.session.pages(self.server.base, self.server.sought, self.server.asked):
                if _folded(found.dn) in missing:
                    self.take(found)
            return
        for dn in missing.values():
            for answer in self.session.search(dn, "(objectClass=*)", self.server.asked, scope="BASE"):
                if isinstance(answer, wire.Found):
                    self.take(answer)

    def reading(self) -> Reading:
        """Return what all drafts make together, without those that were only looked up."""
        made = self._people.reading()
        entries = [e for e in made.entries if not self._own or e.line <= self._own]
        problems = [
            Problem(p.line, p.column, f"{self._names[p.line - 1]}: {p.message}")
            if 0 < p.line <= len(self._names)
            else p
            for p in made.problems
            if not self._own or p.line <= self._own
        ]
        notes = list(made.notes)
        if self.session.referred:
            notes.append(f"{self.session.referred} parts of the directory are on other servers, and were not read")
        return Reading([Entry(e.line, e.identity) for e in entries], made.rules, problems, notes)

    def _meant(self, name: str) -> tuple[str, ...]:
        """Return the names under which an attribute is read."""
        meaning = self._meanings.get(name.partition(";")[0].lower())
        if meaning is None:
            return (name,)
        return (meaning,) if meaning and ":" not in meaning else ()


def _ref_of(values: ldap_entry.Values, dn: str) -> str:
    """Return the number of an entry as `ldap_entry` makes its attribute `ref`."""
    for name in _NUMBERS:
        for value in values.get(name.lower(), ()):
            if name == "objectGUID" and len(value) == 16:
                return guid(f"X'{value.hex()}'")
            try:
                return guid(value.decode())
            except UnicodeDecodeError:
                return value.hex()
    return dn


def _folded(dn: str) -> str:
    return ",".join(part.strip() for part in dn.split(",")).casefold()
