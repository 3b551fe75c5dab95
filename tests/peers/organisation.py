"""The one face of both Exchange peers, EWS and Graph: what a test of the connectors may know of an organisation.

A `Peer` is a server process for the whole session; a `Company` is one organisation in it with a domain, a service
account, mailboxes, faults and a log of its own, so that a test neither sees nor spoils another's.
`tests.peers.ews.process.EwsPeer` and `tests.peers.graph.process.GraphPeer` are the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Kind = Literal[
    "busy",  # ms: how long to back off, 0 = not said; EWS: a SOAP fault ErrorServerBusy, Graph: 429
    "http",  # status, retry_after (seconds, optional), close (True: with `Connection: close`)
    "cut_before",  # the connection is cut before anything is done
    "cut_after",  # it is done, and the connection cut without an answer
    "truncate",  # it is done, and the answer cut: `at` octets of it are sent (default: half)
    "never",  # it is neither done nor answered; the connection stays open
    "held",  # it is done and never answered; the connection stays open
    "slow",  # seconds: so much later, then as usual
    "refuse",  # code: every item of the request is refused with this ResponseCode (Graph: error code)
    "code",  # code: the whole request is refused with this code (EWS: SOAP fault; Graph: `status` and code)
    "expire_sync",  # the sync state or delta token is not known any more
    "drop_stream",  # a stream of notifications ends without a word
    "miss_events",  # nothing is notified, though it happens
]
"""What can be made to go wrong. `operation` is EWS's name (`CreateItem`), Graph's as its peer lists them, or `*`."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An item as the store has it.

    `octets`: the MIME as it was received; `shown`: as a client gets it (other octets in honest mode). `folder`: a
    role (`inbox`) or a path from the top (`Gatepost/Taken`). `received_at`: seconds since 1970. `properties`: extended
    properties by the peer's key: `0xe06`, `{property set}/name`, `{property set}/id`.
    """

    id: str
    folder: str
    octets: bytes
    shown: bytes
    is_read: bool
    is_draft: bool
    received_at: float
    categories: tuple[str, ...]
    properties: dict[str, Any]
    item_class: str = "IPM.Note"
    subject: str = ""
    mailbox: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the peer saw it.

    `user`: who logged in; `mailbox`: the one that was acted for (impersonated or named), or the user's own.
    `answered`: `200`, another HTTP status, `cut` or `never`; `codes`: the response codes of its parts in order.
    `at`: seconds since 1970, on arrival.
    """

    operation: str
    user: str
    mailbox: str
    body: bytes
    answer: bytes
    answered: str
    codes: tuple[str, ...]
    at: float
    headers: dict[str, str] = field(default_factory=dict)


class Company(Protocol):
    """One organisation of the peer."""

    domain: str

    def address(self, name: str) -> str:
        """Return a mailbox's SMTP address."""

    def legacy_dn(self, name: str) -> str:
        """Return a mailbox's X.500 name as Exchange keeps it: `/o=…/cn=Recipients/cn=…`."""

    def access(self, **changed: object) -> dict[str, object]:
        """Return the options with which a connector reaches it as the service account; some may be changed."""

    def put(self, name: str, octets: bytes, folder: str = "inbox", **properties: object) -> str:
        """Lay a message into a folder, as delivery would; return its id.

        `properties`: `is_read`, `is_draft`, `received_at`, `categories`, `item_class`, `bcc` (addresses), `extended`
        (as `Stored.properties`). A folder that is not there is made.
        """

    def items(self, name: str, folder: str = "inbox", whole: bool = True) -> list[Stored]:
        """Return what lies in a folder, in the order it came; nothing where there is no such folder.

        `whole`: where it is False, without `octets` and `shown`, which are most of the cost.
        """

    def folders(self, name: str) -> list[str]:
        """Return the mailbox's folders, as `Stored.folder` names them."""

    def alter(self, name: str, id: str, **changes: object) -> str:
        """Do what a user would: `move` (a folder), `delete` (True), `is_read`, `categories`; return the id now."""

    def log(self, operation: str | None = None, whole: bool = True) -> list[Request]:
        """Return the requests that came, all or one operation's; where not `whole`, without `body` and `answer`."""

    def fault(
        self,
        operation: str,
        kind: Kind,
        *,
        nth: int | None = None,
        every: int | None = None,
        chance: float = 0.0,
        **how: object,
    ) -> None:
        """Let an operation fail: the `nth` from now (1: the next) once, each `every`-th, or by `chance`; all if none.

        `mailbox`: only where this one is acted for. Several can stand; the first that applies is done.
        """

    def calm(self) -> None:
        """Take all faults back; end the waiting of those that were never answered."""

    def expire_sync(self) -> None:
        """Let no sync state or delta token be known that was given out so far."""

    def quota(self, name: str, octets: int | None) -> None:
        """Let a mailbox hold no more than this; None: as much as it likes."""

    def disable(self, name: str, on: bool = True) -> None:
        """Take a mailbox out of service, or back into it."""

    def group(self, name: str, *members: str) -> str:
        """Make a distribution list of mailboxes or outside addresses; return its address."""

    def contact(self, name: str, address: str) -> None:
        """Enter an outside address into the directory (a mail contact)."""

    def outside(self) -> list[Stored]:
        """Return what was sent to addresses of no mailbox of this organisation's domain."""


class Peer(Protocol):
    """The server: started once a session."""

    url: str
    token_url: str

    def organisation(self, *names: str, domain: str | None = None, honest: bool = True) -> Company:
        """Return a fresh organisation with these mailboxes.

        `honest`: it generates MIME anew from what it keeps, as Exchange does; else octets come back as they went in.
        """

    def violations(self) -> list[str]:
        """Return what has been asked or answered against the schema, or could not be served, since the last call."""

    def refuse(self, on: bool) -> None:
        """Stop listening and cut what is connected, or listen again on the same port."""
