"""What an operator can set for both Exchange connectors; each description is the documentation."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from connectors.exchange.organisation import where
from gateway.contract import ConnectorConfig
from mappings.network import network

MIB: Final = 1024 * 1024


def mailbox(text: str) -> str:
    """Return the address of a mailbox as it is compared. Raises: ValueError that names the right form."""
    if "@" not in text:
        raise ValueError(f"{text!r} is not the SMTP address of a mailbox, such as ann@example.com")
    network("smtp").parse(text)
    return text.strip().lower()


def folder(text: str) -> str:
    """Check that a folder has a name. Raises: ValueError."""
    if not where(text):
        raise ValueError('a folder is inbox, sent, drafts, outbox, trash, junk or a path such as "Gatepost/Taken"')
    return text


class Watched(BaseModel):
    """A folder whose items are taken as mail."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mailbox: str = Field(description="SMTP address of the mailbox.")
    folder: str = Field(
        "inbox",
        description="The folder: inbox, sent, drafts, outbox, trash, junk, or a path from the mailbox's top with "
        "slashes, such as Projects/Out.",
    )
    finish: Literal["move", "mark", "delete"] = Field(
        "move",
        description="What happens to an item once its mail is committed: it goes into `to`, or it stays and gets the "
        "category `Gatepost taken`, or it is deleted.",
    )
    to: str = Field("Gatepost/Taken", description="The folder for taken items, made where it is not there.")
    purge: bool = Field(False, description="Delete past the deleted items (finish = delete).")
    envelope: Literal["mailbox", "headers"] = Field(
        "mailbox",
        description="Who gets an item's mail. mailbox: the mailbox's own address. headers: all of To, Cc and Bcc, as "
        "for a folder of sent items or of mail that was caught for others.",
    )
    recipients: list[str] = Field(
        [],
        description="Addresses that get every mail of this folder, whatever it says. Those that are none of the "
        "gateway's own need `trusted` as well.",
    )
    journal: bool = Field(
        False,
        description="The folder holds journal reports: the message within is taken, with the envelope that the report "
        "tells.",
    )
    trusted: bool = Field(
        False,
        description="Its mails may go to recipients anywhere, and those that fail are reported to their senders. For "
        "folders that none but the organisation's own users write to, such as sent items; of any other folder mail is "
        "taken for recipients of the gateway's own alone.",
    )
    existing: Literal["take", "leave"] = Field(
        "take",
        description="What happens to items that are there when the folder is watched for the first time: they are "
        "taken as well, or left for good. A node that takes the folder over from another one watches it for the first "
        "time too: with several nodes, take.",
    )

    @field_validator("mailbox")
    @classmethod
    def _mailbox(cls, value: str) -> str:
        return mailbox(value)

    @field_validator("folder", "to")
    @classmethod
    def _folder(cls, value: str) -> str:
        return folder(value)

    @field_validator("recipients")
    @classmethod
    def _recipients(cls, value: list[str]) -> list[str]:
        for each in value:
            network("smtp").parse(each)
        return value

    @model_validator(mode="after")
    def _fits(self) -> Watched:
        if self.finish == "move" and where(self.to) == where(self.folder):
            raise ValueError(f"taken items would stay in {self.folder}; name another folder in `to`")
        return self


class SourceOptions(ConnectorConfig):
    """What is taken from mailboxes."""

    watch: list[Watched] = Field([], description="The folders whose items are taken as mail.")
    mailboxes_file: str | None = Field(
        None,
        description="A CSV file with further folders to watch, one a line; its first line names the columns, which are "
        "the keys of `watch` (mailbox is needed; recipients are separated by blanks).",
    )
    refused_folder: str = Field(
        "Gatepost/Refused",
        description="Folder of the mailbox for items that cannot be taken; each gets the category `Gatepost refused`.",
    )
    poll_s: float = Field(
        300.0,
        ge=1,
        le=86400,
        description="Seconds after which each folder is looked at, whatever notifications say.",
    )
    max_in_flight: int = Field(40, ge=1, le=1000, description="Messages that are being taken at once.")
    large_at_once: int = Field(1, ge=1, le=16, description="Messages over 4 MiB that are being taken at once.")
    journal_senders: list[str] = Field(
        [],
        description="Addresses whose journal reports are trusted in any watched folder; in one with `journal` all are.",
    )

    @field_validator("refused_folder")
    @classmethod
    def _refused_folder(cls, value: str) -> str:
        return folder(value)

    @field_validator("journal_senders")
    @classmethod
    def _journal_senders(cls, value: list[str]) -> list[str]:
        return [mailbox(each) for each in value]


