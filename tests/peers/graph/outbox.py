"""The way of what was sent from the outbox to Sent Items, where it is another item with another id."""

from __future__ import annotations

import time

from tests.peers.graph.store import Store


def settle(store: Store) -> None:
    """Put into Sent Items what has been in the outbox long enough."""
    for number, mailbox in store.all("select id, mailbox from item where due is not null and due <= ?", time.time()):
        with store.whole():
            item = store.item(mailbox, number)
            if item is None or item.due is None:
                continue
            sent = store.folder(mailbox, known="sentitems")
            assert sent is not None
            extended, attached = store.properties(item.id), store.attachments(item.id)
            store.remove(item)
            item.due, item.is_read = None, True
            store.add(sent, item, extended)
            for _, meta, content in attached:
                store.attach(item.id, meta, content)
