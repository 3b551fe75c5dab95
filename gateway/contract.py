"""The connector contract: all that the author of a connector reads and imports.

A connector speaks its network's protocol, translates its forms to Message, Address, Report and Outcome and
back, and does nothing else. It is a class registered under the entry point `gatepost.connectors`; it has a
`Config`, `Capabilities`, a life (`start`, `health`, `stop`) and one or more sides: Source, Destination, MailboxStore.
`gateway.testing` tests any connector against the sentences below.
"""

from __future__ import annotations

import asyncio
from abc import ABC
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from gateway.config_file import ConfigErrors
from gateway.fidelity import Fate, Note
from gateway.frozen import quickly_made
from gateway.header_firewall import ORGANIZATION
from gateway.header_firewall import check as check_field_names
from gateway.header_firewall import strip as without_fields
from gateway.ids import text as id_text
from gateway.mailbox import (
    FLAGS,
    KINDS,
    ROLES,
    Appended,
    Changes,
    Facts,
    Flag,
    Folder,
    FolderRole,
    Form,
    Holds,
    ItemState,
    Kind,
    MailboxStore,
    NewItem,
    OpenMailbox,
    StoreFault,
)
from gateway.message import Blob, Content, Envelope, Message, Notify, Origin, Recipient, Traits
from gateway.named_files import unreadable
from gateway.outcome import Deferred, Delivered, Failed, Outcome, Scope
from gateway.person import Person
from gateway.report import Action, RecipientReport, Report
from gateway.status import Status
from gateway.suppression import Suppress
from gateway.suppression import notify as notify_within
from gateway.suppression import of as suppression_of
from gateway.taking import take
from gateway.toml_file import read_toml
from mappings.address import Address, AddressError
from mappings.contract_version import CONTRACT_VERSION, OLDEST_CONTRACT_VERSION
from mappings.mail_rules import MailRules, MailTarget, RuleMistake, Vacation

if TYPE_CHECKING:
    from gateway.memo import Attachment, Mailbox, Memo, compose, memo

_OF_MEMO: Final = frozenset(("Attachment", "Mailbox", "Memo", "compose", "memo"))


def __getattr__(name: str) -> Any:
    """Return what makes and reads memos: few connectors do, and it takes half as long to import as all the rest."""
    if name not in _OF_MEMO:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gateway import memo as memos

    globals().update({each: getattr(memos, each) for each in _OF_MEMO})
    return globals()[name]


class ConnectorConfig(BaseModel):
    """The base of every connector's `Config`: unknown keys are errors, every field has a description."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def fills_processors(self) -> bool:
        """Whether its messages take so much computing that one process cannot make use of a machine's processors. Where
        `workers` of [gateway] is absent there are several then."""
        return False

    @property
    def needs_one_worker(self) -> bool:
        """Whether only one process can have it, such as the one connection that a peer takes from us. Where `workers`
        is absent there is one then, whatever else would fill the processors."""
        return False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a destination can carry; adaptation is chosen by this, never by a network's name.

    `header_networks` are the networks whose addresses its headers can show as they are; everything else is
    translated to the first of them. `max_size_bytes` and `max_line_octets` are None where unlimited.
    """

    header_networks: tuple[str, ...] = ("smtp",)
    eight_bit: bool = True
    utf8_addresses: bool = True
    bare_newlines: bool = False
    nul: bool = True
    mime: bool = True
    """MIME travels as it is. Where not, a message is brought to one text, decoded, and attachments behind it;
    `gateway.memo` takes that apart, and what follows here applies."""
    tnef: bool = True
    """What Outlook packs for itself (winmail.dat) may stay so; where not, it is taken apart to parts anybody reads."""
    wants_tnef: bool = False
    """Messages are packed as Outlook does it, but those that are signed, encrypted or a meeting, which stay."""
    html: bool = True
    attachments: bool = True
    """The other side gets attachments, in some way of the connector's; where not, they are left out and named in the
    text."""
    charset: str = "utf-8"
    """The Python codec whose characters subject, names and text are brought to; the octets stay UTF-8."""
    max_subject_chars: int | None = None
    """A longer subject is cut, and stands whole on top of the text."""
    wrap_columns: int | None = None
    """Lines of text are broken at blanks to be no longer; None: as they are."""
    max_size_bytes: int | None = None
    max_line_octets: int | None = None
    delivery_reports: bool = False
    """The next hop gives success reports of its own, so that ours need not say `relayed`."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a connector works, and in words for an operator if not."""

    ok: bool
    text: str = "ok"


