"""What an operator can set for local delivery; each description is the documentation."""

from __future__ import annotations

import re
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from gateway.contract import ConnectorConfig
from gateway.formats.maildir import MARK
from gateway.formats.mbox import Dialect
from gateway.mailbox_lock import Locking

_OF: Final[dict[str, frozenset[str]]] = {
    "info_mark": frozenset(("maildir",)),
    "dialect": frozenset(("mbox",)),
    "folders": frozenset(("mbox", "mmdf")),
    "locks": frozenset(("mbox", "mmdf")),
    "lock_wait_s": frozenset(("mbox", "mmdf")),
}
"""The formats that an option has a meaning for, where it has none for others."""
_PLACES: Final = ("{mailbox}", "{user}", "{domain}")
_NAME: Final = re.compile(r"[a-z0-9_-]+")


class ProgramConfig(ConnectorConfig):
    """A program that messages may be given to: it reads one on its standard input, and its exit status answers."""

    command: tuple[str, ...] = Field(
        min_length=1,
        description="The program's path and its arguments; no shell reads them. `{mailbox}`, `{user}`, `{domain}` and "
        "`{sender}` stand for the mailbox's name, its parts before and behind the @, and the reverse-path.",
    )
    timeout_s: float = Field(
        60.0, gt=0, le=3600, description="Seconds after which it is killed with all that it started, and tried again."
    )
    cpu_s: int = Field(30, ge=1, le=3600, description="Seconds of processor time that one process of it may use.")
    memory_bytes: int = Field(
        256 * 1024 * 1024, ge=16 * 1024 * 1024, description="The address space that one process of it may have."
    )
    file_bytes: int = Field(
        1024 * 1024 * 1024, ge=0, description="The most that it may write to one file, such as a mailbox it appends to."
    )
    from_line: bool = Field(
        False, description="Begin with a From_ line, as programs want it that append what they get to an mbox file."
    )
    environment: dict[str, str] = Field(
        default_factory=dict,
        description="More variables; it gets these, PATH, LANG, HOME, USER, LOGNAME, SENDER, RECIPIENT, "
        "ORIGINAL_RECIPIENT and DOMAIN, and nothing of the gateway's own.",
    )

    @field_validator("command")
    @classmethod
    def _is_path(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value[0].startswith("/"):
            raise ValueError(f"write the program's whole path, as in /usr/bin/procmail, not {value[0]!r}")
        if "{" in value[0]:
            raise ValueError("which program runs is for you to say, and not for an address")
        for word in value[1:]:
            _checked(word, (*_PLACES, "{sender}"))
        return value

    @field_validator("environment")
    @classmethod
    def _is_environment(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in text:
                raise ValueError(f"{name!r} is no name of a variable, or its value has a NUL")
        return value


class LocalConfig(ConnectorConfig):
    """Mailboxes of this machine that mail is delivered to."""

    format: Literal["maildir", "mbox", "mmdf"] = Field("maildir", description="What they are: maildir, mbox or mmdf.")
    path: str = Field(
        description="Where a mailbox lies, such as /srv/mail/{domain}/{user} or /var/mail/{user}. `{mailbox}` stands "
        "for its name, by default the address in lower case without its tag; `{user}` and `{domain}` for what is "
        "before and behind the @. The folder before the first of them must be there."
    )
    folders: str = Field(
        "",
        description="With mbox and mmdf: the folder that holds further mailbox files of a user, such as "
        "/home/{user}/mail, for those whose mail is put into one. Empty: nobody's is.",
    )
    create: bool = Field(
        False,
        description="Make a mailbox that is not there. Say so where the mapping knows everybody; without, a mailbox "
        "that is missing is nobody's.",
    )
    missing: Literal["fail", "defer"] = Field(
        "fail", description="What becomes of mail for a mailbox that is not there: it fails (5.1.1), or waits (4.2.1)."
    )
    quota_bytes: int | None = Field(
        None,
        ge=1,
        description="Octets that one mailbox may hold. A Maildir then has the file maildirsize, which Dovecot and "
        "Courier keep too; one that has it already keeps to it, whatever stands here, where this is not given.",
    )
    over_quota: Literal["defer", "fail"] = Field(
        "defer", description="What becomes of mail for a full mailbox: it waits (4.2.2), or fails at once (5.2.2)."
    )
    subaddress: str = Field(
        "+",
        max_length=1,
        description="The sign that sets a tag off in an address: ann+lists@... has the mailbox of ann. Empty: none.",
    )
    info_mark: Literal[":", ";", "!"] = Field(
        MARK, description="What stands before the flags in a Maildir's names; another than : where that is forbidden."
    )
    dialect: Dialect = Field(
        Dialect.MBOXRD, description="How a line that looks like a From_ line is kept apart from one in an mbox file."
    )
    locks: tuple[Locking, ...] = Field(
        ("fcntl", "dotlock"),
        min_length=1,
        description="How a mailbox file is locked: fcntl, flock, dotlock (a file NAME.lock), in this order. Take what "
        "the programs that read it take.",
    )
    lock_wait_s: float = Field(5.0, ge=0, le=600, description="Seconds to wait for a lock before it is tried later.")
    deliver: tuple[str, ...] = Field(
        ("mailbox",),
        min_length=1,
        max_length=2,
        description="What is done with mail for whoever has no rule of their own: `mailbox`, `program:NAME`, or both.",
    )
    programs: dict[str, ProgramConfig] = Field(
        default_factory=dict, description="Programs that mail may be given to, by names that rules call them by."
    )
    max_programs: int = Field(4, ge=1, le=100, description="Programs that run at once.")
    vacation_days: int = Field(
        7, ge=1, le=366, description="Days after which the same sender is told again that somebody is away."
    )

    @field_validator("path", "folders")
    @classmethod
    def _is_template(cls, value: str) -> str:
        return _checked(value, _PLACES)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name, formats in _OF.items():
            if name in self.model_fields_set and self.format not in formats:
                raise ValueError(f"{name} is an option of {' and '.join(sorted(formats))}, not of {self.format}")
        for name in ("path", "folders"):
            value = getattr(self, name)
            if value and "{user}" not in value and "{mailbox}" not in value:
                raise ValueError(f"{name} has neither {{user}} nor {{mailbox}}: everybody would have the same mailbox")
            if value and "/" not in value.partition("{")[0]:
                raise ValueError(f"{name} has to begin with a folder, as in mail/{{user}}")
        for name in self.programs:
            if not _NAME.fullmatch(name):
                raise ValueError(f"programs: {name!r} is no name of a-z, 0-9, - and _")
        for text in self.deliver:
            kind, _, name = text.partition(":")
            if text != "mailbox" and not (kind == "program" and name in self.programs):
                raise ValueError(f"deliver: {text!r} is neither mailbox nor the program:NAME of one of programs")
        if len(set(self.deliver)) != len(self.deliver) or sum(each != "mailbox" for each in self.deliver) > 1:
            raise ValueError("deliver: name the mailbox and one program at most, each once")
        return self


def _checked(template: str, places: tuple[str, ...]) -> str:
    rest = template
    for name in places:
        rest = rest.replace(name, "")
    if "{" in rest or "}" in rest:
        raise ValueError(f"the only things in braces are {', '.join(places)}")
    if "\0" in rest:
        raise ValueError("it has a NUL")
    return template
