"""Which folder is which on the other side: by role, then by path, with names written as each side can hold them.

A character that a side can't have in a name is written as `%` and its UTF-8 octets in hexadecimal, and read back only
from a side that can't have it: a name comes back from a way through any side.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Final

from gateway.mailbox import Folder, Holds
from gateway.sync.values import FolderPair, Mode, Policy, Side

_PUNCTUATION: Final = frozenset(string.punctuation) - frozenset("-_")
_ESCAPED: Final = re.compile(r"(?:%[0-9A-F]{2})+")


def escaped(name: str, holds: Holds) -> str:
    """Return a name as a store can hold it."""
    return "".join(
        "".join(f"%{octet:02X}" for octet in char.encode()) if char in holds.forbidden_in_names else char
        for char in name
    )


def all_escaped(name: str) -> str:
    """Return a name without any punctuation, for a store that refuses it and does not say which sign it is."""
    return "".join(f"%{ord(char):02X}" if char in _PUNCTUATION else char for char in name)


def unescaped(name: str, holds: Holds) -> str:
    """Return what `escaped` made a name of at this store."""

    def read(found: re.Match[str]) -> str:
        try:
            text = bytes.fromhex(found[0].replace("%", "")).decode()
        except ValueError:
            return found[0]
        return text if all(char in holds.forbidden_in_names for char in text) else found[0]

    return _ESCAPED.sub(read, name)


def is_wanted(path: Sequence[str], policy: Policy) -> bool:
    """Tell whether a folder is one of those that are kept in step."""
    name = "/".join(path)
    if any(fnmatchcase(name, pattern[1:]) for pattern in policy.folders if pattern.startswith("!")):
        return False
    wanted = [pattern for pattern in policy.folders if not pattern.startswith("!")]
    return not wanted or any(fnmatchcase(name, pattern) for pattern in wanted)


def path_across(
    path: Sequence[str], here: Holds, there: Holds, same: Mapping[tuple[str, ...], tuple[str, ...]]
) -> tuple[str, ...]:
    """Return a folder's path on the other side. `same`: what is paired already, by the path here."""
    for depth in range(len(path), 0, -1):
        found = same.get(tuple(path[:depth]))
        if found is not None:
            return (*found, *(escaped(unescaped(name, here), there) for name in path[depth:]))
    return tuple(escaped(unescaped(name, here), there) for name in path)


@dataclass(slots=True)
class Paired:
    """Pairs of folders: an id is None where the folder is still to be made, or is gone. `lost` are by number those
    that were there and are not any more, `renamed` the new paths of the right's folders."""

    pairs: list[FolderPair] = field(default_factory=list)
    paths: dict[int, dict[Side, tuple[str, ...]]] = field(default_factory=dict)
    """By the place in `pairs`: where each folder is, or is to be."""
    lost: list[tuple[int, Side]] = field(default_factory=list)
    """(Place in `pairs`, side)."""
    renamed: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    collisions: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def pair_folders(
    lefts: Iterable[Folder],
    rights: Iterable[Folder],
    known: Iterable[FolderPair],
    holds: tuple[Holds, Holds],
    policy: Policy,
    mode: Mode,
) -> Paired:
    """Return which folders go together."""
    made = Paired()
    left = {folder.id: folder for folder in lefts if is_wanted(folder.path, policy)}
    right = {folder.id: folder for folder in rights if folder.role != "view" or holds[1].labels}
    across: dict[tuple[str, ...], tuple[str, ...]] = {}
    back: dict[tuple[str, ...], tuple[str, ...]] = {}

    def add(pair: FolderPair, one: tuple[str, ...], two: tuple[str, ...]) -> int:
        made.pairs.append(pair)
        made.paths[len(made.pairs) - 1] = {"left": one, "right": two}
        across[one] = two
        back[two] = one
        return len(made.pairs) - 1

    for pair in known:
        one, two = left.pop(pair.left or "", None), right.pop(pair.right or "", None)
        here = one.path if one is not None else pair.path
        there = two.path if two is not None else path_across(here, *holds, across)
        place = add(replace(pair, left=one.id if one else None, right=two.id if two else None, path=here), here, there)
        if one is None and pair.left is not None:
            made.lost.append((place, "left"))
        if two is None and pair.right is not None:
            made.lost.append((place, "right"))
        if one is not None and two is not None and one.path != pair.path and one.role is None:
            del across[here]
            wanted = path_across(here, *holds, across)
            across[here] = wanted
            back[wanted] = here
            made.renamed.append((place, wanted))
    by_path = {folder.path: folder for folder in right.values()}
    alike: dict[str, list[tuple[str, ...]]] = {}
    """Paths on the right that differ in case alone, by how they are without."""
    for there in across.values():
        alike.setdefault(_folded(there), []).append(there)
    by_role = {folder.role: folder for folder in right.values() if folder.role not in (None, "view")}
    for one in sorted(left.values(), key=lambda folder: (folder.role is None, len(folder.path), folder.path)):
        if one.role == "view" and not holds[0].labels:
            made.left_out.append(f"{'/'.join(one.path)}: it shows what is in other folders")
            continue
        if one.kind not in holds[1].kinds:
            made.left_out.append(f"{'/'.join(one.path)}: {one.kind}")
            continue
        two = by_role.get(one.role) if one.role is not None else None
        wanted = path_across(one.path, *holds, across)
        if two is None or two.id not in right or two.kind != one.kind:
            refused = (*wanted[:-1], all_escaped(wanted[-1]))  # as it is made where the name is refused
            same = [found for path in (wanted, refused) if (found := by_path.get(path)) is not None]
            two = next((each for each in same if each.id in right and each.kind == one.kind), None)
        if two is not None:
            del right[two.id]
        elif clash := next((path for path in alike.get(_folded(wanted), ()) if path != wanted), None):
            made.collisions.append(f"{'/'.join(one.path)} and {'/'.join(back[clash])} differ in case alone")
        at = two.path if two is not None else wanted
        add(FolderPair(0, one.id, two.id if two else None, one.path, kind=one.kind), one.path, at)
        alike.setdefault(_folded(at), []).append(at)
    if mode == "two-way":
        for two in sorted(right.values(), key=lambda folder: (len(folder.path), folder.path)):
            path = path_across(two.path, holds[1], holds[0], back)
            if not is_wanted(path, policy):
                continue
            if two.kind in holds[0].kinds:
                add(FolderPair(0, None, two.id, path, kind=two.kind), path, two.path)
            else:
                made.left_out.append(f"{'/'.join(two.path)}: {two.kind}")
    return made


def _folded(path: tuple[str, ...]) -> str:
    return "/".join(path).casefold()
