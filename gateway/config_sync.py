"""[sync.NAME]: which mailboxes are kept in step, and how."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from gateway.config import Section
from gateway.quantity import Duration, Size
from gateway.sync.search import Search
from gateway.sync.values import Policy


def _pattern(text: str) -> str:
    if not text.removeprefix("!"):
        raise ValueError('a pattern of folders, such as "Projects/*", or "!Junk" for one that is left out')
    return text


def _term(text: str) -> str:
    Search.parse([text])  # raises ValueError in words for the operator
    return text


class PairSection(Section):
    """[[sync.NAME.pair]]: two mailboxes."""

    from_: str = Field(alias="from", min_length=1, description="Name of the mailbox that is copied from.")
    to: str = Field("", description="Name of the mailbox that is copied to. Absent: the same name.")
    identity: str | None = Field(None, min_length=1, description="The identity whose mailbox it is, for its cut-over.")
    batch: str = Field("", description="Those that go together have the same word here.")
    address: str | None = Field(
        None,
        min_length=1,
        description="The address that the identity is shown under from its cut-over on, such as smtp:ann@new.example; "
        "the one before becomes a former one. Absent: it stays.",
    )


class SyncSection(Section):
    """[sync.NAME]: mailboxes of one system, kept in step with those of another."""

    from_: str = Field(alias="from", min_length=1, description="Name of the connector whose mailboxes are copied from.")
    to: str = Field(min_length=1, description="Name of the connector whose mailboxes are copied to.")
    mailboxes: str | None = Field(
        None,
        min_length=1,
        description="CSV file with the columns from, to, identity, batch, address: a line for each mailbox; all but "
        "`from` may be empty. Relative to this file.",
    )
    pair: tuple[PairSection, ...] = Field((), description="Mailboxes, in place of a CSV file or beside it.")
    mode: Literal["copy", "mirror", "two-way"] = Field(
        "copy",
        description="copy: what is new on the left comes to the right, and nothing is removed. mirror: the right "
        "becomes what the left is. two-way: both change, and each gets what the other has.",
    )
    delete: Literal["keep", "remove", "trash"] = Field(
        "trash", description="What a removal on one side does on the other, in mirror and two-way."
    )
    conflict: Literal["both", "left", "right"] = Field(
        "both",
        description="An item changed on one side and gone on the other: both keeps it; else that side's will is done.",
    )
    home: str | None = Field(
        None,
        min_length=1,
        description="Name of the connector that mail goes to from a mailbox's cut-over on. Absent: there is none.",
    )
    max_removed: float = Field(
        20, ge=0, le=100, description="Percent of a mailbox's items that one pass may remove; more stop all removals."
    )
    min_removed: int = Field(10, ge=0, description="That many are removed whatever share of the mailbox they are.")
    strict: bool = Field(False, description="In mirror, remove what only the right mailbox holds, too.")
    max_size: Size | None = Field(None, gt=0, description="Larger items are not copied.")
    max_age: Duration | None = Field(None, gt=0, description="Items received longer ago are not copied.")
    folders: tuple[Annotated[str, AfterValidator(_pattern)], ...] = Field(
        (),
        description="Shell patterns of the folders that are kept in step, their names joined by `/`; with `!` in "
        "front, of those that are left out. Absent: all.",
    )
    search: tuple[Annotated[str, AfterValidator(_term)], ...] = Field(
        (),
        description="Only items of which all of these are true are copied, such as `flagged`, `!seen`, "
        "`since:2024-01-31`, `larger:100000`, `from:ann@old.example`, `subject:offer`.",
    )
    mend: bool = Field(
        True,
        description="Change an item that the right server refuses as little as it takes to have it taken, and note "
        "what was changed. Off: such an item is a problem.",
    )
    labels: Literal["keywords", "folders"] = Field(
        "keywords",
        description="What becomes of the further labels of a message that has several: keywords of one copy, or a copy "
        "in each folder.",
    )
    dedupe: bool = Field(False, description="Of items that are the same octet by octet in one folder, copy one.")
    bytes_per_day: Size | None = Field(
        None,
        gt=0,
        description="Most octets that are copied into one mailbox in a day, spread over it, for servers that allow no "
        "more, such as '476MiB' for Gmail's 500 MB. A plan reckons with it.",
    )
    batch_items: int = Field(50, ge=1, le=1000, description="Most items appended at once.")
    batch_bytes: Size = Field(4 << 20, gt=0, description="Most octets appended at once; a larger item goes alone.")
    ahead_bytes: Size = Field(8 << 20, gt=0, description="What is read ahead of one folder while it is appended.")
    connections: int = Field(2, ge=1, le=16, description="Folders of one mailbox that are worked on at once.")
    mailboxes_at_once: int = Field(4, ge=1, le=100, description="Mailboxes that are worked on at once.")
    wait_when_full: Duration = Field(
        0.0, description="How long a full mailbox is waited for to have room again; then its pass ends."
    )
    patience: Duration = Field(
        3600.0, gt=0, description="How long a server that is busy or away is waited for before a mailbox is put off."
    )
    watch: bool = Field(
        True,
        description="While the gateway runs, it keeps those mailboxes in step whose first pass is done, until they are "
        "closed. Off: a pass is made where a command says so.",
    )
    listen_to: int = Field(
        50,
        ge=0,
        description="Mailboxes that stay open while they are watched, so that a pass follows what their servers tell "
        "at once; the others have theirs by the clock.",
    )
    interval: Duration = Field(
        300.0, gt=0, description="Time between two passes while a mailbox is watched; sooner where its server tells."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.mailboxes is None and not self.pair:
            raise ValueError("name the mailboxes: mailboxes = 'people.csv', or [[sync.NAME.pair]]")
        if self.strict and self.mode != "mirror":
            raise ValueError("strict goes with mode = 'mirror' alone")
        return self

    def policy(self, *, allow_removal: bool = False) -> Policy:
        """Return what the engine goes by."""
        return Policy(
            mode=self.mode,
            delete=self.delete,
            conflict=self.conflict,
            max_removed=self.max_removed / 100,
            min_removed=self.min_removed,
            allow_removal=allow_removal,
            strict=self.strict,
            max_size=self.max_size,
            max_age_s=self.max_age,
            folders=self.folders,
            dedupe=self.dedupe,
            search=self.search,
            mend=self.mend,
            labels=self.labels,
            wait_when_full_s=self.wait_when_full,
            bytes_per_day=self.bytes_per_day,
            batch_items=self.batch_items,
            batch_bytes=self.batch_bytes,
            ahead_bytes=self.ahead_bytes,
            connections=self.connections,
        )
