"""What a network of addresses promises: what it reads it prints, what it prints it reads, and nothing else is raised.

    class TestPigeonAddresses(NetworkSuite):
        network = "pigeon"
        addresses = ("ann@loft", "Ann.Lee@Loft-2")
        no_addresses = ("ann", "@loft")

needs no connector, no driver and no event loop.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any, ClassVar, Final, get_args

from gateway.testing.bench import promise
from gateway.testing.suites.connector import Suite
from mappings.contract_version import CONTRACT_VERSION
from mappings.encapsulation import named_unsigned, unsigned_spec
from mappings.installed import installed
from mappings.network import GROUP, MAX_OCTETS, Address, AddressError, Network, Opaque, Registry, Style, registry

ROUND_TRIP: Final = "parse(format(address)) is the address, with the same value"
PURE: Final = "a network is pure: the same text gives the same answer"
ADDRESS_ERROR: Final = "parse() returns an Address or raises AddressError, and nothing else, whatever the text"
INVERSE: Final = "what one direction writes, the other reads back as it was"
_NAME: Final = re.compile(r"[a-z][a-z0-9]{0,31}")
_TYPE: Final = re.compile(r"[A-Z][A-Z0-9]{0,31}")
_GATEWAY: Final = "gw.kit.example"
_INNER: Final = ("bob@b.example", "o'neil+tag@b.example", '"two words"@b.example', "a/b%c#d@b.example")
_NUMBERS: Final = (0, 1, 42, 99_999_999)
_HOSTILE: Final = (
    *("", " ", "\t", "\0", "a\0b", "\r\n", "a\r\nRCPT TO:<x@y>", "\x7f", "\u2028", "\u200b", "\ud800", "\ufeff"),
    *("@", "a@", "@a", "a@b@c", "'", '"', '"a', "\\", "(", "(a", "<", "<>", "[", "[1]", "%", "%00", "%zz", "&#0;"),
    *(":", "::", "/", "//", "../..", ";", ",", "*", "?", "#", "$", "~", "|", "`", "{", "{a", "=", "+", "-", "--"),
    *(".", "..", "=?x?=", "日本", "\ufb00", "İ", "ß", "a\u0308", "\u0301"),
    *("x" * MAX_OCTETS, "x" * (MAX_OCTETS + 1), "ü" * MAX_OCTETS, "a@" * 600, "[" * 900),
)
_SLOW_S: Final = 0.5


def _promise(held: bool, says: str, found: str) -> None:
    promise(held, says, found, who="the network")


class NetworkSuite(Suite):
    """Tests of `mappings.network.Network`."""

    network: ClassVar[str | type[Network]]
    """The network's name, as it is installed; or its class, which need not be."""
    addresses: ClassVar[tuple[str, ...]]
    """Texts, without prefix, that are addresses: some of each form that there is."""
    no_addresses: ClassVar[tuple[str, ...]] = ()
    """Texts that are none, and are refused with the mend."""
    gate: ClassVar[str | None] = None
    """An address by which this network may know a gateway; the first of `addresses` where it is None."""

    def test_the_network_is_installed(self) -> None:
        given = self.network
        name = given if isinstance(given, str) else given.name
        net = self._network()
        _promise(
            not isinstance(net, Opaque), "a network is found by an entry point of gatepost.networks", f"{name} is not"
        )
        _promise(
            bool(_NAME.fullmatch(net.name)), "a network's name is letters a-z and digits", f"is named {net.name!r}"
        )
        _promise(bool(_TYPE.fullmatch(net.imcea_type)), "imcea_type is A-Z and digits", f"says {net.imcea_type!r}")
        bad = [alias for alias in net.aliases if not _NAME.fullmatch(alias)]
        _promise(not bad, "an alias is letters a-z and digits, as a name is", f"has the aliases {bad}")
        _promise(
            net.contract_version == CONTRACT_VERSION,
            f"this gateway speaks version {CONTRACT_VERSION} of the contract",
            f"was made for {net.contract_version}",
        )

    def test_addresses_round_trip(self) -> None:
        net = self._network()
        for address in self._addresses(net):
            _promise(address.network == net.name, "an address is of its own network", f"made {address!r}")
            _promise(bool(address.key), "a key is what addresses are compared by, and not empty", f"made {address!r}")
            printed = net.format(address)
            again = self._parsed(net, printed, ROUND_TRIP)
            same = (again.value, again.key) == (address.value, address.key)
            _promise(
                same, ROUND_TRIP, f"prints {printed!r} for {address}, and reads {again} with the key {again.key!r}"
            )
            by_prefix = self._registry().parse(str(address))
            _promise(
                by_prefix == address, "str(address) is what the registry reads", f"reads {by_prefix} for {address}"
            )

    def test_the_same_text_is_the_same_address(self) -> None:
        net = self._network()
        for text in self.addresses:
            one, other = self._parsed(net, text, PURE), self._parsed(net, text, PURE)
            _promise((one.value, one.key) == (other.value, other.key), PURE, f"read {text!r} as {one} and as {other}")
            outer = self._parsed(net, f"  {text}\t", PURE)
            _promise(outer == one, "outer blanks are no part of an address", f"read {text!r} in blanks as {outer}")

    def test_a_key_is_an_addresses_own(self) -> None:
        """Equal keys are one person: two addresses that are told apart by people must not share one."""
        net = self._network()
        for address in self._addresses(net):
            first = next(iter(net.lookup_keys(address)), None)
            _promise(first == address.key, "lookup_keys() begins with the address's own key", f"begins with {first!r}")
            keys = list(net.lookup_keys(address))
            _promise(len(keys) <= 100 and all(keys), "lookup_keys() is a few keys, none empty", f"gives {keys[:5]}")

    def test_what_is_no_address_is_refused_with_the_mend(self) -> None:
        net = self._network()
        for text in self.no_addresses:
            try:
                made = net.parse(text)
            except AddressError as e:
                _promise(bool(e.message), "an AddressError says what is wrong and the mend", f"says nothing: {text!r}")
                rule = bool(re.fullmatch(r"[a-z0-9]+\.[a-z0-9.-]+", e.rule))
                _promise(rule, "an AddressError names its rule, such as pigeon.no-loft", f"names the rule {e.rule!r}")
            except Exception as e:  # noqa: BLE001 - whatever it is, it is what the contract forbids
                _promise(False, ADDRESS_ERROR, f"raised {e!r} for {text!r}")
            else:
                _promise(False, "what is no address is refused", f"read {text!r} as {made}")

    def test_any_text_is_an_address_or_an_error(self) -> None:
        net = self._network()
        for text in self._hostile():
            began = time.thread_time()
            try:
                made = net.parse(text)
            except AddressError:
                made = None
            except Exception as e:
                _promise(False, ADDRESS_ERROR, f"raised {e!r} for {text[:80]!r}")
                raise
            took = time.thread_time() - began
            _promise(
                took < _SLOW_S,
                "parse() takes no time to speak of, whatever the text",
                f"took {took:.1f} s: {text[:80]!r}",
            )
            if made is None:
                continue
            size = len(made.value.encode(errors="replace"))
            _promise(size <= MAX_OCTETS, f"an address has at most {MAX_OCTETS} octets", f"made one of {size}")
            controls = re.search("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", made.value)
            _promise(controls is None, "no control character is in an address", f"made {made.value[:80]!r}")
            again = self._parsed(net, net.format(made), ROUND_TRIP)
            same = (again.value, again.key) == (made.value, made.key)
            _promise(same, ROUND_TRIP, f"reads {text[:80]!r} as {made}, and that as {again}")

    def test_styles_print_or_refuse(self) -> None:
        net = self._network()
        for address in self._addresses(net):
            for style in get_args(Style):
                try:
                    printed = net.format(address, style)
                except AddressError:
                    _promise(
                        style != "canonical", "every address is printed in the canonical style", f"refuses {address}"
                    )
                    continue
                if style == "ascii":
                    _promise(printed.isascii(), "the style ascii prints ASCII, or refuses", f"prints {printed!r}")

    def test_headers_round_trip(self) -> None:
        """In an RFC 5322 header inside this network."""
        net = self._network()
        for address in self._addresses(net):
            spec = net.to_addr_spec(address)
            if spec is None:
                continue
            local, at, domain = spec.rpartition("@")
            if not at:
                _promise(False, "an addr-spec has a local part, an @ and a domain", f"writes {spec!r} for {address}")
            self._inverse("to_addr_spec", "from_addr_spec", address, net.from_addr_spec(local, domain), spec)

    def test_customs_at_a_gateway_round_trip(self) -> None:
        net = self._network()
        for address in self._addresses(net):
            spec = net.at_gateway(address, _GATEWAY)
            if spec is None:
                continue
            local, _, domain = spec.rpartition("@")
            below = domain.lower().removesuffix(_GATEWAY)
            _promise(
                below != domain.lower(), "at_gateway() writes an address at the gateway's domain", f"wrote {spec!r}"
            )
            self._inverse("at_gateway", "from_gateway", address, net.from_gateway(local, below.rstrip(".")), spec)

    def test_what_lies_behind_a_gateway_round_trips(self) -> None:
        net = self._network()
        gate = self._gate(net)
        for text in _INNER:
            inner = registry().parse(f"smtp:{text}")
            made = net.through(gate, inner)
            if made is None:
                continue
            self._inverse("through", "behind", inner, net.behind(gate, made), str(made))
            again = self._parsed(net, net.format(made), ROUND_TRIP)
            _promise(again == made, "through() makes an address that parse() reads", f"made {made}, read as {again}")
        _promise(net.behind(gate, gate) is None, "behind() of the gateway itself is None", f"{net.behind(gate, gate)}")

    def test_numbers_at_a_gateway_round_trip(self) -> None:
        net = self._network()
        gate = self._gate(net)
        for number in _NUMBERS:
            made = net.numbered(gate, number)
            if made is not None:
                self._inverse("numbered", "number_of", number, net.number_of(gate, made), str(made))

    def test_other_networks_can_answer(self) -> None:
        """In the form that the gateway writes for networks that cannot write this one's addresses."""
        net, known = self._network(), self._registry()
        for address in self._addresses(net):
            try:
                spec = unsigned_spec(address, _GATEWAY, known)
            except ValueError:  # too long for an internet address: the gateway gives those a number
                continue
            local = spec.rpartition("@")[0]
            self._inverse("the encapsulated form", "reading it", address, named_unsigned(local, known), spec)

    def test_warnings_are_words(self) -> None:
        net = self._network()
        for address in self._addresses(net):
            found = net.warnings(address)
            words = all(" " in each for each in found)
            _promise(words, "warnings() is sentences for an operator", f"gives {found!r} for {address}")

    def _registry(self) -> Registry:
        given = self.network
        if isinstance(given, str):
            return registry()
        point = EntryPoint(given.name, f"{given.__module__}:{given.__qualname__}", GROUP)
        return Registry([*(each for each in installed(GROUP) if each.name != given.name), point])

    def _network(self) -> Network:
        given = self.network
        return registry().get(given) if isinstance(given, str) else given()

    def _addresses(self, net: Network) -> Iterator[Address]:
        _promise(bool(self.addresses), "the suite is given addresses to try", "has none in `addresses`")
        for text in self.addresses:
            yield self._parsed(net, text, "each of the suite's `addresses` is one")

    def _gate(self, net: Network) -> Address:
        return self._parsed(net, self.gate or self.addresses[0], "the suite's `gate` is an address")

    def _parsed(self, net: Network, text: str, says: str) -> Address:
        try:
            return net.parse(text)
        except AddressError as e:
            _promise(False, says, f"refuses {text[:120]!r}: {e.message}")
            raise
        except Exception as e:
            _promise(False, ADDRESS_ERROR, f"raised {e!r} for {text[:120]!r}")
            raise

    def _hostile(self) -> Iterator[str]:
        yield from _HOSTILE
        for text in self.addresses[:6]:
            for at in range(len(text) + 1):
                yield text[:at]
                yield text[at:]
            for odd in ("\0", "\r\n", "\x85", "\ud800", "\u202e", "@", '"', " ", "%", "\\", "(", "/"):
                yield f"{text}{odd}"
                yield f"{odd}{text}"
                yield f"{text[: len(text) // 2]}{odd}{text[len(text) // 2 :]}"
            for each in sorted(set(text)):
                yield each * 900

    def _inverse(self, one: str, other: str, given: Any, back: Any, by: str) -> None:
        _promise(back == given, INVERSE, f"{one}: {given} is {by!r}; {other}: that is {back}")
