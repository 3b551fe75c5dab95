"""The keys that mail is signed by: a folder with one below it for each domain, made and rotated by `gatepost dkim`.

`<folder>/<domain>/keys.json` lists the keys, `<selector>.pem` holds each, readable by its owner alone. A key is
published first, signs from a stated time on, gives way to the next one of its kind, and stays published until another
stated time, so that what it signed can still be verified.

Promises: of a change a reader sees all or nothing; a private key is never printed, and in no exception.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import gmtime, strftime
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from connectors.smtp import rsa_native
from connectors.smtp.authentication.keys import (
    KeyFault,
    PrivateKey,
    algorithm_of,
    load_private_key,
    public_record,
    sign_digest,
)

LIST: Final = "keys.json"
_SELECTOR: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DOMAIN: Final = re.compile(
    r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
)
_LOOK_S: Final = 15.0
"""How long a changed list of keys may go unseen."""
_MAX_DOMAINS: Final = 10_000

Kind = Literal["rsa", "ed25519"]
State = Literal["published", "signing", "kept", "over"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One key: `since` is when it begins to sign, `until` when its record may leave DNS; seconds since 1970."""

    selector: str
    kind: Kind
    made_at: float
    since: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key in use."""

    domain: str
    selector: str
    algorithm: str
    sign: Callable[[bytes], bytes] = field(repr=False)
    """Sign a SHA-256 digest; safe in any thread."""


class KeyStore:
    """The keys of one folder, on disk. Everything here blocks on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def domains(self) -> list[str]:
        """Return the domains that have keys."""
        return sorted(path.parent.name for path in self.folder.glob(f"*/{LIST}"))

    def entries(self, domain: str) -> list[Entry]:
        """Return the keys of a domain, oldest first. Raises: OSError; ValueError that names a list that is none."""
        path = self._path(domain) / LIST
        try:
            octets = path.read_bytes()
        except FileNotFoundError:
            return []
        try:
            return [Entry(**each) for each in json.loads(octets)]
        except (ValueError, TypeError) as fault:
            raise ValueError(f"{path} is no list of keys: {fault}; take it from a backup") from fault

    def key(self, domain: str, selector: str) -> PrivateKey:
        """Return a private key. Raises: OSError, KeyFault."""
        path = self._path(domain) / f"{selector}.pem"
        try:
            return load_private_key(path.read_bytes())
        except KeyFault as fault:
            raise KeyFault(f"{path}: {fault}") from None

    def make(self, domain: str, kind: Kind, now: float, since: float, *, selector: str = "", bits: int = 2048) -> Entry:
        """Make a key that signs from `since` on; the one that signs until then is not told of it.

        Raises: OSError; ValueError where the selector is taken or none.
        """
        folder = self._path(domain)
        known = self.entries(domain)
        taken = {each.selector for each in known}
        selector = selector or _free_selector(kind, now, taken)
        if selector in taken or not _SELECTOR.fullmatch(selector):
            raise ValueError(f"{selector!r} is taken, or no selector: letters, digits and hyphens")
        entry = Entry(selector, kind, now, since)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Ed25519PrivateKey.generate() if kind == "ed25519" else rsa.generate_private_key(65537, bits)
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(folder / f"{selector}.pem", pem, self._owner())
        self._list(domain, [*known, entry])
        return entry

    def rotate(self, domain: str, now: float, *, publish_s: float, keep_s: float, bits: int = 2048) -> list[Entry]:
        """Make the next key of each kind that signs now. Returns the new ones.

        It is to be published at once and signs after `publish_s`; the one before stays published for `keep_s` more.
        Raises: OSError; ValueError where nothing signs, or a rotation is under way.
        """
        known = self.entries(domain)
        ruling = [each for each in known if state(each, known, now) == "signing"]
        if not ruling:
            raise ValueError(f"{domain} has no key that signs: make one with `gatepost dkim new {domain}`")
        if any(state(each, known, now) == "published" for each in known):
            raise ValueError(f"the next key of {domain} is published and does not sign yet: wait until it does")
        made = [self.make(domain, each.kind, now, now + publish_s, bits=bits) for each in ruling]
        ends = {each.selector: now + publish_s + keep_s for each in ruling}
        self._list(
            domain,
            [replace(each, until=ends.get(each.selector, each.until)) for each in self.entries(domain)],
        )
        return made

    def remove(self, domain: str, selector: str, now: float) -> None:
        """Remove a key whose time is over. Raises: OSError; ValueError where it is not."""
        known = self.entries(domain)
        entry = next((each for each in known if each.selector == selector), None)
        if entry is None:
            raise ValueError(f"{domain} has no key {selector!r}")
        if state(entry, known, now) in ("signing", "kept"):
            raise ValueError(f"{selector}._domainkey.{domain} is in use or kept: rotate, and wait until it is over")
        self._list(domain, [each for each in known if each is not entry])
        (self._path(domain) / f"{selector}.pem").unlink(missing_ok=True)

    def record(self, domain: str, selector: str) -> str:
        """Return what is to stand in the TXT record of a key. Raises: OSError, KeyFault."""
        return public_record(self.key(domain, selector))

    def _path(self, domain: str) -> Path:
        if not _DOMAIN.fullmatch(domain):
            raise ValueError(f"{domain!r} is no domain in lower-case ASCII")
        return self.folder / domain

    def _owner(self) -> tuple[int, int] | None:
        """Return whose the folder is, where another than its owner writes: what root makes the gateway must read."""
        found = self.folder.stat()
        return None if found.st_uid == os.geteuid() else (found.st_uid, found.st_gid)

    def _list(self, domain: str, entries: Sequence[Entry]) -> None:
        folder = self._path(domain)
        owner = self._owner()
        if owner is not None:
            os.chown(folder, *owner)
        _write(folder / LIST, json.dumps([asdict(each) for each in entries], indent=1).encode() + b"\n", owner)


