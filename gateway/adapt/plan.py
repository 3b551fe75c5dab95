"""The plan of an adaptation: which steps a content needs for a destination. Pure, and quick where it needs none.

Adaptation is chosen by Capabilities, never by a network's name. The order of the steps is the order of `Step`.
"""

from __future__ import annotations

from enum import Enum, unique

from gateway.contract import Capabilities
from gateway.message import Content, Traits
from gateway.octets import has_longer_line


@unique
class Step(Enum):
    """What may have to be done to a content, in this order."""

    ADDRESSES = "header addresses rewritten"
    """Always looked at: what it comes to depends on the mapping."""
    PLAIN_ADDRESSES = "header addresses brought to ASCII"
    HEAD = "header encoded and folded"
    BODY = "body parts encoded"
    """Before OCTETS: a part that is encoded keeps its NULs and its line ends."""
    OCTETS = "NUL and bare line ends mended"


def plan(
    traits: Traits, capabilities: Capabilities, *, long_lines: bool, long_head: bool, head_eight_bit: bool,
    internationalized: bool = False,
) -> tuple[Step, ...]:  # fmt: skip
    """Return the steps after ADDRESSES, none where the octets can go as they are.

    `long_lines`: a line of header or body is over `max_line_octets`; `long_head`: one of the header is over 998.
    `internationalized`: the message was declared to be one (SMTPUTF8), so that its header beyond ASCII goes only to
    who takes such addresses (RFC 6531 §3.6); raw 8-bit octets that nobody declared are content like any.
    """
    steps: list[Step] = []
    if head_eight_bit and not capabilities.utf8_addresses:
        steps.append(Step.PLAIN_ADDRESSES)
    nul = traits.nul and not capabilities.nul
    newlines = not (traits.crlf_only or capabilities.bare_newlines)
    seven_bit = traits.eight_bit and not capabilities.eight_bit
    if long_head or (head_eight_bit and (seven_bit or (internationalized and not capabilities.utf8_addresses))):
        steps.append(Step.HEAD)
    if seven_bit or long_lines or nul or newlines:
        steps.append(Step.BODY)
    if nul or newlines:
        steps.append(Step.OCTETS)
    return tuple(steps)


def longer_line_in(content: Content, most: int) -> bool:
    """Say the same of a content of any size; blocks on a Blob."""
    if content.is_inline:
        return has_longer_line(content.octets(), most)
    held = b""
    for chunk in content.chunks():
        octets = held + chunk
        cut = octets.rfind(b"\n") + 1
        if has_longer_line(octets[:cut], most):
            return True
        held = octets[cut:]
        if len(held) > most + 1:
            return True
    return has_longer_line(held, most)
