"""Network: what the gateway knows of one network's addresses; and the registry of those that are installed.

Promises: a network's `parse` raises AddressError or returns an Address that its `format` prints and `parse` reads
back; whatever else a plugin's parser raises leaves here as AddressError with its cause; an address of a network
that is not installed is kept as an opaque value and prints back as it was; two distributions that claim one name
stop the start, both named. A network is pure: no I/O, no clock, safe to use from many threads.

This is all of `mappings` that a plugin imports.
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint
from threading import RLock
from typing import Final, Literal

from mappings.address import Address, AddressError
from mappings.contract_version import deprecation, misfit
from mappings.installed import installed

GROUP: Final = "gatepost.networks"
"""The group of entry points under which networks are found."""
MAX_OCTETS: Final = 1024
"""The longest address of any network, in UTF-8."""

Style = Literal["canonical", "ascii", "display"]
"""`canonical` is what `parse` reads back; `ascii` is for peers that take no UTF-8; `display` is for people."""

_NAME: Final = re.compile(r"[a-z][a-z0-9]{0,31}")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # Unicode's Cc, Zl and Zp
_PREFIX: Final = re.compile(r"[ \t]*([A-Za-z][A-Za-z0-9]{0,31}):")


class NetworkError(Exception):
    """The set of installed networks is not usable; the text names the distributions and the mend."""


class Network(ABC):
    """One network's addresses: how they are read, compared, written and carried in others' forms."""

    name: str
    imcea_type: str
    """The type in an encapsulated address (`IMCEA<type>-…`), letters and digits, upper case."""
    aliases: tuple[str, ...] = ()
    """Further prefixes accepted on input, lower case."""
    contract_version: int = 1
    """The version of the connector contract that the network was written for; 1 where it states none."""

    @abstractmethod
    def parse(self, text: str) -> Address:
        """Read an address without its network's prefix, and normalise it.

        Promises: `parse(format(a)) == a`. Raises: AddressError alone.
        """

    def format(self, address: Address, style: Style = "canonical") -> str:
        """Return the text of an address without its network's prefix.

        Raises: AddressError where the style cannot write it.
        """
        if style == "ascii" and not address.value.isascii():
            raise AddressError(f"{self.name}.not-ascii", address.value, 0, "this address cannot be written in ASCII")
        return address.value

    def lookup_keys(self, address: Address) -> Iterator[str]:
        """Yield the keys under which an address may be known: its own first, then fall-backs (without a tag)."""
        yield address.key

    def carry(self, target: Address, asked: Address) -> Address:
        """Return `target` with what `asked` adds to the address it was found by, such as a `+tag`."""
        return target

    def from_addr_spec(self, local: str, domain: str) -> Address | None:
        """Return the address of this network that an RFC 5322 addr-spec stands for, None where it is none.

        `local` is as written, a quoted-string with its quotes.
        """
        return None

    def to_addr_spec(self, address: Address) -> str | None:
        """Return the addr-spec form for RFC 5322 headers inside this network, None where it has none."""
        return None

    def at_gateway(self, address: Address, domain: str) -> str | None:
        """Return the smtp addr-spec by which people of this network know `address` behind a gateway's `domain`.

        None where there is no such custom; then only the encapsulated form is written. It carries no signature.
        """
        return None

    def from_gateway(self, local: str, below: str) -> Address | None:
        """Return what an addr-spec at a gateway's domain names by custom: the inverse of `at_gateway`.

        `local` is as written, a quoted-string with its quotes; `below` are the labels in front of the gateway's
        domain, "" where there are none. None where it is no such form.
        """
        return None

    def through(self, gate: Address, inner: Address) -> Address | None:
        """Return the address by which this network reaches `inner` behind the gateway known here as `gate`."""
        return None

    def behind(self, gate: Address, address: Address) -> Address | None:
        """Return what `address` names behind `gate`: the inverse of `through`; None where it is no such address."""
        return None

    def numbered(self, gate: Address, number: int) -> Address | None:
        """Return the address by which this network reaches what the gateway known as `gate` keeps under a number.

        For networks whose addresses have no room for another address: `number` has at most eight decimal digits. None
        where the network has no such form.
        """
        return None

    def number_of(self, gate: Address, address: Address) -> int | None:
        """Return the number that `numbered` wrote; None where the address is no such one."""
        return None

    def warnings(self, address: Address) -> tuple[str, ...]:
        """Return what an operator should know of a well-formed address: limits that some peers enforce."""
        return ()


class Opaque(Network):
    """Stands for a network that is not installed: its addresses compare and print octet for octet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.imcea_type = name.upper()

    def parse(self, text: str) -> Address:
        clean(text)
        return Address(self.name, text, text)


def clean(text: str) -> str:
    """Apply the rules for the addresses of all networks: no outer blanks, no controls, NFC, bounded.

    Raises: AddressError (`addr.empty`, `addr.control`, `addr.not-unicode`, `addr.too-long`).
    """
    value = text.strip(" \t")
    if not value:
        raise AddressError("addr.empty", text, 0, "the address is empty")
    if len(value) > MAX_OCTETS:
        raise _too_long(text)
    if value.isascii():
        if not value.isprintable():
            raise _control(text)
        return value
    if _CONTROL.search(value):
        raise _control(text)
    value = unicodedata.normalize("NFC", value)
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        at = next(i for i, c in enumerate(text) if "\ud800" <= c <= "\udfff")
        raise AddressError("addr.not-unicode", text, at, "the address holds octets that are not UTF-8") from None
    if size > MAX_OCTETS:
        raise _too_long(text)
    return value


def _too_long(text: str) -> AddressError:
    return AddressError("addr.too-long", text[:80] + "…", MAX_OCTETS, f"an address has at most {MAX_OCTETS} octets")


