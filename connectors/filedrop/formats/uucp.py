"""uucp: mail as UUCP brings it: jobs of `rmail` or `rsmtp`, and the text that `rmail` reads.

In: an execution file (`X.…`) and the data file beside it that it names: the recipients are the arguments of its
command `rmail`, the sender is in the data's `From …` lines; or the data is a batch, where the command is `rsmtp`. Or
a file that is rmail's text alone, for the recipients that the folder has, or those of its header; or a batch alone.
The path of a sender is that of its lines, newest first: the hosts of `remote from`, then the oldest line's user.
`<>` and MAILER-DAEMON are the null reverse-path. The content is the rest, its line ends made CRLF.
Out: such a pair, for `uux`. A recipient on the neighbour, or behind it, is written as seen from there; the sender as
seen from us, with our name behind `remote from`. `user@domain` is written `domain!user`. An address that a command's
argument cannot hold is refused.
Sources: RFC 976; the file format is that of Taylor UUCP's manual, "Execution File Format". Jobs of `rcsmtp` and its
like, whose data is compressed, are not taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from time import asctime, gmtime
from typing import ClassVar, Final, Literal

from pydantic import Field

from connectors.filedrop.formats.addresses import read_one
from connectors.filedrop.formats.bsmtp import Bsmtp, BsmtpSettings
from connectors.filedrop.formats.bsmtp.writer import notes
from connectors.filedrop.formats.header_envelope import Mistake, read_header, recipients_of_header
from connectors.filedrop.formats.values import (
    Bad,
    Bare,
    Enclosure,
    Encoded,
    FormatSettings,
    Options,
    Part,
    Refused,
    Span,
    Stamp,
)
from connectors.filedrop.names import is_safe
from gateway.contract import (
    Address,
    AddressError,
    Blob,
    Capabilities,
    Fate,
    Item,
    Note,
    Parcel,
    Recipient,
    Status,
)
from mappings.network import network

JOB: Final = ".X"
DATA: Final = ".D"
MAX_JOB_OCTETS: Final = 256 * 1024
MAX_FROM_OCTETS: Final = 64 * 1024
"""Of all the `From …` lines of a message; each host on its way adds one."""

_JOB_LINE: Final = re.compile(rb"[A-Za-z](?: [^\r\n]*)?|#[^\r\n]*")
_FROM: Final = (b"From ", b">From ")
_REMOTE: Final = re.compile(r"\b(?:remote from|forwarded by) (\S+)[ \t]*\Z")
_BATCH: Final = re.compile(rb"[ \t]*(?:HELO|EHLO|MAIL|RSET|VERB|TICK)\b", re.IGNORECASE)
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_ANY_END: Final = re.compile(rb"\r\n|\r|\n")
_NOBODY: Final = frozenset(("<>", "mailer-daemon"))
_SPOOLED: Final = ("D.", "C.", "TM.")
_SHOWN: Final = 200


class UucpSettings(FormatSettings):
    """What can be set for uucp alone."""

    system: str = Field(
        default="",
        pattern=r"[A-Za-z0-9._-]*",
        description="Our name among UUCP systems; empty: the first label of the gateway's name.",
    )
    neighbor: str = Field(
        default="",
        pattern=r"[A-Za-z0-9._-]*",
        description="The system that jobs are for. Its name is left out of a recipient's path, which it sees from "
        "itself.",
    )
    domain: str = Field(
        default="",
        description="The domain of a recipient that is a name alone, as in `rmail ann`; empty: the gateway's name.",
    )
    command: Literal["rmail", "rsmtp"] = Field(
        default="rmail",
        description="What the neighbour is to run. rsmtp: for systems that take batches; it holds any address.",
    )
    one_recipient: bool = Field(default=False, description="Write a job for each recipient.")
    max_recipients_a_job: int = Field(
        default=20, gt=0, description="Recipients of one job at most; the others get further ones."
    )


class _Ill(Exception):
    """Carries what is wrong with a job up to `decode`."""

    def __init__(self, bad: Bad) -> None:
        self.bad = bad
        super().__init__(bad.text)


def _ill(rule: str, text: str, mend: str, found: str | bytes = b"", line: int = 1) -> _Ill:
    octets = found.encode("utf-8", "replace") if isinstance(found, str) else found
    return _Ill(Bad(f"uucp.{rule}", 0, line, text, mend, octets[:_SHOWN]))


@dataclass(frozen=True, slots=True)
class _Job:
    """An execution file: what to run, on which data, asked by whom."""

    command: str
    arguments: tuple[str, ...]
    data: str
    system: str
    line: int
    """Of the command."""


@dataclass(frozen=True, slots=True)
class Uucp(Bare):
    """The codec of UUCP jobs."""

    name: str
    options: Options
    settings: UucpSettings
    Settings: ClassVar[type[FormatSettings]] = UucpSettings
    extension: ClassVar[str] = JOB
    many_a_file: ClassVar[bool] = False

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(header_networks=(self.options.network,), utf8_addresses=False, nul=False)

    @property
    def one_a_recipient(self) -> bool:
        return self.settings.one_recipient

    @property
    def max_recipients_a_file(self) -> int:
        return self.settings.max_recipients_a_job

    def is_message(self, name: str) -> bool:
        """Tell whether a file is one to take: a job or a text, not the data of one, nor what uucico still writes."""
        return not name.startswith(_SPOOLED) and not name.endswith(DATA)

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        """Yield the messages of a job or of a text. Raises: OSError alone, for a data file that is not there too."""
        start = file.read(0, min(file.size, MAX_FROM_OCTETS))
        first = start.lstrip().partition(b"\n")[0].rstrip(b"\r")
        try:
            if start.startswith(_FROM):
                yield self._text(file, stamp)
            elif _JOB_LINE.fullmatch(first):
                yield from self._job(file, stamp)
            elif _BATCH.match(first):
                yield from self._batch().decode(file, stamp)
            else:
                mend = "begin with From …, with an execution file's lines, or with HELO or MAIL FROM:<…>"
                raise _ill("unknown-form", "this is neither rmail's text nor a job nor a batch", mend, first)
        except _Ill as e:
            yield e.bad

    def _job(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        job = read_job(file)
        if not is_safe(job.data) or stamp.beside is None:
            mend = "name a data file of the same folder, without any path"
            raise _ill("unsafe-name", "the data file's name is none that is taken", mend, job.data)
        data = stamp.beside(job.data)
        if job.command == "rmail":
            recipients = tuple({each.address: each for each in self._recipients(job)}.values())
            yield self._message(data, job.data, recipients, job.system, stamp)
            return
        for found in self._batch().decode(data, stamp):
            item = None if found.item is None else tuple(_moved(each, job.data) for each in found.item)
            if isinstance(found, Bad):
                text = f"{found.text} (in the data file {job.data})"
                yield replace(found, text=text, item=item)
            else:
                content = tuple(_moved(each, job.data) if isinstance(each, Span) else each for each in found.content)
                yield replace(found, content=content, item=item)

    def _recipients(self, job: _Job) -> Iterator[Recipient]:
        if not job.arguments:
            raise _ill("no-recipient", "rmail has no argument", "name each recipient behind rmail", line=job.line)
        if len(job.arguments) > self.options.max_recipients:
            text = f"{len(job.arguments)} recipients, the limit is {self.options.max_recipients}"
            raise _ill("too-many-recipients", text, "write several jobs, or raise max_recipients", line=job.line)
        for text in job.arguments:
            try:
                yield Recipient(self.read_address(text))
            except AddressError as e:
                mend = "mend the address; write host!user or user@domain"
                reason = f"{e.message} ({e.rule})"
                raise _ill("bad-address", reason, mend, text, line=job.line) from None

    def _message(self, data: Blob, name: str, recipients: tuple[Recipient, ...], system: str, stamp: Stamp) -> Part:
        reverse_path, start = self._sender(data, system)
        return Part(reverse_path, recipients, (Span(start, data.size, to_crlf, name),), key=stamp.name or stamp.token)

    def _text(self, file: Blob, stamp: Stamp) -> Part:
        """Read a text of rmail's that came without its command."""
        _, start = self._sender(file, "")
        octets = file.read(start, min(file.size - start, self.options.max_header_bytes + 4))
        try:
            recipients = recipients_of_header(read_header(octets, self.options).lines, self.options)
        except Mistake as mistake:
            line = file.read(0, start).count(b"\n") + 1
            raise _Ill(mistake.bad(self.name, octets, start, line)) from None
        return self._message(file, "", recipients, "", stamp)

    def _sender(self, data: Blob, system: str) -> tuple[Address | None, int]:
        """Return who sends, and where the message begins behind the lines that tell it."""
        octets = data.read(0, min(data.size, MAX_FROM_OCTETS))
        path, start = read_from_lines(octets)
        if start == 0:
            mend = "begin the data with: From user date remote from system"
            raise _ill("no-from-line", "the data does not begin with a From line", mend, octets.partition(b"\n")[0])
        if path.rpartition("!")[2].lower() in _NOBODY:
            return None, start
        try:
            return self.read_address(
                f"{system}!{path}" if system and "!" not in path and "@" not in path else path
            ), start
        except AddressError as e:
            mend = "mend the From line; write host!user"
            raise _ill("bad-sender", f"{e.message} ({e.rule})", mend, path) from None

    def read_address(self, text: str) -> Address:
        """Read a path, `user@domain`, or the name of a user here. Raises: AddressError."""
        try:
            return read_one(text, "uucp")
        except AddressError as e:
            if e.rule == "uucp.no-host":
                return network("smtp").parse(f"{_quoted(text)}@{self.settings.domain or self.options.hostname}")
            if e.rule != "uucp.internet" or "!" not in text:
                raise
        host, _, user = text.strip().lstrip("!").partition("!")
        return network("smtp").parse(f"{_quoted(user)}@{host.rstrip('.')}")

    def write_address(self, address: Address) -> str:
        """Return the text that reads back as the address, fit for an argument. Raises: Refused."""
        user, _, domain = address.value.rpartition("@")
        spec = network(address.network).to_addr_spec(address) or ""
        forms = [address.value] if address.network == "uucp" else []
        forms += [f"{domain}!{user}", address.value] if address.network == "smtp" else [spec]
        for text in forms:
            try:
                if text and text.isascii() and text.isprintable() and " " not in text:
                    back = self.read_address(text)
                    if back == address and back.value == address.value:
                        return text
            except AddressError:
                continue
        raise Refused(Status("5.1.3", f"UUCP mail has no way to write the address {address.value}"))

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        """Return a job and its data. Raises: Refused; OSError where the content cannot be read."""
        sender = parcel.envelope.reverse_path
        path = "" if sender is None else self._without(self.write_address(sender), self.system)
        command = self.settings.command
        if command == "rmail":
            command_line = " ".join(
                ("rmail", *(self._without(self.write_address(i.address), self.settings.neighbor) for i in items))
            )
            begin = f"From {path or '<>'} {asctime(gmtime(parcel.arrived_at))} remote from {self.system}\n".encode()

            def octets() -> Iterable[bytes]:
                yield begin
                yield from to_lf(parcel.content.chunks())

            lost = notes(parcel, items, BsmtpSettings())
        else:
            command_line = "rsmtp"
            batch = self._batch()
            encoded = batch.encode(parcel, items, stem)

            def octets() -> Iterable[bytes]:
                yield batch.opening(encoded)
                yield from encoded.octets()
                yield batch.closing()

            lost = encoded.notes
        if command == "rmail" and sender is not None:
            lost += (Note(Fate.MAPPED, "reverse-path", f"it is a path by this system: {self.system}!{path}"),)
        data = stem + DATA
        asked = f"R {path}" if path else "N"
        lines = (f"U gatepost {self.system}", f"F {data}", f"I {data}", asked, f"C {command_line}")
        job = "".join(line + "\n" for line in lines).encode()
        return Encoded(lambda: (job,), (Enclosure(data, octets),), lost)

    @property
    def system(self) -> str:
        """Our name among UUCP systems."""
        return self.settings.system or self.options.hostname.partition(".")[0]

    def _batch(self) -> Bsmtp:
        return Bsmtp("bsmtp", self.options, BsmtpSettings(dialect="exim", qualify=self.settings.domain))

    @staticmethod
    def _without(path: str, host: str) -> str:
        """Leave a host out of the front of a path: whoever reads the path is there already."""
        return path.removeprefix(f"{host}!") if host else path