class Rejected(Exception):
    """A message or recipient is refused for good or for now, by `status`; the peer is to be told its text."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(str(status))


class Unavailable(Exception):
    """Nothing was accepted, for a reason of ours that passes (spool down or full); the peer is to try later."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(str(status))


@quickly_made
@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a message is in the spool: `message_id` is our id; `duplicate` where the same hand-over
    (equal dedupe key) had been accepted before, and nothing was stored again."""

    message_id: int
    duplicate: bool = False


class ContentWriter(Protocol):
    """Takes content that arrives in pieces; beyond the inline limit it goes to a content file (or chunk rows).

    Assumes: one user, `write` calls one after the other.
    """

    @property
    def size(self) -> int:
        """Octets written so far."""
        ...

    def write(self, piece: bytes) -> bool:
        """Take a piece without waiting. False asks the source to `await drain()` before it reads on."""
        ...

    async def drain(self) -> None:
        """Wait until what was written is out of memory. Raises Unavailable where there is no room."""
        ...

    async def finish(self, traits: Traits | None = None) -> Content:
        """Return the content. Octets over the inline limit are durable when this returns.

        Raises: Unavailable.
        """
        ...

    async def abandon(self) -> None:
        """Remove what was written; safe to call at any time, and after `finish` where nothing was accepted."""
        ...


Taken = Callable[[Receipt | None, BaseException | None], None]
"""What becomes of a message that is handed over: its receipt, or what kept it from being accepted."""


class Intake(Protocol):
    """The way into the gateway, handed to each Source."""

    def check(self, envelope: Envelope, recipient: Recipient) -> Status | None:
        """Say whether `recipient` would be accepted: None, or the status to refuse it with.

        Promises: no side effect, no waiting; the same answer `accept` would give under this configuration.
        `envelope.recipients` may be empty or hold those already taken.
        """
        ...

    def content(self) -> ContentWriter:
        """Return a writer for one message's content."""
        ...

    async def accept(self, message: Message, *, report: bool = False) -> Receipt:
        """Take responsibility for a message.

        With `report`, for sources whose peer can't be told, a refused recipient becomes a report to the
        reverse-path; Rejected then means that there is nobody to report to.

        Durable when this returns: message, content, deliveries and trace, in one transaction. Only then the
        peer may be told. Back-pressure is this await. After the commit cancellation loses nothing but the receipt.
        Raises: Rejected (for all recipients; nothing stored), Unavailable (nothing stored; the peer tries again).
        """
        ...

    def submit(self, message: Message, *, report: bool = False) -> asyncio.Future[Receipt]:
        """Begin what `accept` does; the future gives what that returns or raises.

        For a source that hands over many at once: it costs no task. The source bounds how many it has under way.
        """
        ...

    def take(self, message: Message, told: Taken, *, report: bool = False) -> None:
        """Begin what `accept` does, for a source of very many small messages: it costs no future either.

        `told` is called once, in a later turn of the event loop, with the receipt, or with what `accept` raises. It
        returns at once, and raises nothing.
        """
        ...


