"""What a codec may offer beyond `Codec`, found by name: for formats that are more than files in a folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from connectors.filedrop.formats import Codec
from connectors.filedrop.layouts import Layout
from gateway.mailbox_files import Operations


def _any_name(name: str) -> bool:
    return True


def _same_stem(stem: str) -> str:
    return stem


@dataclass(frozen=True, slots=True)
class Extras:
    """A codec's attributes of these names; the defaults are those of a codec that has none of them."""

    folders: tuple[str, ...] = ("",)
    """Folders inside the inbox that files are taken from."""
    is_message: Callable[[str], bool] = _any_name
    """Whether a file of this name, complete by the hand-over's rule, holds messages."""
    guard: Callable[[Path, Operations], AbstractContextManager[None]] | None = None
    """Locks a mailbox that others write while it is claimed or removed; BlockingIOError where another has it."""
    layout: Callable[[Path, Operations], Layout | None] | None = None
    """Makes the outbox's Layout; None, or a result of None: `FilesLayout`."""
    file_stem: Callable[[str], str] = _same_stem
    """Makes the name, without extension, that the other system looks for."""
    max_recipients_a_file: int | None = None
    """The most recipients that one message names, where it names several."""
    status_extension: str | None = None
    """The end of the names of its own status files."""
    status_is_message: bool = False
    """Its own status files are messages of the format: they are opened and closed, and laid out, as those are."""


def extras_of(codec: Codec) -> Extras:
    """Return what a codec offers."""
    found = {name: getattr(codec, name) for name in Extras.__dataclass_fields__ if hasattr(codec, name)}
    return Extras(**found)
