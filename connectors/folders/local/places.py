"""Places: which mailbox an address has, and where it lies. Pure.

Promises: no address and no rule leads out of the folders that the configuration names: a name with a slash, a
backslash, a control character or a dot in front is nobody's, and one that a file system cannot hold neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.contract import Address

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f/\\]")
_PLACE: Final = re.compile(r"\{(?:mailbox|user|domain)\}")
_MOST_OCTETS: Final = 200
"""Of a name, so that NAME.lock and what else stands beside a mailbox has names, too."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox's name, and its parts before and behind the @."""

    name: str
    user: str
    domain: str


def mailbox_of(address: Address, subaddress: str, name: str = "") -> Mailbox | None:
    """Return the mailbox that an address has, or that is called so; None where no mailbox can be."""
    user, _, domain = address.key.rpartition("@") if "@" in address.key else (address.key, "", "")
    if name:
        own, _, at = name.rpartition("@") if "@" in name else (name, "", "")
        found = Mailbox(name, own, at or domain)
    else:
        if subaddress and not user.startswith('"'):
            user = user.partition(subaddress)[0] or user
        found = Mailbox(f"{user}@{domain}" if domain else user, user, domain)
    return found if all(map(_is_safe, (found.name, found.user, found.domain or "-"))) else None


def _is_safe(part: str) -> bool:
    # A quoted local part names what no file is to be called.
    return not (
        not part
        or part.startswith((".", '"'))
        or _UNSAFE.search(part)
        or len(part.encode("utf-8", "surrogatepass")) > _MOST_OCTETS
        or "\ud800" <= max(part) <= "\udfff"
    )


def path_of(template: str, mailbox: Mailbox, base: Path) -> Path:
    """Return a template's path for a mailbox; relative ones begin at `base`."""
    values = {"{mailbox}": mailbox.name, "{user}": mailbox.user, "{domain}": mailbox.domain or "-"}
    # In one pass: a name may read like a place itself.
    return base / _PLACE.sub(lambda found: values[found[0]], template)


def root_of(template: str, base: Path) -> Path:
    """Return the folder that all of a template's paths lie in: it is there before any mailbox is."""
    return base / (template.partition("{")[0].rpartition("/")[0] or "/")