@quickly_made
@dataclass(frozen=True, slots=True)
class Item:
    """One recipient of a Parcel: `id` is what `settle` takes; `address` is in a network of the destination."""

    id: tuple[int, int]
    address: Address
    original: Address
    notify: Notify = Notify.UNSET
    orcpt: str | None = None
    attempts: int = 0
    fresh: bool = False
    """Accepted by this very process, and not tried before; False: it may have been, by one that was killed meanwhile
    and counted no attempt. A destination that can look up what it did before spares the look-up where True."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Parcel:
    """One message with those of its recipients that go to one next hop, ready to be sent.

    `content` is already adapted to the destination's Capabilities and begins with our trace field.
    """

    message_id: int
    envelope: Envelope
    content: Content
    items: tuple[Item, ...]
    arrived_at: float
    report: Report | None = None
    """What the content tells, where this is a report to the connector by which the message it is about came in."""


class Batch(Protocol):
    """Work for one call of `deliver`: parcels for one next hop, by priority and age."""

    @property
    def next_hop(self) -> str:
        """The lane that this is for, as `Destination.next_hop` named it."""
        ...

    @property
    def parcels(self) -> Sequence[Parcel]:
        """What is to be sent, the most urgent and oldest first; what `more` gave is not among them."""
        ...

    def settle(self, id: tuple[int, int], outcome: Outcome) -> None:
        """Report one recipient's outcome, as soon as it is known. A second call for one id is ignored and logged."""
        ...

    def more(self) -> Sequence[Parcel]:
        """Take further parcels for the same next hop that wait in memory, at most one batch; may be empty.

        A destination that pipelines calls it before it runs dry, so that a connection is kept full.
        """
        ...

    async def refit(self, parcel: Parcel, capabilities: Capabilities) -> Parcel | None:
        """Adapt a parcel anew, for those of its items that it holds, to a peer that takes less than was known.

        None where no form of it fits: what does not fit is settled then. The items stay open otherwise.
        """
        ...


class Connector(ABC):
    """The life of a connector. Subclasses add `Source`, `Destination`, `MailboxStore` or several of them.

    Assumes: built once per start with its configured name, a validated Config and the node's Context; all
    methods are called in the node's event loop. Must not block the loop, nor touch another connector.
    """

    Config: ClassVar[type[ConnectorConfig]] = ConnectorConfig
    contract_version: ClassVar[int] = 1
    """The version of this contract that the connector was written for: the number that `CONTRACT_VERSION` was then. The
    gateway takes its own version and the one before, and warns of the latter. Where none is stated, it is 1."""
    singleton: bool = False
    """The source runs on exactly one node at a time; the node holds its lease. May depend on the Config."""
    takes_reports: bool = False
    """Reports on messages that came in by this connector go back by it, as parcels with `report`, whatever the routes
    say of the reverse-path; it maps them to its network's own form. May depend on the Config."""

    def __init__(self, name: str, config: Any, context: Context) -> None:
        self.name = name
        self.config = config
        self.context = context

    @property
    def capabilities(self) -> Capabilities:
        """What the destination carries wherever it sends to; may depend on the Config. Absent: all of a message."""
        return Capabilities()

    def capabilities_for(self, next_hop: str) -> Capabilities:
        """Return what this next hop carries, as far as is known. Asked before each batch: no look-ups, no waiting.

        What is learnt only from a peer's own word is told by `Batch.refit` for the parcel at hand, and here from then
        on.
        """
        return self.capabilities

    async def start(self) -> None:
        """Make ready: check folders, open listening sockets without serving them.

        Raises: OSError or ValueError with a text that names what is wrong and its mend.
        """
        return

    async def stop(self) -> None:
        """Release everything. Promises: returns within `context.stop_s`, whatever peers do; safe to call twice."""
        return

    def reconfigure(self, config: Any) -> bool:
        """Take a changed Config while running; False asks for a stop and a new start.

        Promises, where True: what is under way goes on under the old options, what begins gets the new.
        Raises: OSError or ValueError where the new ones can't be used; the old ones stay in force then.
        """
        return False

    def health(self) -> Health:
        """Tell how it is, from what it knows: asked often, at any time, also before `start`; without any look-up."""
        return Health(True)

    def missing(self) -> Sequence[str]:
        """Tell, in sentences that name the option, which files of the configuration `start` would not be able to read.

        Asked before `start` by `gatepost check`, which takes each for a mistake; may block. See `unreadable`.
        """
        return ()

    def cannot(self, rules: MailRules) -> Sequence[str]:
        """Tell, in sentences, what the rules of somebody whose mail is delivered here ask for that it cannot do, such
        as a program that its configuration has not.

        Asked by `gatepost map check`, for each such identity; without any look-up.
        """
        return ()


