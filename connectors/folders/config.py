"""What an operator can set for mailboxes in folders and files; each description is the documentation."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from gateway.contract import ConnectorConfig
from gateway.formats.maildir import MARK
from gateway.formats.mbox import Dialect
from gateway.mailbox_lock import Locking

Format = Literal["maildir", "mbox", "mmdf", "mh", "eudora", "pst"]

_FILES: Final = frozenset(("mbox", "mmdf"))
_OF: Final[dict[str, frozenset[str]]] = {
    "layout": frozenset(("maildir",)),
    "names": frozenset(("maildir",)),
    "info_mark": frozenset(("maildir",)),
    "dialect": frozenset(("mbox",)),
    "inbox": _FILES | {"mh"},
    "locks": _FILES | {"mh"},
    "lock_wait_s": _FILES | {"mh"},
    "attachments": frozenset(("eudora",)),
    "create": frozenset(("maildir", "mbox", "mmdf", "mh")),
}
"""The formats that an option has a meaning for, where it has none for others."""


class FoldersConfig(ConnectorConfig):
    """Mailboxes that lie in folders and files of this machine."""

    format: Format = Field(description="What they are: maildir, mbox, mmdf, mh, eudora or pst.")
    path: str = Field(
        description="Where a mailbox lies: a Maildir, a folder of mailbox files, of MH folders or of Eudora's, a PST "
        "file. `{mailbox}` stands for the mailbox's name, `{user}` and `{domain}` for what is before and behind its @."
    )
    inbox: str = Field(
        "",
        description="The inbox, where it is apart: a file such as /var/mail/{user}; with mh the name of its folder "
        "(inbox where none is given). Empty: a file of the folder that is called inbox, if there is one.",
    )
    layout: Literal["maildir++", "nested"] = Field(
        "maildir++",
        description="How a Maildir has its folders: as `.Name.Sub` beside `cur` (Courier, Dovecot), or as folders "
        "within folders, each a Maildir (Dovecot's LAYOUT=fs, mutt, mbsync).",
    )
    names: Literal["utf-7", "utf-8"] = Field(
        "utf-7", description="How folders' names of more than ASCII are written; both are read."
    )
    info_mark: Literal[":", ";", "!"] = Field(
        MARK,
        description="What stands before the flags in a file's name; another than : where a file system forbids it.",
    )
    dialect: Dialect = Field(
        Dialect.MBOXRD,
        description="How a line that looks like a From_ line is kept apart from one: mboxrd, mboxo, mboxcl, mboxcl2 "
        "or rfc4155.",
    )
    locks: tuple[Locking, ...] = Field(
        ("fcntl", "dotlock"),
        description="How a mailbox file is locked: fcntl, flock, dotlock (a file NAME.lock), in this order. Take what "
        "the programs that share it take; none for an archive nobody writes to.",
    )
    lock_wait_s: float = Field(30.0, ge=0, le=600, description="Seconds to wait for a lock.")
    attachments: str = Field(
        "",
        description="Eudora's attachment folder; it may have {mailbox} too. Empty: `attach` in the mailbox's folder.",
    )
    create: bool = Field(False, description="Make a mailbox that is not there.")
    poll_s: float = Field(20.0, gt=0, le=3600, description="Seconds between two looks for changes.")

    @field_validator("path", "inbox", "attachments")
    @classmethod
    def _template(cls, value: str) -> str:
        rest = value
        for name in ("{mailbox}", "{user}", "{domain}"):
            rest = rest.replace(name, "")
        if "{" in rest or "}" in rest:
            raise ValueError("the only things in braces are {mailbox}, {user} and {domain}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name, formats in _OF.items():
            if name in self.model_fields_set and self.format not in formats:
                raise ValueError(f"{name} is an option of {' and '.join(sorted(formats))}, not of {self.format}")
        return self