def state(entry: Entry, among: Sequence[Entry], now: float) -> State:
    """Say what a key is for now, among those of its domain."""
    if entry.until is not None and entry.until <= now:
        return "over"
    if entry.since > now:
        return "published"
    newest = max((e for e in among if e.kind == entry.kind and e.since <= now), key=lambda e: (e.since, e.made_at))
    return "signing" if newest is entry or newest == entry else "kept"


def zone_lines(domain: str, selector: str, record: str) -> str:
    """Return a key record as a zone file has it, its text in strings of at most 255 octets."""
    parts = [record[at : at + 250] for at in range(0, len(record), 250)]
    texts = "\n\t".join(f'"{part}"' for part in parts)
    return f"{selector}._domainkey.{domain}. 3600 IN TXT ( {texts} )"


class KeyRing:
    """The keys that sign now, by domain; follows the folder as it changes. One user thread."""

    def __init__(self, store: KeyStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._entries: dict[str, list[Entry]] = {}
        self._seen: dict[str, int] = {}
        """When each list was changed, in nanoseconds, as read."""
        self._loaded: dict[tuple[str, str], SigningKey] = {}
        self._for: dict[str, tuple[float, tuple[SigningKey, ...]]] = {}
        self._look_at = 0.0

    @property
    def folder(self) -> Path:
        return self._store.folder

    def load(self) -> None:
        """Read what has changed in the folder. Blocks, for private keys are checked as they are read.

        Raises: OSError, ValueError; what was read before stays in force then.
        """
        self._look_at = self._clock() + _LOOK_S
        entries: dict[str, list[Entry]] = {}
        seen: dict[str, int] = {}
        loaded: dict[tuple[str, str], SigningKey] = {}
        for domain in self._store.domains()[:_MAX_DOMAINS]:
            changed_at = (self._store.folder / domain / LIST).stat().st_mtime_ns
            entries[domain] = (
                self._entries[domain] if self._seen.get(domain) == changed_at else self._store.entries(domain)
            )
            seen[domain] = changed_at
            now = self._clock()
            for entry in entries[domain]:
                name = (domain, entry.selector)
                if entry.until is None or entry.until > now:
                    loaded[name] = self._loaded.get(name) or self._read(domain, entry.selector)
        self._entries, self._seen, self._loaded = entries, seen, loaded
        self._for.clear()

    def _read(self, domain: str, selector: str) -> SigningKey:
        key = self._store.key(domain, selector)
        native = rsa_native.load(key) if isinstance(key, rsa.RSAPrivateKey) else None
        sign = native.sign if native is not None else lambda digest: sign_digest(key, digest)
        return SigningKey(domain, selector, algorithm_of(key), sign)

    @property
    def is_empty(self) -> bool:
        return not self._entries

    def has(self, domain: str) -> bool:
        """Say whether a domain has keys of its own."""
        return domain in self._entries

    @property
    def is_due(self) -> bool:
        """Whether it is time for `load` again."""
        return self._clock() >= self._look_at

    def keys(self, domain: str) -> tuple[SigningKey, ...]:
        """Return the keys that sign for a domain now: its own, or those of the nearest domain above it."""
        now = self._clock()
        held = self._for.get(domain)
        if held is None or held[0] <= now:
            if len(self._for) >= _MAX_DOMAINS:
                self._for.clear()
            held = self._for[domain] = self._find(domain, now)
        return held[1]

    def _find(self, domain: str, now: float) -> tuple[float, tuple[SigningKey, ...]]:
        at = domain
        while "." in at:
            known = self._entries.get(at)
            if known:
                good = [entry for entry in known if state(entry, known, now) == "signing"]
                if good:
                    changes = [t for e in known for t in (e.since, e.until) if t is not None and t > now]
                    keys = tuple(self._loaded[at, e.selector] for e in good if (at, e.selector) in self._loaded)
                    return min(changes, default=now + 3600.0), keys
            at = at.partition(".")[2]
        return now + 3600.0, ()


def _free_selector(kind: Kind, now: float, taken: set[str]) -> str:
    first = f"gp{strftime('%Y%m%d', gmtime(now))}{kind[0]}"
    return next(name for name in (first, *(f"{first}{n}" for n in range(2, 1000))) if name not in taken)


def _write(path: Path, octets: bytes, owner: tuple[int, int] | None) -> None:
    """Put a file in place whole, readable by its owner alone."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # of mode 0600
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        if owner is not None:
            os.chown(name, *owner)
        Path(name).replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def plain(domain: str, entry: Entry, among: Sequence[Entry], now: float) -> dict[str, Any]:
    """Return a key as plain JSON values, without the key."""
    return {"domain": domain, **asdict(entry), "state": state(entry, among, now)}