@runtime_checkable
class Source(Protocol):
    """The side on which messages come in."""

    async def run(self, intake: Intake) -> None:
        """Serve until cancelled.

        For each foreign message: build a Message, await `intake.accept`, and only then acknowledge to the peer,
        with nothing between the two. On Rejected tell the peer (or keep the offending item where an operator finds
        it); on Unavailable tell the peer to try again. On cancellation: take no new work, finish what is being
        accepted, tell the rest to come back; return within `context.stop_s`. One bad message never stops the others.
        """
        ...


@runtime_checkable
class Destination(Protocol):
    """The side on which messages go out."""

    def next_hop(self, address: Address) -> str:
        """Return the lane's name for a recipient, e.g. a domain or a smart host; pure, no look-ups."""
        ...

    async def deliver(self, batch: Batch) -> None:
        """Try every item once, settling each as soon as its outcome is known.

        May be called several times at once, for one next hop and for several. Raises nothing but cancellation;
        every fault is an Outcome, an unknown one is Deferred. What is unsettled at return or cancellation is
        Deferred. A fault of the whole next hop is `Deferred(scope=HOP)`. Delivered only once the next hop has it
        durably by its own word.
        """
        ...


@dataclass(frozen=True)
class Context:
    """What a node lends its connectors."""

    hostname: str
    """The gateway's own name, for EHLO and Received."""
    state_dir: Path
    """A folder for files of the connector's own; private, on the spool's file system."""
    base_dir: Path
    """Relative paths of the configuration start here."""
    log: Any
    """A logger bound to the connector's name: `info("event", key=value)` and so on, and `bind(key=value)`."""
    clock: Callable[[], float]
    """Wall-clock seconds since 1970."""
    stop_s: float = 10.0
    worker: int = 0
    workers: int = 1
    """Over 1, listening sockets are shared by SO_REUSEPORT."""
    count: Callable[..., None] = field(default=lambda name, value=1, **labels: None)
    """Add to a counter of the connector's: `count("duplicates_possible", hop="mx.example")`."""
    rules: Callable[[Address], MailRules | None] = field(default=lambda address: None)
    """What the mapping says is to be done with the mail of whom an address belongs to; None where nobody has it.
    Raises: RuleMistake."""
    is_ours: Callable[[Address], bool] = field(default=lambda address: False)
    """Whether an address is in a domain or space that this gateway answers for, or an identity's of its mapping."""
    person: Callable[[Address], Person | None] = field(default=lambda address: None)
    """Whom the mapping says an address belongs to now; None where it is nobody's."""


# Behind the names that it is made of.
from gateway.threads import HandOver, ThreadedConnector, ThreadedDestination, ThreadedSource  # noqa: E402

__all__ = [
    "CONTRACT_VERSION",
    "FLAGS",
    "KINDS",
    "OLDEST_CONTRACT_VERSION",
    "ORGANIZATION",
    "ROLES",
    "Action",
    "Address",
    "AddressError",
    "Appended",
    "Attachment",
    "Batch",
    "Blob",
    "Capabilities",
    "Changes",
    "ConfigErrors",
    "Connector",
    "ConnectorConfig",
    "Content",
    "ContentWriter",
    "Context",
    "Deferred",
    "Delivered",
    "Destination",
    "Envelope",
    "Facts",
    "Failed",
    "Fate",
    "Flag",
    "Folder",
    "FolderRole",
    "Form",
    "HandOver",
    "Health",
    "Holds",
    "Intake",
    "Item",
    "ItemState",
    "Kind",
    "MailRules",
    "MailTarget",
    "Mailbox",
    "MailboxStore",
    "Memo",
    "Message",
    "NewItem",
    "Note",
    "Notify",
    "OpenMailbox",
    "Origin",
    "Outcome",
    "Parcel",
    "Person",
    "Receipt",
    "Recipient",
    "RecipientReport",
    "Rejected",
    "Report",
    "RuleMistake",
    "Scope",
    "Source",
    "Status",
    "StoreFault",
    "Suppress",
    "Taken",
    "ThreadedConnector",
    "ThreadedDestination",
    "ThreadedSource",
    "Traits",
    "Unavailable",
    "Vacation",
    "check_field_names",
    "compose",
    "id_text",
    "memo",
    "notify_within",
    "quickly_made",
    "read_toml",
    "suppression_of",
    "take",
    "unreadable",
    "without_fields",
]
