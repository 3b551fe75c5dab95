"""The MIME that a client gets: as Exchange makes it anew from what it keeps, or, in faithful mode, as it came in."""

from __future__ import annotations

from tests.peers.ews.store import Item, Store


def shown(store: Store, item: Item) -> bytes:
    """Return an item's octets as a client gets them."""
    return store.mime(item.id)
