"""What the peer can do: an operation's name and the function that answers it."""

from __future__ import annotations

from collections.abc import Callable

from tests.peers.ews.call import Call
from tests.peers.ews.operations import folders, items, sync
from tests.peers.ews.soap import Element

HANDLERS: dict[str, Callable[[Call], Element]] = {**folders.HANDLERS, **items.HANDLERS, **sync.HANDLERS}
