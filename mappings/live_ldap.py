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
import ssl
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from mappings import ldap_wire as wire
from mappings.formats import Entry, Reading, ldap_entry
from mappings.formats.people import ANY, People, guid
from mappings.identity import Kind, Role
from mappings.network import Registry
from mappings.tabular import Problem

ATTRIBUTES: Final = (
    "objectClass", "entryUUID", "objectGUID", "nsUniqueId", "ipaUniqueID", "guid",
    "displayName", "cn", "name", "uid", "givenName", "sn", "company", "o", "department", "departmentNumber", "ou",
    "title", "sAMAccountName", "mailNickname", "userPrincipalName", "msExchRecipientDisplayType",
    "mail", "proxyAddresses", "mailAlternateAddress", "mailLocalAddress", "mailEquivalentAddress",
    "legacyExchangeDN", "textEncodedORAddress", "msRTCSIP-PrimaryUserAddress", "targetAddress", "mailRoutingAddress",
    "telephoneNumber", "mobile", "facsimileTelephoneNumber",
    "member", "uniqueMember", "rfc822MailMember", "mgrpRFC822MailMember", "mgrpErrorsTo", "managedBy", "owner",
)  # fmt: skip
"""What is asked for of each entry."""
ADDRESSED: Final = (
    "mail", "proxyAddresses", "mailAlternateAddress", "mailLocalAddress", "legacyExchangeDN", "textEncodedORAddress",
    "rfc822MailMember", "mgrpRFC822MailMember",
)  # fmt: skip
"""An entry with one of these is asked for, where the operator gives no filter."""

_NUMBERS: Final = ("entryUUID", "objectGUID", "nsUniqueId", "ipaUniqueID", "guid")
_ACTIVE_DIRECTORY: Final = "1.2.840.113556.1.4.800"
_ROOT: Final = ("supportedControl", "supportedCapabilities", "highestCommittedUSN", "dsServiceName")
_CHUNK: Final = 1 << 16
_MAX_MESSAGE: Final = 256 * 1024 * 1024
"""A group of a million members."""
_MAX_RANGES: Final = 10_000
_MAX_LOOK_UPS: Final = 1000
_OVERLAP: Final = timedelta(minutes=10)
_TIME: Final = "%Y%m%d%H%M%SZ"
_LIFETIME: Final = re.compile(rb"(\d{14})(?:[.,]\d+)?(?:Z|[+-]\d{2}(?:\d{2})?)")
_RANGED: Final = re.compile(r"([^;]+);range=(\d+)-(\d+|\*)", re.IGNORECASE)
_REFRESH_REQUIRED: Final = 4096
_CANNOT: Final = frozenset({2, 11, 12, 53})
"""Codes by which a server refuses synchronization: a protocol error, a limit, an unknown control, unwilling."""


class DirectoryError(Exception):
    """A directory that cannot be read; the text says why, and names the mend."""


@dataclass(frozen=True, slots=True)
class Server:
    """A directory server, and what is to be read of it.

    `url` is `ldap://host:port` or `ldaps://host:port`; `base` is the name of the entry to begin at. `filter` is empty
    for every entry with an address. `attributes` gives attributes a meaning, as the module tells. Without `user` the
    server is asked as anybody. `ca_file` holds the certificates to trust in place of the system's.
    """

    url: str
    base: str
    filter: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    start_tls: bool = False
    ca_file: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    phones: bool = True
    page_size: int = 500
    max_entries: int = 2_000_000
    connect_timeout_s: float = 10.0
    answer_timeout_s: float = 60.0
    total_timeout_s: float = 3600.0

    @property
    def sought(self) -> str:
        """The filter in force."""
        if self.filter:
            return self.filter if self.filter.startswith("(") else f"({self.filter})"
        names = (
            *ADDRESSED,
            *(name for name, meaning in self.attributes.items() if ":" in meaning or meaning in ADDRESSED),
        )
        return f"(|{''.join(f'({name}=*)' for name in dict.fromkeys(names))})"

    @property
    def asked(self) -> tuple[str, ...]:
        """The attributes to ask for."""
        dropped = {name.lower() for name, meaning in self.attributes.items() if not meaning}
        kept = (name for name in ATTRIBUTES if name.lower() not in dropped)
        return tuple(dict.fromkeys((*kept, *(name for name, meaning in self.attributes.items() if meaning))))


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
    _check(server, networks)
    with _Session(server, clock) as session:
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