class DestinationOptions(ConnectorConfig):
    """What is put into mailboxes, or sent."""

    mode: Literal["deliver", "send"] = Field(
        "deliver",
        description="deliver: a mail is put into its recipient's mailbox. send: it is sent by a mailbox, to recipients "
        "anywhere.",
    )
    deliver_to: str = Field("inbox", description="The folder that mail is put into, made where it is not there.")
    send_as: str | None = Field(None, description="SMTP address of the mailbox that sends (mode = send).")
    on_behalf: bool = Field(
        False,
        description="The sending mailbox is shown as the sender on behalf of the author; else mail goes out as the "
        "author, for whom it needs the right to send as.",
    )
    keep_sent: bool = Field(
        False,
        description="Keep copies of what was sent in the folder Gatepost/Sent. Each is made in any case, since an "
        "unknown result is settled by it; where not kept it goes after an hour.",
    )
    is_read: bool = Field(False, description="Mail that is put into a mailbox is marked as read.")
    read_back: Literal["off", "always"] = Field(
        "off",
        description="always: each mail that was put into a mailbox is read from there and compared, so that the trace "
        "says what Exchange has changed of it; off: the trace says what it may change.",
    )
    chunk_items: int = Field(20, ge=1, le=100, description="Messages that are created by one request, at most.")
    chunk_bytes: int = Field(8 * MIB, ge=MIB, le=64 * MIB, description="Octets of messages in one request, at most.")


class ExchangeConfig(SourceOptions, DestinationOptions):
    """What both connectors share."""

    max_message_bytes: int = Field(
        35 * MIB, ge=1024, le=150 * MIB, description="A larger message is refused, in both directions."
    )
    organization_headers: Literal["strip", "keep"] = Field(
        "strip",
        description="What happens, in both directions, to header fields that are an organisation's own affair: "
        "X-MS-Exchange-Organization-*, X-MS-Exchange-Forest-* and X-MS-Exchange-CrossPremises-*.",
    )
    tnef: Literal["keep", "unpack", "make"] = Field(
        "keep",
        description="Mail that Outlook packed for itself (winmail.dat), on its way into mailboxes: keep leaves it, for "
        "Exchange takes it apart itself; unpack makes parts of it that everybody reads; make packs all mail so, but "
        "what is signed, encrypted or a meeting.",
    )
    trust_suppression: bool = Field(
        True, description="X-Auto-Response-Suppress of taken mail is honoured: no reports where it forbids them."
    )

    @field_validator("deliver_to")
    @classmethod
    def _deliver_to(cls, value: str) -> str:
        return folder(value)

    @field_validator("send_as")
    @classmethod
    def _send_as(cls, value: str | None) -> str | None:
        return None if value is None else mailbox(value)

    @model_validator(mode="after")
    def _whole(self) -> ExchangeConfig:
        if self.mode == "send" and self.send_as is None:
            raise ValueError('mode = "send" needs send_as, the mailbox that sends')
        twice = [(each.mailbox, where(each.folder)) for each in self.watch]
        if len(set(twice)) < len(twice):
            raise ValueError("a folder is watched twice; each may stand in `watch` once")
        refused = where(self.refused_folder)
        for each in self.watch:
            if where(each.folder) == refused:
                raise ValueError(f"{each.folder} of {each.mailbox} is watched and is the refused_folder too")
        return self
