"""Node: the number of a system of a FidoNet technology network, `2:280/464.1`, perhaps with `@network` behind it.

Source: FTS-5000 (notation), FTS-4001 (ranges). The ranges are those of the 16-bit words that packets hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

_NODE: Final = re.compile(r"(?:([0-9]{1,5}):)?([0-9]{1,5})/([0-9]{1,5})(?:\.([0-9]{1,5}))?(?:@([A-Za-z0-9._-]{1,60}))?")
_LARGEST: Final = 65535


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """One system. `zone` is 0 where it is not known, `point` 0 for the node itself; `domain` is in lower case."""

    zone: int
    net: int
    node: int
    point: int = 0
    domain: str = ""

    def __str__(self) -> str:
        return f"{self.without_domain}@{self.domain}" if self.domain else self.without_domain

    @property
    def without_domain(self) -> str:
        """Return `zone:net/node.point`; without a point that is 0."""
        return f"{self.boss_text}.{self.point}" if self.point else self.boss_text

    @property
    def boss_text(self) -> str:
        """Return `zone:net/node`, as INTL has it."""
        return f"{self.zone}:{self.net}/{self.node}"

    @property
    def boss(self) -> Node:
        """Return the node that a point belongs to; a node itself is its own."""
        return replace(self, point=0) if self.point else self

    @property
    def bare(self) -> Node:
        """Return it without its network's name, for comparisons."""
        return replace(self, domain="") if self.domain else self


def read_node(text: str, zone: int = 0) -> Node | None:
    """Read a node's number; `zone` completes one without. None where it is none."""
    match = _NODE.fullmatch(text.strip())
    if match is None:
        return None
    node = Node(int(match[1] or zone), int(match[2]), int(match[3]), int(match[4] or 0), (match[5] or "").lower())
    return None if max(node.zone, node.net, node.node, node.point) > _LARGEST else node