def _check(server: Server, networks: Registry) -> None:
    """Raises: DirectoryError where a server is not to be asked."""
    parts = _parts(server.url)
    if server.page_size < 1 or server.max_entries < 1:
        raise DirectoryError("page_size and max_entries are 1 or more")
    is_clear = parts[0] == "ldap" and not server.start_tls
    if server.password and is_clear and not _is_here(parts[1]):
        raise DirectoryError(f"the password would go to {parts[1]} in the clear; write ldaps://, or set start_tls")
    if server.user and not server.password:
        raise DirectoryError("a user without a password is taken for anybody; give the password")
    for name, meaning in server.attributes.items():
        kind, colon, network = meaning.partition(":")
        if colon and (kind not in ("network", "former") or not network):
            raise DirectoryError(
                f"the attribute {name} is to be {meaning!r}; write an attribute's name, network:NAME or former:NAME"
            )
        try:
            networks.get(network or "smtp")
        except ValueError as e:
            raise DirectoryError(f"the attribute {name} is to be {meaning!r}: {e}") from None
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*(?:;[A-Za-z0-9-]+)*", name):
            raise DirectoryError(f"{name!r} is no attribute's name")


def _parts(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port). Raises: DirectoryError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as e:
        raise DirectoryError(f"{url!r} is no URL of a server: {e}") from None
    if parts.scheme not in ("ldap", "ldaps") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise DirectoryError(f"{url!r} is no URL of a server; write ldaps://host or ldap://host:port")
    return parts.scheme, parts.hostname, port or (636 if parts.scheme == "ldaps" else 389)


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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

    def __init__(self, server: Server, networks: Registry, session: _Session) -> None:
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


# -- the server


