"""A message as a transaction of a batch, and what became of one as a server's replies.

Promises: a content is read and written piece by piece; what a batch without parameters cannot say is told in notes.
Sources: RFC 2442 §2; RFC 5321 §4.2 (replies); RFC 2045 §6.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Final

from connectors.filedrop.formats.bsmtp.commands import mail_line, rcpt_line
from connectors.filedrop.formats.bsmtp.lines import stuffed
from connectors.filedrop.formats.bsmtp.settings import BsmtpSettings
from connectors.filedrop.formats.envelope_lines import to_xtext
from connectors.filedrop.formats.losses import LAST_LINE, ends_in_newline, envelope_losses
from connectors.filedrop.formats.values import Options
from gateway.contract import Action, Item, Note, Parcel, RecipientReport, Report, id_text

_PARAMETERS: Final = ("NOTIFY", "ORCPT", "RET", "ENVID")
_BASE64_LINE: Final = 57
_HELD: Final = 256 * 1024
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CODES: Final = {Action.DELAYED: "450", Action.FAILED: "550"}
_REPLY: Final = re.compile(r"[245][0-5][0-9](?= )")


def commands(parcel: Parcel, items: tuple[Item, ...], options: Options, settings: BsmtpSettings) -> list[str]:
    """Return the commands before a message's content. Raises: Refused; OSError where the content cannot be read."""
    envelope = parcel.envelope
    words = ""
    if settings.parameters:
        words += f" SIZE={parcel.content.size}"
        words += " BODY=8BITMIME" if parcel.content.traits.eight_bit else ""
        words += f" RET={envelope.ret.upper()}" if envelope.ret else ""
        words += f" ENVID={to_xtext(envelope.envid)}" if envelope.envid else ""
    lines = [mail_line(envelope.reverse_path, options.network, words)]
    lines += [rcpt_line(item, options.network, parameters=settings.parameters) for item in items]
    return [*lines, "DATA"]


def notes(parcel: Parcel, items: tuple[Item, ...], settings: BsmtpSettings) -> tuple[Note, ...]:
    """Return what the transaction does not tell, or tells otherwise. Raises: OSError."""
    if settings.parameters:
        told = envelope_losses(parcel, items, "the batch has no parameter for it", told=_PARAMETERS)
    else:
        why = "the batch has no parameters; set esmtp_parameters where its reader takes them"
        told = envelope_losses(parcel, items, why)
    return told if ends_in_newline(parcel.content) else (*told, LAST_LINE)


def greeting(options: Options, settings: BsmtpSettings) -> str:
    return f"{'EHLO' if settings.parameters else 'HELO'} {options.hostname}" if settings.greeting else ""


def transaction(lines: list[str], pieces: Iterable[bytes], newline: bytes) -> Iterator[bytes]:
    """Yield the commands, the content and its final dot. Raises: OSError as `pieces` does."""
    yield b"".join(line.encode() + newline for line in lines)
    yield from stuffed(iter(pieces), newline)
    yield b"." + newline


def wrapped(pieces: Iterator[bytes], settings: BsmtpSettings) -> Iterator[bytes]:
    """Make a MIME object of a whole batch (RFC 2442 §3)."""
    end = settings.newline
    yield end.join(
        (
            b"MIME-Version: 1.0",
            b"Content-Type: application/batch-SMTP",
            b"Content-Transfer-Encoding: " + settings.transfer_encoding.encode(),
            b"",
            b"",
        )
    )
    match settings.transfer_encoding:
        case "base64":
            yield from _base64(pieces, end)
        case "quoted-printable":
            yield from _quoted(pieces, end)
        case _:
            yield from pieces


def _base64(pieces: Iterator[bytes], end: bytes) -> Iterator[bytes]:
    held = b""
    for piece in pieces:
        held += piece
        whole = len(held) // _BASE64_LINE * _BASE64_LINE
        yield b"".join(_base64_lines(held[:whole], end))
        held = held[whole:]
    yield b"".join(_base64_lines(held, end))


def _base64_lines(octets: bytes, end: bytes) -> Iterator[bytes]:
    for at in range(0, len(octets), _BASE64_LINE):
        yield binascii.b2a_base64(octets[at : at + _BASE64_LINE], newline=False) + end


def _quoted(pieces: Iterator[bytes], end: bytes) -> Iterator[bytes]:
    """Whole lines are encoded at once, for a blank at a line's end is encoded and elsewhere is not."""
    held = b""
    for piece in pieces:
        held += piece
        whole = held.rfind(b"\n") + 1
        if whole:
            yield binascii.b2a_qp(held[:whole])
            held = held[whole:]
        elif len(held) > _HELD:
            yield binascii.b2a_qp(held) + b"=" + end
            held = b""
    yield binascii.b2a_qp(held)


def replies(report: Report, key: str, options: Options, settings: BsmtpSettings) -> Iterator[str]:
    """Yield the lines of a response file: what a server would have said to each command (RFC 2442 §1 has its history).

    With `echo` each command stands before its reply. The recipients are those that the report tells of.
    """
    dialogue = [
        (f"TICK {key}", f"250 {key}"),
        (mail_line(report.reverse_path, options.network), "250 2.1.0 sender ok"),
        *((f"RCPT TO:<{each.original.value}>", _reply(each)) for each in report.recipients),
        ("DATA", "354 go ahead"),
        (".", f"250 2.0.0 accepted as {id_text(report.message_id)}"),
    ]
    for command, reply in dialogue:
        for line in (command, reply) if settings.echo else (reply,):
            yield _CONTROL.sub(" ", line)


def _reply(each: RecipientReport) -> str:
    said = _REPLY.match(each.status.reply)
    by_class = {"2": "250", "4": "450", "5": "550"}[each.status.code[0]]
    code = said[0] if said is not None and said[0][0] == by_class[0] else _CODES.get(each.action, by_class)
    return f"{code} {each.status.code} <{each.original.value}> {each.status.text or each.action.value}"
