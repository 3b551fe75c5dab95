"""Messages made fit for Exchange's Pickup folder, which reads no envelope but that of the header.

Promises: a file that is put goes to its recipients and to nobody else; what Pickup refuses is mended where that can
be, and what it takes away or cannot carry is told in a note. Body octets stay. Pure.
What Pickup does: it sends to everybody in To, Cc and Bcc, in the name of From, or of Sender where From has several
addresses; it takes Bcc, Received and Resent fields away; it refuses a header over 64 KiB, or over 100 recipients.
Source: Microsoft's "Pickup directory and Replay directory" and "Configure the Pickup directory and the Replay
directory". Not tried against an Exchange server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connectors.filedrop.formats.addresses import ListError, Spec, in_network, read_list, to_imcea
from connectors.filedrop.formats.header_envelope import HeaderLine, header_lines
from connectors.filedrop.formats.values import Options
from gateway.contract import Address, AddressError, Content, Fate, Item, Note, Parcel
from mappings.network import network

MAX_HEADER: Final = 64 * 1024
MAX_RECIPIENTS: Final = 100

_SHOWN: Final = (b"to", b"cc")
_TAKEN_AWAY: Final = "Exchange's Pickup takes it away"
_SPARED: Final = (b"received", b"arc-", b"dkim-", b"authentication-results", b"x-")
"""Fields that go first where a header is too long, in this order; names that end in a hyphen are beginnings."""


def fit(parcel: Parcel, items: Sequence[Item], options: Options) -> tuple[Content, tuple[Note, ...]]:
    """Return the content as a file for these recipients has it."""
    content = parcel.content
    added: list[str] = []
    notes: list[Note] = []
    wanted = [item.address for item in items]
    lines = _fit_recipients(header_lines(content), wanted, options, added, notes)
    lines = _fit_sender(lines, parcel.envelope.reverse_path, options, added, notes)
    for name, what in ((b"received", "Received"), (b"resent-", "Resent fields")):
        if any(line.name.startswith(name) for line in lines):
            notes.append(Note(Fate.DROPPED, what, _TAKEN_AWAY))
    lines = [line for line in lines if not line.name.startswith(b"resent-")]
    lines = _fit_length(lines, sum(map(len, added)) + 2 * len(added), notes)
    head = content.head
    newline = b"\r\n" if b"\r\n" in head or b"\n" not in head else b"\n"
    made = b"".join(head[line.start : line.end] for line in lines)
    if made and not made.endswith(b"\n"):
        made += newline
    made += b"".join(line.encode("utf-8", "replace") + newline for line in added)
    return (content if made == head else content.with_head(made)), tuple(notes)


def _fit_recipients(
    lines: Sequence[HeaderLine], wanted: list[Address], options: Options, added: list[str], notes: list[Note]
) -> list[HeaderLine]:
    """Name all who get this file, and nobody else, in To, Cc and Bcc."""
    kept = [line for line in lines if line.name != b"bcc"]
    named = {name: _named(kept, name, options) for name in _SHOWN}
    here = set(wanted)
    others = any(address not in here for found in named.values() for _, address in found)
    shown = {address for found in named.values() for _, address in found}
    if others:
        kept = [line for line in kept if line.name not in _SHOWN]
        for line in lines:
            if line.name in _SHOWN and (text := " ".join(line.text.split())):
                added.append(f"X-Original-{line.name.decode().title()}: {_one_line(text)}")
        for name, found in named.items():
            specs = [spec for spec, address in found if address in here]
            if specs:
                added.append(_list(name.decode().title(), specs))
        notes.append(
            Note(
                Fate.MAPPED, "To and Cc", "Pickup sends to all they name; as they were, they are X-Original-To and -Cc"
            )
        )
    hidden = [_spec(address, options) for address in wanted if address not in shown]
    if hidden:
        added.append(_list("Bcc", hidden))
    return kept


def _named(lines: Sequence[HeaderLine], name: bytes, options: Options) -> list[tuple[str, Address | None]]:
    """Return the addresses of a field: as written, and as read; None for what cannot be read."""
    found: list[tuple[str, Address | None]] = []
    for line in lines:
        if line.name == name:
            try:
                specs = read_list(line.text)
            except ListError:
                found.append(("", None))
                continue
            found += [(f"{spec.local}@{spec.domain}", _read(spec, options)) for spec in specs]
    return found


def _read(spec: Spec, options: Options) -> Address | None:
    try:
        return in_network(spec, options.network)
    except AddressError:
        return None


def _fit_sender(
    lines: Sequence[HeaderLine], sender: Address | None, options: Options, added: list[str], notes: list[Note]
) -> list[HeaderLine]:
    """Have one address in From, or one in Sender; tell where it is not the envelope's."""
    kept = list(lines)
    own = _spec(sender, options) if sender is not None else f"postmaster@{options.hostname}"
    authors = _named(kept, b"from", options)
    if not authors or any(address is None for _, address in authors):
        if any(line.name == b"from" for line in kept):
            notes.append(Note(Fate.MAPPED, "From", "Pickup cannot read it; as it was, it is X-Original-From"))
            added += [
                f"X-Original-From: {_one_line(line.text)}" for line in kept if line.name == b"from" and line.value
            ]
        else:
            notes.append(Note(Fate.MAPPED, "From", "Pickup needs one; made of the envelope's sender"))
        kept = [line for line in kept if line.name not in (b"from", b"sender")]
        added.append(f"From: {own}")
        effective = sender
    elif len(authors) > 1:
        named = _named(kept, b"sender", options)
        if len(named) != 1 or named[0][1] is None:
            kept = [line for line in kept if line.name != b"sender"]
            added.append(f"Sender: {own}")
            notes.append(Note(Fate.MAPPED, "Sender", "Pickup needs one beside several addresses in From"))
            effective = sender
        else:
            effective = named[0][1]
    else:
        effective = authors[0][1]
    if sender is None:
        notes.append(Note(Fate.DROPPED, "null reverse-path", "Pickup takes the sender from the header alone"))
    elif effective != sender:
        notes.append(Note(Fate.DROPPED, "reverse-path", "Pickup takes the sender from the header; bounces go there"))
    return kept