class _Session:
    """One connection, bound; searches are streamed, so that no more than a message is held."""

    def __init__(self, server: Server, clock: Callable[[], float]) -> None:
        try:
            import ldap3  # type: ignore[import-untyped]
            from ldap3.core.exceptions import LDAPException  # type: ignore[import-untyped]
            from ldap3.operation.search import search_operation  # type: ignore[import-untyped]
            from ldap3.protocol.rfc2696 import paged_search_control  # type: ignore[import-untyped]
        except ImportError as e:
            raise DirectoryError(
                f"reading a live directory needs the extra gatepost[ldap] (pip install 'gatepost[ldap]'): {e}"
            ) from None
        self._ldap3 = ldap3
        self._fault = LDAPException
        self._request = search_operation
        self._page = paged_search_control
        self._server = server
        self._clock = clock
        self._until = clock() + server.total_timeout_s
        self._buffer = bytearray()
        self.referred = 0
        scheme, host, port = _parts(server.url)
        self._where = f"{host}:{port}"
        self._connection = self._connect(scheme, host, port)

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(self._fault, OSError):
            self._connection.unbind()

    def root(self) -> dict[str, list[str]]:
        """Return what the server says of itself, by names in small letters."""
        found: dict[str, list[str]] = {name.lower(): [] for name in _ROOT}
        for answer in self.search("", "(objectClass=*)", _ROOT, scope="BASE"):
            if isinstance(answer, wire.Found):
                for name, values in answer.values:
                    found[name.lower()] = [value.decode("utf-8", "replace") for value in values]
        return found

    def pages(self, base: str, filter_: str, attributes: Sequence[str]) -> Iterator[wire.Found]:
        """Yield the entries that match, asking for one page after the other. Raises: DirectoryError."""
        cookie = b""
        while True:
            request = self._page(False, self._server.page_size, cookie)
            done: wire.Done | None = None
            held = []
            for answer in self.search(base, filter_, attributes, (request,)):
                if isinstance(answer, wire.Found) and any(_RANGED.fullmatch(name) for name, _ in answer.values):
                    held.append(answer)  # the rest is asked for when the answers to this search are all there
                elif isinstance(answer, wire.Found):
                    yield answer
                elif isinstance(answer, wire.Done):
                    done = answer
            if done is None:
                raise DirectoryError(f"{self._where} ended the search without saying so")
            self.check(done)
            for found in held:
                yield self._whole(found)
            try:
                cookie = wire.paged_cookie(done)
            except wire.WireError as e:
                raise DirectoryError(f"{self._where} does not speak LDAP: {e}") from None
            if not cookie:
                return

    def _whole(self, found: wire.Found) -> wire.Found:
        """Return an entry with the rest of those values that the server gives in ranges."""
        whole = []
        for name, values in found.values:
            ranged = _RANGED.fullmatch(name)
            if ranged is None:
                whole.append((name, values))
                continue
            gathered = list(values)
            for _ in range(_MAX_RANGES):
                if ranged is None or ranged[3] == "*":
                    break
                wanted = f"{ranged[1]};range={int(ranged[3]) + 1}-*"
                ranged = None
                for answer in self.search(found.dn, "(objectClass=*)", (wanted,), scope="BASE"):
                    for more_name, more in answer.values if isinstance(answer, wire.Found) else ():
                        ranged = _RANGED.fullmatch(more_name)
                        gathered += more
            whole.append((name.partition(";")[0], gathered))
        return wire.Found(found.dn, whole, found.controls)

    def search(
        self,
        base: str,
        filter_: str,
        attributes: Sequence[str],
        controls: Sequence[Any] = (),
        *,
        scope: str = "SUBTREE",
    ) -> Iterator[wire.Answer]:
        """Yield the answers to one search; the last one is Done. Raises: DirectoryError."""
        ldap3 = self._ldap3
        try:
            request = self._request(
                base, filter_, getattr(ldap3, scope), ldap3.DEREF_NEVER, list(attributes), 0, 0, False, False, False
            )
        except self._fault as e:
            raise DirectoryError(f"the filter {filter_!r} or the base {base!r} cannot be sent: {e}") from None
        try:
            number = self._connection.send("searchRequest", request, list(controls) or None)
            self._connection.strategy._outstanding.pop(number, None)  # the answers are read here
        except (self._fault, OSError) as e:
            raise DirectoryError(f"{self._where} does not take a search: {e}") from None
        try:
            while True:
                to, answer = wire.read(self._message())
                if isinstance(answer, wire.Other):
                    raise DirectoryError(f"{self._where} ends the session: {answer.text or 'it does not say why'}")
                if to != number:
                    raise DirectoryError(f"{self._where} answers what was not asked")
                if isinstance(answer, wire.Referred):
                    self.referred += 1
                    continue
                yield answer
                if isinstance(answer, wire.Done):
                    return
        except wire.WireError as e:
            raise DirectoryError(f"{self._where} does not speak LDAP: {e}") from None

    def check(self, done: wire.Done) -> None:
        """Raises: DirectoryError where a search did not give all."""
        if done.code == 0:
            return
        why = {
            3: "it took longer than the server allows",
            4: "the server gives no more entries to this user; raise its limit for the user, or narrow the filter",
            11: "the server gives no more entries to this user; raise its limit for the user, or narrow the filter",
            32: f"there is no entry {self._server.base!r}; correct the base",
            34: f"{self._server.base!r} is no name of an entry; correct the base",
            50: "this user may not read it",
        }.get(done.code, f"the server says {done.code}")
        raise DirectoryError(f"the search at {self._where} failed: {why}{f' ({done.text})' if done.text else ''}")

    def _message(self) -> bytes:
        """Return the next whole message. Raises: DirectoryError, WireError."""
        while True:
            size = wire.size_of(self._buffer)
            if size is not None:
                if size > _MAX_MESSAGE:
                    raise DirectoryError(
                        f"{self._where} sends a message of {size} octets, at most {_MAX_MESSAGE} are read"
                    )
                if len(self._buffer) >= size:
                    octets = bytes(self._buffer[:size])
                    del self._buffer[:size]
                    return octets
            left = self._until - self._clock()
            if left <= 0:
                raise DirectoryError(f"{self._where} took more than {self._server.total_timeout_s:g} s in all")
            socket = self._connection.socket
            try:
                socket.settimeout(min(left, self._server.answer_timeout_s))
                piece = socket.recv(_CHUNK)
            except TimeoutError:
                raise DirectoryError(
                    f"{self._where} did not answer within {min(left, self._server.answer_timeout_s):g} s"
                ) from None
            except OSError as e:
                raise DirectoryError(f"the connection to {self._where} broke: {e}") from None
            if not piece:
                raise DirectoryError(f"{self._where} closed the connection")
            self._buffer += piece

    def _connect(self, scheme: str, host: str, port: int) -> Any:
        ldap3, server = self._ldap3, self._server
        tls = _tls(ldap3, host, server.ca_file)
        asked = ldap3.Server(
            host,
            port,
            use_ssl=scheme == "ldaps",
            tls=tls,
            get_info=ldap3.NONE,
            connect_timeout=server.connect_timeout_s,
        )
        connection = ldap3.Connection(
            asked,
            user=server.user or None,
            password=server.password or None,
            authentication=ldap3.SIMPLE if server.user else ldap3.ANONYMOUS,
            receive_timeout=max(1, round(server.answer_timeout_s)),
            auto_referrals=False,
            check_names=False,
            raise_exceptions=False,
            read_only=True,
        )
        try:
            connection.open(read_server_info=False)
            if server.start_tls and scheme == "ldap":
                connection.start_tls(read_server_info=False)
            is_bound = connection.bind(read_server_info=False)
        except (self._fault, OSError) as e:
            connection.strategy.close()
            raise DirectoryError(f"no connection to {self._where}: {e}") from None
        if not is_bound:
            said = connection.result or {}
            connection.strategy.close()
            why = said.get("message") or said.get("description") or "no reason given"
            raise DirectoryError(f"{self._where} does not take the user {server.user!r} and the password: {why}")
        return connection


def _tls(ldap3: Any, host: str, ca_file: str | None) -> Any:
    """Return a Tls that lets the standard library verify certificate and name, which also sends the name (SNI).

    Raises: DirectoryError.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as e:
        raise DirectoryError(f"the certificates in {ca_file} cannot be read: {e}") from None

    class Tls(ldap3.Tls):  # type: ignore[misc]
        def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
            connection.socket = context.wrap_socket(connection.socket, server_hostname=host)

    return Tls(validate=ssl.CERT_REQUIRED)