def _control(text: str) -> AddressError:
    lead = len(text) - len(text.lstrip(" \t"))
    found = _CONTROL.search(text, lead)
    at = 0 if found is None else found.start()
    return AddressError("addr.control", text, at, "an address holds no control characters; remove it")


class Registry:
    """The installed networks. Classes are imported when they are first asked for.

    Raises: NetworkError where two distributions claim one name.
    """

    def __init__(self, found: Iterable[EntryPoint]) -> None:
        self._entries: dict[str, EntryPoint] = {}
        self._loaded: dict[str, Network] = {}
        self._aliases: dict[str, str] | None = None
        self._types: dict[str, str] = {}
        self.deprecations: dict[str, str] = {}
        """What to tell an operator of networks, by name, that are loaded and made for the contract's version before."""
        self._lock = RLock()
        for entry in found:
            other = self._entries.setdefault(entry.name, entry)
            if other is not entry and (_distribution(other), other.value) != (_distribution(entry), entry.value):
                raise _clash(entry.name, other, entry)

    @property
    def names(self) -> tuple[str, ...]:
        """The installed networks' names, sorted."""
        return tuple(sorted(self._entries))

    def is_installed(self, name: str) -> bool:
        """Tell whether there is a network of this name or alias."""
        return self.canonical_name(name) in self._entries

    def canonical_name(self, name: str) -> str:
        """Return the network's own name for a name or alias in any case; an unknown one in lower case."""
        lower = name.lower()
        return lower if lower in self._entries else self._all_aliases().get(lower, lower)

    def get(self, name: str) -> Network:
        """Return a network by name or alias; an Opaque one where it is not installed.

        Raises: NetworkError where its plugin cannot be imported; ValueError where `name` cannot be a network's.
        """
        loaded = self._loaded.get(name)
        if loaded is not None:
            return loaded
        own = self.canonical_name(name)
        if own in self._entries:
            return self._load(own)
        if not _NAME.fullmatch(own):
            raise ValueError(f"{name!r} is not a network's name: letters and digits, such as smtp")
        return Opaque(own)

    def by_type(self, imcea_type: str) -> Network | None:
        """Return the installed network of an encapsulation type (any case)."""
        self._all_aliases()
        name = self._types.get(imcea_type.upper())
        return None if name is None else self._load(name)

    def parse(self, text: str) -> Address:
        """Read `network:value`.

        Raises: AddressError, and nothing else whatever a plugin's parser does.
        """
        prefix = _PREFIX.match(text)
        if prefix is None:
            raise AddressError(
                "addr.no-network", text[:MAX_OCTETS], 0, "write the network in front, as in smtp:ann@acme.example"
            )
        return self.parse_in(prefix[1], text[prefix.end() :])

    def parse_in(self, name: str, text: str) -> Address:
        """Read an address of the named network, without prefix. Raises: AddressError alone."""
        network = self.get(name)
        try:
            return network.parse(text)
        except AddressError:
            raise
        except Exception as e:  # a plugin's bug on foreign bytes must not take a connector down
            shown = text[:MAX_OCTETS]
            raise AddressError(f"{network.name}.fault", shown, 0, f"the network's parser failed: {e!r}") from e

    def _load(self, name: str) -> Network:
        with self._lock:
            if name in self._loaded:
                return self._loaded[name]
            entry = self._entries[name]
            try:
                made = entry.load()()
            except Exception as e:
                raise NetworkError(
                    f"network {name!r} of {_distribution(entry)} cannot be loaded: {e!r}; "
                    "install what it needs or remove the distribution"
                ) from e
            if not isinstance(made, Network) or made.name != name:
                raise NetworkError(f"{entry.value} of {_distribution(entry)} is not a Network named {name!r}")
            what = f"network {name!r} of {_distribution(entry)}"
            wrong = misfit(what, made.contract_version)
            if wrong is not None:
                raise NetworkError(wrong)
            old = deprecation(what, made.contract_version)
            if old is not None:
                self.deprecations[name] = old
            self._loaded[name] = made
            return made

    def _all_aliases(self) -> dict[str, str]:
        if self._aliases is not None:
            return self._aliases
        with self._lock:
            owners: dict[str, EntryPoint] = dict(self._entries)
            types: dict[str, EntryPoint] = {}
            aliases: dict[str, str] = {}
            for name, entry in self._entries.items():
                network = self._load(name)
                for alias in network.aliases:
                    if owners.setdefault(alias, entry) is not entry:
                        raise _clash(alias, owners[alias], entry)
                    aliases[alias] = name
                kind = network.imcea_type.upper()
                if types.setdefault(kind, entry) is not entry:
                    raise _clash(f"IMCEA{kind}", types[kind], entry)
                self._types[kind] = name
            self._aliases = aliases
            return aliases


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value


def _clash(name: str, one: EntryPoint, other: EntryPoint) -> NetworkError:
    return NetworkError(
        f"network {name!r} is claimed by both {_distribution(one)} ({one.value}) and "
        f"{_distribution(other)} ({other.value}); uninstall one of them"
    )


@cache
def registry() -> Registry:
    """Return the registry of the installed networks. Raises: NetworkError."""
    return Registry(installed(GROUP))


def network(name: str) -> Network:
    """Return a network by name or alias; an Opaque one where it is not installed. Raises: NetworkError, ValueError."""
    return registry().get(name)


def parse(text: str) -> Address:
    """Read `network:value`. Raises: AddressError."""
    return registry().parse(text)


__all__ = [
    "GROUP",
    "MAX_OCTETS",
    "Address",
    "AddressError",
    "Network",
    "NetworkError",
    "Opaque",
    "Registry",
    "Style",
    "clean",
    "network",
    "parse",
    "registry",
]