def _fit_length(lines: Sequence[HeaderLine], added: int, notes: list[Note]) -> list[HeaderLine]:
    """Leave fields out until the header is short enough, those that matter least first."""
    size = added + sum(line.end - line.start for line in lines)
    gone: dict[int, str] = {}
    for beginning in _SPARED:
        for line in lines:
            if size <= MAX_HEADER:
                break
            if line.name.startswith(beginning) and (beginning.endswith(b"-") or line.name == beginning):
                gone[line.start] = line.name.decode("latin-1")
                size -= line.end - line.start
    why = "Pickup takes a header of 64 KiB at most"
    notes += [Note(Fate.DROPPED, name, why) for name in dict.fromkeys(gone.values())]
    if size > MAX_HEADER:
        notes.append(Note(Fate.KEPT, "header", "it is over 64 KiB, which Pickup refuses; it leaves the file as .bad"))
    return [line for line in lines if line.start not in gone]


def _spec(address: Address, options: Options) -> str:
    """Return an address as an addr-spec, encapsulated where its network has none."""
    if address.network in ("smtp", options.network):
        own = network(address.network).to_addr_spec(address)
        if own is not None:
            return own
    return address.value if address.network == "smtp" else to_imcea(address, options.hostname)


def _list(name: str, specs: Sequence[str]) -> str:
    return f"{name}: " + ",\r\n ".join(dict.fromkeys(specs))


def _one_line(text: str) -> str:
    """Return a value that stays in its field, folded at blanks."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > 76:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\r\n ".join(lines)
