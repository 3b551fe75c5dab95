"""Postfix as a neighbour."""

from __future__ import annotations

from typing import Self

from tests.peers.neighbours.neighbour import Neighbour
from tests.peers.postfix import Postfix


class PostfixServer(Neighbour):
    """Postfix, which is installed on the machine itself."""

    name = "postfix"

    def __init__(self, next_hop: int) -> None:
        super().__init__(next_hop)
        self._server = Postfix(next_hop=next_hop, mailboxes=(self.address,))
        self.port = self._server.port

    def start(self) -> Self:
        self._server.start()
        return self

    def stop(self) -> None:
        self._server.stop()

    def mailbox(self) -> list[bytes]:
        return [path.read_bytes() for path in self._server.mailbox(self.address)]

    def said(self) -> str:
        return self._server.said()
