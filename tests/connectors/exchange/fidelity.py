"""How a mail fares through Exchange: adapted, put into a mailbox or sent by one, read again, compared value by value.

What is compared, and what a note of its loss reads like, is what the formats of the file drop are compared by. The way
is the connector's own, through the test peers, which make MIME anew as Exchange does.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from connectors.exchange.common_config import Watched
from connectors.exchange.connector import Exchange
from connectors.exchange.envelope import of_item
from connectors.exchange.ews import Ews
from connectors.exchange.ews.config import EwsConfig
from connectors.exchange.graph import Graph
from connectors.exchange.graph.config import GraphConfig
from connectors.exchange.lookup import key
from gateway.adapt import Adapter
from gateway.contract import Address, Content, Context, Delivered, Fate, Item, Note, Notify, Parcel
from gateway.testing.peers import KitLog, ListBatch
from mappings.network import network
from tests.connectors.filedrop.fidelity import ARRIVED, HOSTNAME, TABLE, Cell, Feature, Letter, Seen
from tests.connectors.filedrop.fidelity_features import FEATURES
from tests.peers.ews import process as ews
from tests.peers.graph import process as graph
from tests.peers.organisation import Stored

ALL: Final = tuple(feature for features in FEATURES.values() for feature in features)
PEOPLE: Final = ("ann", "carl", "dora", "zoe", "suzie")
DOMAIN: Final = "far.example"
SENDER: Final = "gateway"


@dataclass(frozen=True, eq=False)
class Way:
    """A way through Exchange: by which protocol, and whether mail is put into mailboxes or sent."""

    title: str
    protocol: str
    mode: str = "deliver"


WAYS: Final = (
    Way("EWS, into a mailbox", "ews"),
    Way("EWS, sent", "ews", "send"),
    Way("Graph, into a mailbox", "graph"),
    Way("Graph, sent", "graph", "send"),
)
Carried = tuple[Seen, tuple[Note, ...]]


@cache
def carried(way: Way) -> Mapping[Feature, Carried]:
    """Return what came back of the mail of each feature, and every note on the way."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_carried(way, Path(folder)))


async def _carried(way: Way, folder: Path) -> dict[Feature, Carried]:
    peer = ews.shared() if way.protocol == "ews" else graph.shared()
    domain = f"sender{len(way.title)}.example" if way.mode == "send" else f"{way.protocol}.{DOMAIN}"
    company: Any = peer.organisation(*PEOPLE, SENDER, domain=domain)
    options: dict[str, Any] = {}
    if way.mode == "send":
        company.grant(SENDER, "*")
        options = {"mode": "send", "send_as": company.address(SENDER)}
    context = Context(HOSTNAME, folder, folder, KitLog(), time.time)
    made: Exchange
    if way.protocol == "ews":
        made = Ews("office", EwsConfig.model_validate(company.access(**options)), context)
    else:
        made = Graph("office", GraphConfig.model_validate(company.access(**options)), context)
    await made.start()
    try:
        found: dict[Feature, Carried] = {}
        for number, feature in enumerate(ALL, 1):
            parcel, notes = _parcel(feature.letter, number, made, company, way)
            seen_before = len(company.outside()) if way.mode == "send" else 0
            batch = ListBatch([parcel], made.next_hop(parcel.items[0].address))
            await made.deliver(batch)
            for outcome in batch.outcomes.values():
                assert isinstance(outcome, Delivered), (feature.name, outcome)
                notes += outcome.notes
            items = company.outside()[seen_before:] if way.mode == "send" else _delivered(company, parcel)
            found[feature] = _seen(items, company, way), tuple(dict.fromkeys(notes))
        return found
    finally:
        await made.stop()


def _parcel(letter: Letter, number: int, made: Exchange, company: Any, way: Way) -> tuple[Parcel, tuple[Note, ...]]:
    stored = replace(letter.stored("smtp"), id=number)
    fitted = Adapter({"in": ("smtp",)}, hostname=HOSTNAME).adapt(stored, stored.deliveries, made.capabilities, TABLE)
    assert not fitted.refused, fitted.refused
    items = []
    for n, d in enumerate(stored.deliveries):
        address = fitted.addresses.get(d.id, d.address)
        if way.mode == "deliver":
            address = network("smtp").parse(company.address(address.value.partition("@")[0]))
        items.append(Item((number, n), address, d.original, d.notify, d.orcpt, fresh=True))
    return Parcel(number, fitted.envelope, fitted.content, tuple(items), ARRIVED), fitted.fidelity.notes


def _delivered(company: Any, parcel: Parcel) -> list[Stored]:
    keys = {key(item.id): item.address.value.partition("@")[0] for item in parcel.items}
    return [
        stored
        for each, name in keys.items()
        for stored in company.items(name)
        if each in (value if isinstance(value, str) else str(value) for value in stored.properties.values())
    ]


def _seen(items: Sequence[Stored], company: Any, way: Way) -> Seen:
    assert items
    recipients: dict[Address, tuple[Notify, str | None]] = {}
    path = None
    for stored in items:
        content = Content(stored.shown)
        mailbox = str(stored.properties.get("to", stored.mailbox))
        recovered = of_item(content, stored.item_class, Watched.model_validate({"mailbox": mailbox}))
        path = recovered.reverse_path
        for each in recovered.recipients:
            local = each.address.value.partition("@")[0]
            domain = "shopping.example.net" if local == "suzie" else DOMAIN
            recipients[network("smtp").parse(f"{local}@{domain}")] = each.notify, each.orcpt
    return Seen(path, recipients, Content(items[0].shown), True)


def cell(way: Way, feature: Feature) -> Cell:
    """Return what becomes of a feature."""
    before = feature.see(feature.letter.seen(mime=True))
    seen, all_notes = carried(way)[feature]
    after = feature.see(seen)
    if after == before:
        return Cell(Fate.KEPT, (), before, after)
    pattern = re.compile(feature.told, re.IGNORECASE)
    notes = tuple(note for note in all_notes if pattern.search(f"{note.what}: {note.why}"))
    fate = Fate.MAPPED if feature.form(before, after) else Fate.DROPPED
    return Cell(fate, notes, before, after)
