"""Accounts: who there is, whether a password is theirs, and which addresses they may send as.

`PasswordFile` has a file of its own, `TableAccounts` asks the mapping; LDAP and Dovecot have modules of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from connectors.smtp.login.passwords import fault, is_right, scram_keys
from connectors.smtp.login.saslprep import saslprep
from connectors.smtp.login.scram import ITERATIONS, usual_form
from connectors.smtp.login.steps import ScramKeys
from gateway.contract import AddressError, Context, Person
from mappings.network import network

STORED_PASSWORD: Final = "login_password"
"""The identity's attribute that has what is stored of its password."""
MOST_OCTETS: Final = 256 * 1024 * 1024
HASHING_THREADS: Final = 2
HASHING_AT_ONCE: Final = 256


class Unready(Exception):
    """It can't be known now; the client is to try again. The text is for the log, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account: its name in its one form, and the patterns of addresses it may send as, beside that name itself:
    an address, `*@domain`, or `*`."""

    name: str
    addresses: tuple[str, ...] = ()


class Accounts(Protocol):
    """Where accounts are."""

    scram: bool
    """It can give the keys of SCRAM."""

    async def start(self) -> None:
        """Make ready. Raises: OSError or ValueError that names what is wrong."""
        ...

    async def stop(self) -> None: ...

    async def check(self, login: str, password: str) -> Account | None:
        """Return the account where this is its password. Raises: Unready."""
        ...

    async def keys(self, login: str) -> tuple[ScramKeys, Account] | None:
        """Return what is stored for SCRAM. Raises: Unready."""
        ...

    async def find(self, login: str) -> Account | None:
        """Return the account, its holder proven by other means. Raises: Unready."""
        ...

    def counted_as(self, login: str) -> str:
        """Return by what tries are counted: one text for all that an account can be written as."""
        ...

    def scram_form(self, number: int) -> tuple[int, int]:
        """Return iterations and octets of the salt that an account may have, which one is for `number` to say: who does
        not exist is asked in the same form."""
        ...


def folded(login: str) -> str:
    """Return the one form of a name: nobody has the same name in other capitals."""
    return login.casefold()


@dataclass(frozen=True, slots=True)
class _Entry:
    account: Account
    stored: str = field(repr=False)


_NOBODYS: Final = f"{{SCRAM-SHA-256}}{ITERATIONS},{'A' * 22}==,{'A' * 43}=,{'A' * 43}="
"""What a password is compared with where there is no such account, so that the time tells nothing."""


class Hashing:
    """Compares passwords in threads of its own, which have the processor but not the other threads' place.

    It takes a while on purpose, and who guesses must not slow what the rest of the gateway does in threads.
    """

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._under_way = 0

    async def is_right(self, stored: str | None, password: str, nobodys: str = _NOBODYS) -> bool:
        """Say whether a password is what was stored; for None it takes as long as for `nobodys`. Raises: Unready."""
        if self._under_way >= HASHING_AT_ONCE:
            raise Unready("too many passwords are being looked at")
        if self._threads is None:
            self._threads = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="password")
        self._under_way += 1
        try:
            work = self._threads.submit(is_right, nobodys if stored is None else stored, password)
            return await asyncio.wrap_future(work) and stored is not None
        finally:
            self._under_way -= 1

    def stop(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)


