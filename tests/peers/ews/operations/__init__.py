"""What the peer can do: an operation's name and the function that answers it."""

from __future__ import annotations

from collections.abc import Callable

from tests.peers.ews.call import Call
from tests.peers.ews.operations import attachments, convert, folders, items, names, notify, sync, transfer
from tests.peers.ews.soap import Element

HANDLERS: dict[str, Callable[[Call], Element]] = {
    name: function
    for module in (attachments, convert, folders, items, names, notify, sync, transfer)
    for name, function in module.HANDLERS.items()
}
