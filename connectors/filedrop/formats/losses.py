"""What a file does not tell of a message, as notes for its trace: so that nothing is lost without a word.

Each function looks at what a message has, and is told what the format carries of it. Pure but for reading a content.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice
from typing import Final

from gateway.contract import Address, Content, Fate, Item, Note, Notify, Parcel

LAST_LINE: Final = Note(Fate.MAPPED, "last line", "it had no end and got one, as the format needs it")

_SHOWN: Final = 40
"""Header fields that a note names; a message may have thousands."""
_MIME: Final = frozenset(
    (b"mime-version", b"content-type", b"content-transfer-encoding", b"content-disposition", b"content-language")
)
"""Fields that say how the content is written, and go with that."""


def envelope_losses(parcel: Parcel, items: Sequence[Item], why: str, *, told: Collection[str] = ()) -> tuple[Note, ...]:
    """Return a note for each thing but addresses that the envelope has, and that is not among those `told`."""
    envelope = parcel.envelope
    there = {
        "NOTIFY": any(item.notify is not Notify.UNSET for item in items),
        "ORCPT": any(item.orcpt for item in items),
        "RET": envelope.ret is not None,
        "ENVID": envelope.envid is not None,
        "priority": envelope.priority != 0,
    }
    return tuple(Note(Fate.DROPPED, f"envelope {name}", why) for name, has in there.items() if has and name not in told)


def path_losses(parcel: Parcel, shown: Address | None, why: str) -> tuple[Note, ...]:
    """Return a note where the reverse-path is another than the sender that a file shows."""
    path = parcel.envelope.reverse_path
    if path is None:
        return (Note(Fate.DROPPED, "null reverse-path", why),)
    return () if path == shown else (Note(Fate.DROPPED, f"reverse-path {path.value}", why),)


def field_losses(content: Content, carried: Collection[bytes], why: str) -> tuple[Note, ...]:
    """Return a note that names the header fields that are not among those carried (lower-case; `x-a-` a beginning)."""
    head = content.head
    begins = tuple(name for name in carried if name.endswith(b"-"))
    lost: dict[bytes, str] = {}
    for one in content.fields:
        if one.name and one.name not in carried and one.name not in _MIME and not one.name.startswith(begins):
            lost.setdefault(one.name, head[one.start : one.value_start].rstrip(b": \t").decode("ascii", "replace"))
    if not lost:
        return ()
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    return (Note(Fate.DROPPED, "header fields " + ", ".join(islice(lost.values(), _SHOWN)) + more, why),)


def reference_losses(content: Content, carried: Collection[str], why: str) -> tuple[Note, ...]:
    """Return a note where References names other messages than those `carried`."""
    value = content.get(b"references")
    if value is None or set(value.decode("latin-1").split()) <= set(carried):
        return ()
    return (Note(Fate.MAPPED, "References", why),)


def ends_in_newline(content: Content) -> bool:
    """Tell whether the last line has its end. Raises: OSError."""
    source = content.source
    if isinstance(source, bytes):
        last = source[-1:] if len(source) > content.offset else content.front[-1:]
    elif source.size > content.offset:
        last = source.read(source.size - 1, 1)
    else:
        last = content.front[-1:]
    return last in (b"", b"\n")