class PasswordFile:
    """Accounts of a file, read anew when it has changed. Lines beginning with # and empty ones are passed over."""

    scram = True

    def __init__(self, path: Path, log: Any) -> None:
        self._path = path
        self._log = log
        self._entries: Mapping[str, _Entry] = {}
        self._forms: Sequence[tuple[int, int]] = ()
        self._stamp: tuple[int, int, int] | None = None
        self._hashing = Hashing()

    async def start(self) -> None:
        """Read the file. Raises: OSError; ValueError that names each wrong line."""
        await self._take_up()

    async def _take_up(self) -> None:
        self._entries, self._stamp = await asyncio.to_thread(self._read)
        found = (scram_keys(entry.stored) for entry in self._entries.values())
        self._forms = [(keys.iterations, len(keys.salt)) for keys in found if keys is not None]

    async def stop(self) -> None:
        self._hashing.stop()

    async def check(self, login: str, password: str) -> Account | None:
        entry = await self._entry(login)
        # Nobody's is what the first has: files are of one form, mostly.
        first = next(iter(self._entries.values()), None)
        nobodys = _NOBODYS if first is None else first.stored
        right = await self._hashing.is_right(None if entry is None else entry.stored, password, nobodys)
        return entry.account if right and entry is not None else None

    async def keys(self, login: str) -> tuple[ScramKeys, Account] | None:
        entry = await self._entry(login)
        found = scram_keys(entry.stored) if entry is not None else None
        return (found, entry.account) if found is not None and entry is not None else None

    async def find(self, login: str) -> Account | None:
        entry = await self._entry(login)
        return entry.account if entry is not None else None

    def counted_as(self, login: str) -> str:
        return folded(login)

    def scram_form(self, number: int) -> tuple[int, int]:
        return self._forms[number % len(self._forms)] if self._forms else usual_form(number)

    async def _entry(self, login: str) -> _Entry | None:
        try:
            if await asyncio.to_thread(self._stamp_now) != self._stamp:
                await self._take_up()
        except (OSError, ValueError) as e:
            # What was read before is no worse than nobody being let in; who was taken out is let in until it is mended.
            self._log.error("accounts_unreadable", file=str(self._path), error=str(e))
            if not self._entries:
                raise Unready(str(e)) from None
        return self._entries.get(folded(login))

    def _stamp_now(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> tuple[Mapping[str, _Entry], tuple[int, int, int]]:
        stamp = self._stamp_now()
        if stamp[2] > MOST_OCTETS:
            raise ValueError(f"{self._path}: it is larger than {MOST_OCTETS} octets")
        return read_accounts(self._path), stamp


def read_accounts(path: Path) -> dict[str, _Entry]:
    """Return the accounts of a password file by the one form of their names.

    Raises: OSError; ValueError that names the file, each wrong line and its mend, and shows no password.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: it must be text in UTF-8") from None
    found: dict[str, _Entry] = {}
    wrong = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, stored, patterns, why = split_line(line)
        why = why or ("the name stands twice" if folded(name) in found else "")
        if why:
            wrong.append(f"line {number}: {why}")
        else:
            found[folded(name)] = _Entry(Account(name, patterns), stored)
    if wrong:
        more = f"; and {len(wrong) - 5} more lines" if len(wrong) > 5 else ""
        raise ValueError(f"{path}: {'; '.join(wrong[:5])}{more}")
    return found


def split_line(line: str) -> tuple[str, str, tuple[str, ...], str]:
    """Return name, stored password and addresses of a line, and what is wrong with it, empty where nothing is."""
    name, colon, rest = line.partition(":")
    name = name.strip()
    # SCRAM's keys as PostgreSQL writes them have colons of their own, two of them.
    fields = rest.split(":")
    cut = 3 if rest.startswith("SCRAM-SHA-256$") else 1
    stored, addresses = ":".join(fields[:cut]).strip(), ":".join(fields[cut:])
    patterns = tuple(word.strip() for word in addresses.split(",") if word.strip())
    if not colon or saslprep(name) != name:
        return name, "", (), "it is to be 'name:stored password', with ':address,address' behind it or not"
    why = fault(stored) or next((bad for word in patterns if (bad := pattern_fault(word))), "")
    return name, stored, patterns, why


def pattern_fault(pattern: str) -> str:
    """Return what is wrong with a pattern of addresses, empty where nothing is."""
    if pattern == "*":
        return ""
    try:
        network("smtp").parse("x" + pattern[1:] if pattern.startswith("*@") else pattern)
    except AddressError:
        return f"{pattern[:80]!r} is no address, nor '*@domain', nor '*'"
    return ""


class TableAccounts:
    """The mapping's identities as accounts: named by any present address, with what is stored of their password in an
    attribute."""

    scram = True

    def __init__(self, context: Context) -> None:
        self._person = context.person
        self._hashing = Hashing()

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        self._hashing.stop()

    async def check(self, login: str, password: str) -> Account | None:
        person = self._person_of(login)
        return _account(person, login) if await self._hashing.is_right(_stored(person), password) else None

    async def keys(self, login: str) -> tuple[ScramKeys, Account] | None:
        person = self._person_of(login)
        found = scram_keys(_stored(person) or "")
        return (found, _account(person, login)) if found is not None else None

    async def find(self, login: str) -> Account | None:
        person = self._person_of(login)
        return _account(person, login) if _stored(person) is not None else None

    def counted_as(self, login: str) -> str:
        return folded(_account(self._person_of(login), login).name)

    def scram_form(self, number: int) -> tuple[int, int]:
        return usual_form(number)

    def _person_of(self, login: str) -> Person | None:
        try:
            return self._person(network("smtp").parse(login))
        except AddressError:
            return None


def _stored(person: Person | None) -> str | None:
    return None if person is None else person.attributes.get(STORED_PASSWORD)


def _account(person: Person | None, login: str) -> Account:
    """Return the account of an identity: by its first address, however it was written and whichever it was, so that
    nobody has the limits of several."""
    own = next((each.value for each in person.addresses if each.network == "smtp"), login) if person else login
    return Account(own)
