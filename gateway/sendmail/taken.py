"""What came by a hand-over, as a message: the envelope of its words, a whole header, and on record who it was."""

from __future__ import annotations

import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateway.completion import Author, complete
from gateway.completion import recipients as header_recipients
from gateway.contract import (
    Address,
    AddressError,
    Content,
    Envelope,
    Message,
    Notify,
    Origin,
    Recipient,
    Rejected,
    Status,
)
from mappings.network import network

MOST_RECIPIENTS: Final = 10_000
_NOTIFY: Final = {"never": Notify.NEVER, "success": Notify.SUCCESS, "failure": Notify.FAILURE, "delay": Notify.DELAY}
_NO_RECIPIENT: Final = Status("5.1.3", "the message names no recipient")

Senders = Literal["any", "warn", "own"]


@dataclass(frozen=True, slots=True)
class User:
    """Who handed it in, by the kernel's word."""

    uid: int
    login: str
    name: str

    @classmethod
    def of(cls, uid: int) -> User:
        """Return the user of a number; one without a name in the system's list is called by it."""
        try:
            found = pwd.getpwuid(uid)
        except KeyError:
            return cls(uid, f"uid-{uid}", "")
        # The name is the part before the first comma; & stands for the login in capitals (BSD's finger).
        name = found.pw_gecos.partition(",")[0].replace("&", found.pw_name.capitalize())
        return cls(uid, found.pw_name, name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


class Words:
    """The words of a hand-over. Raises: Rejected for those that mean nothing."""

    def __init__(self, words: Sequence[tuple[str, str]]) -> None:
        self.do = "mail"
        self.id = ""
        self.size: int | None = None
        """Octets of the content, where the caller says so."""
        self.sender: str | None = None
        self.name = ""
        self.reads_header = False
        self.notify = Notify.UNSET
        self.ret: Literal["full", "hdrs"] | None = None
        self.envid: str | None = None
        self.recipients: list[str] = []
        for word, value in words:
            self._take(word, value)
        if len(self.recipients) > MOST_RECIPIENTS:
            raise Rejected(Status("5.5.3", f"more than {MOST_RECIPIENTS} recipients"))

    def _take(self, word: str, value: str) -> None:
        if word == "do":
            self.do = value
        elif word == "id" and len(value) == 32 and value.isalnum() and value.isascii():
            self.id = value
        elif word == "size" and len(value) <= 18 and value.isascii() and value.isdigit():
            self.size = int(value)
        elif word == "sender":
            self.sender = value
        elif word == "name":
            self.name = value
        elif word == "header":
            self.reads_header = True
        elif word == "notify":
            for each in value.split(","):
                self.notify |= _NOTIFY.get(each, Notify.UNSET)
        elif word == "ret" and value in ("full", "hdrs"):
            self.ret = "full" if value == "full" else "hdrs"
        elif word == "envid" and len(value) <= 100 and value.isascii() and value.isprintable():
            self.envid = value
        elif word == "to":
            self.recipients.append(value)
        elif word:
            raise Rejected(Status("5.5.4", f"{word[:40]!r} is not known to this gateway, or its value is not"))


@dataclass(frozen=True, slots=True)
class Desk:
    """What messages are made by: the connector's name, the domain of local names, and who may name which sender."""

    connector: str
    hostname: str
    domain: str
    senders: Senders
    trusted_users: frozenset[str]

    def own_address(self, user: User) -> str:
        return f"{user.login}@{self.domain}"

    def address(self, spec: str) -> Address:
        """Read an address; a word without a domain is one of this machine's. Raises: Rejected."""
        spec = spec.strip()
        try:
            return network("smtp").parse(spec if "@" in spec else f"{spec}@{self.domain}")
        except AddressError as e:
            raise Rejected(Status("5.1.3", f"{spec[:200]!r} is no address: {e.message}")) from None

    def message(self, user: User, words: Words, content: Content, now: float) -> Message:
        """Make the message. Blocks where the content is not in memory. Raises: Rejected."""
        specs = words.recipients
        if words.reads_header:
            # Those of the command line are added, as Postfix does it and as whoever writes both means it.
            specs = list(dict.fromkeys([*header_recipients(content), *specs]))
            if len(specs) > MOST_RECIPIENTS:
                raise Rejected(Status("5.5.3", f"more than {MOST_RECIPIENTS} recipients"))
        if not specs:
            raise Rejected(_NO_RECIPIENT)
        recipients = tuple(Recipient(self.address(spec), words.notify) for spec in specs)
        sender, warning = self._sender(user, words)
        spec = self.own_address(user) if sender is None else sender.value
        content = complete(
            content, hostname=self.hostname, now=now, author=Author(spec, words.name or self._name_of(user, spec))
        )
        if warning:
            content = content.with_prefix(warning)
        origin = Origin(self.connector, peer=f"userid-{user.uid}", protocol="local", user=user.login, trusted=True)
        return Message(
            Envelope(
                sender,
                recipients,
                origin,
                ret=words.ret,
                envid=words.envid,
                smtputf8=not all(r.address.value.isascii() for r in recipients) or not spec.isascii(),
                dedupe_key=f"{self.connector}:{user.uid}:{words.id}" if words.id else None,
            ),
            content,
        )

    def _name_of(self, user: User, spec: str) -> str:
        return user.name if spec == self.own_address(user) else ""

    def _sender(self, user: User, words: Words) -> tuple[Address | None, bytes]:
        """Return the reverse-path, and the line of header that tells of a foreign one. Raises: Rejected."""
        own = self.own_address(user)
        if words.sender is None:
            return self.address(own), b""
        if not words.sender:  # nobody is reported to, and nobody's name is used
            return None, b""
        sender = self.address(words.sender)
        if self.senders == "any" or user.login in self.trusted_users or sender == self.address(own):
            return sender, b""
        if self.senders == "own":
            raise Rejected(Status("5.7.1", f"{user.login} may not send as {sender.value}"))
        told = sender.value.encode("ascii", "replace").decode("ascii")
        warning = f"X-Authentication-Warning: {self.hostname}: {user.login} set sender to {told} using -f\r\n"
        return sender, warning.encode("ascii", "replace")
