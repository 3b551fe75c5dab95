"""People for the tests of formats: a registry of the networks that they name, and identities of every shape."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Final

from hypothesis import strategies as st

from mappings.address import Address
from mappings.formats import Written
from mappings.identity import Held, Identity, Kind, Role, Stage
from mappings.network import GROUP, Registry
from tests.mappings.strategies import mhs, smtp

NETWORKS: Final = Registry(
    [
        EntryPoint("smtp", "mappings.networks.smtp:Smtp", GROUP),
        EntryPoint("mhs", "mappings.networks.mhs:Mhs", GROUP),
        EntryPoint("tel", "mappings.networks.phone:Tel", GROUP),
        EntryPoint("fax", "mappings.networks.phone:Fax", GROUP),
    ]
)
"""Not all that there are: what follows is about addresses of networks that are not installed, too."""


def parse(text: str) -> Address:
    return NETWORKS.parse(text)


text = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cn", "Cf", "Co", "Zs"]), min_size=1, max_size=10
)
"""What people, connectors and facts are called."""

numbers = st.integers(1_000_000, 10**12).map(lambda n: f"+{n}")
phones = st.builds(lambda network, number: parse(f"{network}:{number}"), st.sampled_from(["tel", "fax"]), numbers)
opaque = st.builds(
    lambda network, value: parse(f"{network}:{value}"),
    st.sampled_from(["x500", "x400", "notes"]),
    st.text("abcXYZ019/=;.@- ()\\é", min_size=1, max_size=20).map(str.strip).filter(bool),
)
address: st.SearchStrategy[Address] = st.one_of(smtp, mhs, phones, opaque)

_times = st.one_of(
    st.none(),
    st.sampled_from([0.0, 1_767_225_600.0, 1_767_225_661.5]),
    st.floats(-1e17, 1e17, allow_nan=False),
)


@st.composite
def held(draw: st.DrawFn, *, timed: bool = True, former: bool = True) -> tuple[Held, ...]:
    """Addresses of one identity: a primary on each network that it has current ones on."""
    found = draw(st.lists(address, min_size=1, max_size=5, unique=True))
    made: list[Held] = []
    started: set[str] = set()
    for place, one in enumerate(found):
        role = Role.FORMER if place and former and draw(st.booleans()) else Role.ALIAS
        if role is not Role.FORMER and one.network not in started:
            role = Role.PRIMARY
            started.add(one.network)
        since, until = draw(st.tuples(_times, _times)) if timed else (None, None)
        made.append(Held(one, role, since, until))
    return tuple(made)


@st.composite
def identities(draw: st.DrawFn) -> Identity:
    """Identities that have everything that one can have."""
    kind = draw(st.sampled_from(Kind))
    is_group = kind is Kind.GROUP
    optional = st.one_of(st.none(), text)
    return Identity(
        draw(text),
        draw(held()),
        kind,
        draw(optional),
        draw(st.one_of(st.none(), st.sampled_from(Stage))),
        draw(optional),
        tuple(sorted(draw(st.sets(st.tuples(text, st.text("aé;=\\ ,\n\"'", max_size=8)), max_size=3)))),
        tuple(draw(st.lists(address, max_size=3, unique=True))) if is_group else (),
        draw(st.one_of(st.none(), address)) if is_group else None,
        draw(st.booleans()) if is_group else True,
    )


def same(one: Identity, other: Identity) -> bool:
    """Tell whether two identities are equal but for the order of their addresses."""
    return _plain(one) == _plain(other)


def _plain(who: Identity) -> tuple[object, ...]:
    return (
        who.name,
        {(h.address, h.address.value, h.role, h.since, h.until) for h in who.addresses},
        who.kind,
        who.home,
        who.stage,
        who.copy_home,
        who.attributes,
        who.members,
        who.owner,
        who.expand,
    )


def shown(written: Written) -> list[str]:
    return [str(problem) for problem in written.problems]
