"""What a message needs of a destination, held against what the destination declares in its Capabilities.

A need that is declared met is tested for being met; one declared unmet is tested for being unmet, so that a false
declaration fails either way.
"""

from __future__ import annotations

from gateway.contract import Capabilities, Content


def beyond(octets: bytes, capabilities: Capabilities) -> list[str]:
    """Return, in words, which forms of these octets the destination declares that its network does not have."""
    traits = Content(octets).traits
    found = []
    if traits.eight_bit and not capabilities.eight_bit:
        found.append("octets over 127 (eight_bit=False)")
    if traits.nul and not capabilities.nul:
        found.append("NUL octets (nul=False)")
    if not traits.crlf_only and not capabilities.bare_newlines:
        found.append("bare CR or LF (bare_newlines=False)")
    return found


def over_limits(octets: bytes, capabilities: Capabilities) -> list[str]:
    """Return, in words, which limits that the destination declares these octets are over.

    A limit is where others' promises end: beyond it a destination may still carry a content, or may not.
    """
    found = []
    longest = max(len(line) for line in octets.split(b"\r\n"))
    if capabilities.max_line_octets is not None and longest > capabilities.max_line_octets:
        found.append(f"a line of {longest} octets (max_line_octets={capabilities.max_line_octets})")
    if capabilities.max_size_bytes is not None and len(octets) > capabilities.max_size_bytes:
        found.append(f"{len(octets)} octets (max_size_bytes={capabilities.max_size_bytes})")
    return found
