"""A target for each network: whatever its parser makes of a text, and all that is promised of an address."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final
from zlib import crc32

from mappings.encapsulation import Encapsulation, EncapsulationError, Key, decode, encode
from mappings.network import Address, AddressError, Network, network, parse, registry
from mappings.networks.ccmail import Ccmail
from mappings.networks.decnet import Decnet
from mappings.networks.ftn import Ftn
from mappings.networks.gwise import Gwise
from mappings.networks.notes import Notes
from mappings.networks.phone import Fax, Sms, Tel
from mappings.networks.smtp import Smtp
from mappings.networks.uucp import Uucp
from tests.fuzz.mutate import Texts, examples_in
from tests.fuzz.target import REFUSED, Target, octets_of, text_of
from tests.mappings.matrix import GATES, STRANGERS

GATEWAY: Final = "gw.example"
ENCAPSULATION: Final = Encapsulation([GATEWAY, "gw.acme.example"], [Key("a", b"the key of these tests")])
CONFIGURED: Final[dict[str, tuple[Network, ...]]] = {
    "smtp": (Smtp(subaddress="-"), Smtp(subaddress="")),
    "ccmail": (Ccmail(default_post_office="HQ"),),
    "decnet": (Decnet(percent_pseudo=True),),
    "ftn": (Ftn(2, {9: "othernet", 2: "fidonet"}, sysop=True),),
    "gwise": (Gwise("FAR", "PO1"),),
    "notes": (Notes(two_letter_country=False, domino_style=True),),
    "tel": (Tel("358"),),
    "fax": (Fax("39", trunk=""),),
    "sms": (Sms("1", trunk="1"),),
    "uucp": (Uucp(bang_first=True),),
}
"""The same networks as an operator may configure them."""

CASELESS: Final = frozenset(
    (
        *("smtp", "x500", "x400", "ldap", "notes", "gwise", "mhs", "ccmail", "msmail"),
        *("profs", "snads", "bitnet", "decnet", "ftn", "xmpp"),
    )
)
"""Networks on which capitals make no other address, wherever they stand."""

_INNERS: Final = tuple(
    map(
        parse,
        (
            "smtp:bob@far.example",
            "smtp:Bob.Ray+x=y@[192.0.2.1]",
            'smtp:"b b\\"%!/"@far.example',
            "smtp:ünï@bücher.example",
            "smtp:postmaster",
            f"smtp:{'b' * 60}@{'far.' * 40}example",
        ),
    )
)
_TAGGED: Final = parse("smtp:carla+list@far.example")
_SHORT: Final = re.compile("[A-Za-z]+")
_SQUEEZED: Final = re.compile(r"[0-9]+|[^\x00-\x7f]+")
_MODULES: Final = {"tel": "phone", "fax": "phone", "sms": "phone"}


def check(networks: Sequence[Network], text: str) -> str:
    """Check a text with one network. Returns: what it made of it.

    Each text is parsed and its normal form read back; every fourth goes through all else that is promised of an
    address, in each configuration, which takes ten times as long.
    """
    chance = crc32(octets_of(text))
    if chance % 4 == 1:
        for each in networks[1:]:
            _check(each, text, chance)
    return _check(networks[0], text, chance)


def _check(net: Network, text: str, chance: int) -> str:
    whole = chance % 4 == 1
    if whole:
        mailbox, _, place = text.rpartition("@")
        _is_address(net, net.from_addr_spec(mailbox, place))
        _is_address(net, net.from_gateway(text, ""))
        _is_address(net, net.from_gateway(mailbox, place))
    if chance % 16 == 0:
        _decapsulated(net, text)
    try:
        address = net.parse(text)
    except AddressError as e:
        return refusal(e)
    _is_address(net, address)
    if whole:
        _is_shown(net, address)
        if net.name in CASELESS:
            _is_folded(net, address, (str.lower, str.upper, str.swapcase)[chance % 3])
        _is_carried(net, address, chance >> 2)
        _is_gate(net, address, chance >> 2)
    return _SQUEEZED.sub("9", _SHORT.sub("a", address.value))[:40]


def refusal(error: AddressError) -> str:
    """Check an error, and return it as an outcome."""
    assert error.rule, "an error names its rule"
    assert error.message, "an error names the mend"
    in_text = 0 <= error.position <= len(error.text) or error.rule == "addr.too-long"
    assert in_text, f"{error.position} is not in {error.text!r}"
    return REFUSED + error.rule


def _is_address(net: Network, address: Address | None) -> None:
    """Check that what a network made is what its own parser makes of it."""
    if address is None:
        return
    assert address.network == net.name
    again = net.parse(address.value)
    assert (again.value, again.key) == (address.value, address.key), f"{address} is read back as {again}"


def _is_shown(net: Network, address: Address) -> None:
    """Check the ways to write an address, each of which is read back."""
    assert net.format(address) == address.value
    net.format(address, "display")
    with suppress(AddressError):
        shown = net.format(address, "ascii")
        assert shown.isascii()
        assert net.parse(shown) == address
    for warning in net.warnings(address):
        assert warning
    keys = list(net.lookup_keys(address))
    assert keys[0] == address.key
    for key in keys[1:]:
        assert net.parse(key).key == key
    for one, other in ((address, _TAGGED), (_TAGGED, address)):
        _is_address(network(one.network), net.carry(one, other))
    spec = net.to_addr_spec(address)
    if spec is not None:
        local, _, domain = spec.rpartition("@")
        assert net.from_addr_spec(local, domain) == address
    custom = net.at_gateway(address, GATEWAY)
    if custom is not None:
        outside = parse(f"smtp:{custom}")
        local, _, domain = outside.value.rpartition("@")
        below = domain.removesuffix(GATEWAY)
        assert below != domain, f"{custom} is not at the gateway"
        assert net.from_gateway(local, below.rstrip(".")) == address


def _is_folded(net: Network, address: Address, fold: Callable[[str], str]) -> None:
    told = "".join(fold(c) if c.isascii() else c for c in address.value)
    assert net.parse(told) == address, f"{told} is another address than {address}"


def _is_carried(net: Network, address: Address, chance: int) -> None:
    """Check that an address comes back out of the smtp address that carries it."""
    assert decode(encode(address.value, keep_case=chance % 2 == 0)) == address.value
    if network(net.name) is not net:
        if type(net) is not Smtp:
            return
    elif parse(str(address)) != address:
        raise AssertionError(f"{address} is another with its network in front")
    try:
        shown = ENCAPSULATION.encapsulate(address)
    except AddressError as e:
        _is_too_long(e)
        return
    if address.network == "smtp":
        assert shown is address
        return
    for text in (shown.value, shown.value.lower() if chance % 2 else shown.value.upper()):
        outside = parse(f"smtp:{text}")
        assert outside == shown
        assert ENCAPSULATION.decapsulate(outside) == address


def _is_too_long(error: AddressError) -> None:
    assert error.rule == "encapsulation.too-long"


def _decapsulated(net: Network, text: str) -> None:
    """Check that what a stranger writes in the place of a carried address is read or refused."""
    for form in (f"IMCEA{net.imcea_type}-{text}@{GATEWAY}", f'"IMCEA{net.imcea_type}-{text}"@{GATEWAY}'):
        with suppress(AddressError, EncapsulationError):
            found = ENCAPSULATION.decapsulate(parse(f"smtp:{form}"), unsigned=lambda address: True)
            assert found is None or found.network not in ("smtp", "x500" if net.imcea_type != "EX" else "")
        with suppress(AddressError):
            ENCAPSULATION.by_custom(parse(f"smtp:{form}"))


def _is_gate(net: Network, address: Address, chance: int) -> None:
    """Check an address as a gate, as what lies behind one, and beside one."""
    known = GATES.get(net.name)
    if known is not None:
        gate = net.parse(known)
        inner = net.behind(gate, address)
        assert inner is None or inner.network == "smtp"
        number = net.number_of(gate, address)
        assert number is None or 0 <= number < 1 << 28
    if net.name == "smtp":
        names = [name for name in GATES if name != "smtp"]
        for place in (chance, chance >> 8):
            other = network(names[place % len(names)])
            _is_behind(other, other.parse(GATES[other.name]), address)
        return
    _is_behind(net, address, _INNERS[chance % len(_INNERS)])
    number = (chance * 7919) % 100_000_000
    made = net.numbered(address, number)
    if made is not None:
        _is_address(net, made)
        assert net.number_of(address, made) == number


def _is_behind(net: Network, gate: Address, inner: Address) -> None:
    made = net.through(gate, inner)
    if made is not None:
        _is_address(net, made)
        assert net.behind(gate, made) == inner, f"{made} is not {inner} behind {gate}"


def seeds(name: str) -> list[str]:
    """Return a network's own examples: those of its tests, and what stands for it elsewhere."""
    texts, _ = examples_in(Path(__file__).parents[1] / "mappings" / f"test_{_MODULES.get(name, name)}.py", 300)
    found = [STRANGERS[name], *([GATES[name]] if name in GATES else []), *texts]
    known = (name, *network(name).aliases)
    for text in texts:
        head, colon, rest = text.partition(":")
        if colon and head.lower() in known:
            found.append(rest)
    return found


def _targets() -> Iterator[Target[str]]:
    for name in registry().names:
        networks = (network(name), *CONFIGURED.get(name, ()))
        yield Target(
            name,
            partial(check, networks),
            partial(seeds, name),
            Texts(seeds(name)),
            text_of,
            octets_of,
        )


TARGETS: Final = tuple(_targets())