def read_job(file: Blob) -> _Job:
    """Read an execution file. Raises: _Ill; OSError."""
    if file.size > MAX_JOB_OCTETS:
        text = f"the execution file has more than {MAX_JOB_OCTETS} octets"
        raise _ill("job-too-long", text, "write several jobs")
    local: dict[str, str] = {}
    command: list[str] = []
    data = system = ""
    at = 0
    for number, raw in enumerate(file.read(0, file.size).decode("utf-8", "surrogateescape").split("\n"), 1):
        key, _, rest = raw.rstrip("\r").partition(" ")
        words = rest.split()
        match key:
            case "C" if words:
                command, at = words, number
            case "I" if words:
                data = words[0]
            case "U" if len(words) > 1:
                system = words[1]
            case "F" if len(words) > 1:
                local[words[1]] = words[0]
            case _:
                pass  # what to do with output and failures, and files that are only to be there
    verb = command[0].rpartition("/")[2] if command else ""
    if verb not in ("rmail", "rsmtp", "rbsmtp"):
        mend = "run rmail, or rsmtp with data that is not compressed"
        raise _ill("unknown-command", "the command is none that brings mail", mend, verb, line=max(at, 1))
    if not data:
        raise _ill("no-data", "no I line names the data file", "name it, as in: I D.gateX0001", line=at)
    return _Job(verb, tuple(command[1:]), local.get(data, data), system, at)


