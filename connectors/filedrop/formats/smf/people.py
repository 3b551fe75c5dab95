"""Addresses in SMF files: `user@workgroup (Real Name)`, `user@gate {what lies behind}`, in lists with commas.

Promises: linear; what `written` gives is read back as the same address, and as the same name but for brackets.
Source: Microsoft's Q116466 and KB 112911.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Final

from connectors.filedrop.formats.addresses import (
    ListError,
    from_imcea,
    in_network,
    read_list,
    read_one,
    to_imcea,
    write_one,
)
from connectors.filedrop.formats.header_envelope import Mistake
from connectors.filedrop.formats.smf.grammar import Field, clean
from connectors.filedrop.formats.smf.settings import SmfSettings
from connectors.filedrop.formats.values import Options
from gateway.contract import Address, AddressError, Mailbox
from mappings.network import network

MAX_NAME: Final = 66
"""Characters of the comment behind an address."""

_TOKEN: Final = re.compile(
    r"(?P<extended>\{[^{}]*\})|(?P<comment>\([^()]*\))|(?P<quoted>\"[^\"]*\")|(?P<comma>,)|(?P<text>[^,(){}\"]+|.)",
    re.DOTALL,
)
_BRACKETS: Final = str.maketrans('(){}<>"', "[][][]'")


def read_people(field: Field, options: Options) -> list[Mailbox]:
    """Return the people that a field names, in order. Raises: Mistake."""
    found = []
    for address, name in _entries(field.value):
        try:
            found.append(_person(address, name, options))
        except (AddressError, ListError) as e:
            text = f"{e.message} ({e.rule})" if isinstance(e, AddressError) else str(e)
            raise Mistake(
                "bad-address",
                field.offset,
                text,
                "write user@workgroup (Real Name), with commas between several",
                address.encode("utf-8", "replace"),
            ) from None
    return found


def _entries(value: str) -> Iterator[tuple[str, str]]:
    """Yield each entry of a list: the address, and the comment behind it."""
    address, name = "", ""
    for token in _TOKEN.finditer(value + ","):
        match token.lastgroup:
            case "comma":
                if address.strip():
                    yield " ".join(address.split()), clean(name)
                address, name = "", ""
            case "comment":
                name = name or token[0][1:-1]
                address += " "
            case _:
                address += token[0]


def _person(text: str, name: str, options: Options) -> Mailbox:
    if text.endswith(">") and "{" not in text:
        specs = read_list(text)
        if len(specs) == 1:
            before = text[: text.index("<")].strip().strip('"')
            address = in_network(specs[0], options.network)
            return Mailbox(name or clean(before), from_imcea(address) or address)
    address = read_one(text, options.network)
    return Mailbox(name, from_imcea(address) or address)


@lru_cache(4096)
def written(box: Mailbox, options: Options, charset: str) -> str | None:
    """Return a person as an SMF file names one; None where no form of the address is read back as it."""
    text = next((form for form in _forms(box.address, options) if _is_one(form, box.address, options, charset)), None)
    name = clean(box.name.translate(_BRACKETS))[:MAX_NAME].strip()
    return f"{text} ({name})" if text and name else text


def _forms(address: Address, options: Options) -> Iterator[str]:
    """Yield the forms of an address, the first choice first."""
    own = network(address.network)
    if address.network == options.network:
        # Its own form is what the other system knows, also where we would read it as an internet address.
        yield own.format(address)
    yield write_one(address, options.network)
    with suppress(AddressError):
        yield own.format(address, "ascii")
    yield to_imcea(address, options.hostname)


def _is_one(text: str, address: Address, options: Options, charset: str) -> bool:
    """Tell whether a text is one entry of a list, and names this address or the same words."""
    entries = list(_entries(text))
    if len(entries) != 1 or entries[0] != (text, ""):
        return False
    try:
        text.encode(charset)
        read = _person(text, "", options).address
    except (UnicodeEncodeError, AddressError, ListError):
        return False
    return read == address or (address.network == options.network and read.value == address.value)


def is_renamed(box: Mailbox) -> bool:
    """Tell whether a name is written otherwise than it is."""
    return clean(box.name.translate(_BRACKETS))[:MAX_NAME].strip() != clean(box.name)


def postmaster(options: Options, settings: SmfSettings) -> Address:
    """Return whom notifications are from. Raises: ValueError where the setting is no address."""
    try:
        return read_one(settings.postmaster, options.network)
    except AddressError as e:
        raise ValueError(f"postmaster = {settings.postmaster!r}: {e.message}") from None