def read_from_lines(octets: bytes) -> tuple[str, int]:
    """Return the path that `From …` lines tell, and where they end; 0 where there is none. Pure, linear."""
    hosts: list[str] = []
    user = ""
    at = 0
    while octets.startswith(_FROM, at):
        end = octets.find(b"\n", at) + 1 or len(octets)
        text = octets[at:end].decode("utf-8", "surrogateescape").rstrip()
        words = text.split(None, 2)
        if len(words) < 2:
            break
        remote = _REMOTE.search(text)
        user = words[1]
        if hosts:  # some hosts tell in each line the way as far as they know it
            user = user.removeprefix(f"{hosts[-1]}!")
        if remote is not None:
            hosts.append(remote[1])
        at = end
    if hosts:
        user = user.removeprefix(f"{hosts[-1]}!")
    return "!".join((*hosts, user)), at


def _quoted(user: str) -> str:
    """Return a mailbox's name as an addr-spec has it (RFC 5321 §4.1.2)."""
    if re.fullmatch(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*", user):
        return user
    escaped = user.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _moved(piece: bytes | Span, name: str) -> bytes | Span:
    return replace(piece, file=name) if isinstance(piece, Span) else piece


def to_crlf(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Make each LF a CRLF; one that is there stays."""
    held = b""
    for piece in pieces:
        text = held + piece
        held = b"\r" if text.endswith(b"\r") else b""
        yield _BARE_LF.sub(b"\r\n", text[: len(text) - len(held)])
    yield held


def to_lf(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Make each line's end LF, the last one's too."""
    held, ends = b"", True
    for piece in pieces:
        text = held + piece
        held = b"\r" if text.endswith(b"\r") else b""
        text = _ANY_END.sub(b"\n", text[: len(text) - len(held)])
        if text:
            ends = text.endswith(b"\n")
            yield text
    if held or not ends:
        yield b"\n"
