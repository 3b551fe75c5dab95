"""A server that has not all that the one behind it has: what it does not offer, it does not take either."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from tests.peers.imap_filter import Answer, Command, ImapFilter

USES: Final[Mapping[str, re.Pattern[bytes]]] = {
    "BINARY": re.compile(rb"~\{"),
    "CONDSTORE": re.compile(rb"MODSEQ|CHANGEDSINCE|CONDSTORE"),
    "ENABLE": re.compile(rb"^\S+ ENABLE"),
    "ESEARCH": re.compile(rb"SEARCH RETURN"),
    "IDLE": re.compile(rb"^\S+ IDLE"),
    "LIST-EXTENDED": re.compile(rb'LIST "" "\*" RETURN'),
    "LIST-STATUS": re.compile(rb"RETURN \(.*STATUS"),
    "MOVE": re.compile(rb"^\S+ (?:UID )?MOVE"),
    "NAMESPACE": re.compile(rb"^\S+ NAMESPACE"),
    "QRESYNC": re.compile(rb"VANISHED|QRESYNC"),
    "SPECIAL-USE": re.compile(rb"SPECIAL-USE"),
    "UIDPLUS": re.compile(rb"UID EXPUNGE"),
    "UNSELECT": re.compile(rb"^\S+ UNSELECT"),
}
"""How each is seen to be used."""
ALL: Final = (*sorted(USES), "LITERAL+", "MULTIAPPEND", "SASL-IR", "ID", "CHILDREN", "AUTH=PLAIN")
_OFFERS: Final = re.compile(rb"(\* CAPABILITY |\[CAPABILITY )([^\]\r\n]*)")
_CODES: Final = re.compile(rb"\[(?:APPENDUID|COPYUID) [^\]]*\] ")
_ROLES: Final = re.compile(rb" ?\\(?:Sent|Trash|Drafts|Junk|Archive)(?=[ )])")
_MODSEQ: Final = re.compile(rb"\[HIGHESTMODSEQ [0-9]+\]")


class Without(ImapFilter):
    """The server in front of the one at `behind`. `used` is what was asked for all the same, which it refuses."""

    def __init__(self, behind: int, lacks: Collection[str]) -> None:
        super().__init__(behind, self._answer, self._alter)
        self._lacks = frozenset(each.encode() for each in lacks) | {b"COMPRESS=DEFLATE"}
        self.used: list[bytes] = []

    def _answer(self, command: Command) -> Answer:
        uses = any(found.search(command.text) for name, found in USES.items() if name.encode() in self._lacks)
        if uses or (b"MULTIAPPEND" in self._lacks and command.verb == "APPEND" and len(command.literals) > 1):
            self.used.append(command.text)
            return b"BAD that is not offered"
        return None

    def _alter(self, response: bytes) -> bytes | None:
        line, ending, rest = response.partition(b"\r\n")
        line = _OFFERS.sub(self._fewer, line)
        if b"UIDPLUS" in self._lacks:
            line = _CODES.sub(b"", line)
            if line.startswith(b"* OK ") and b"Moved UIDs" in line:
                return None
        if b"CONDSTORE" in self._lacks:
            line = _MODSEQ.sub(b"[NOMODSEQ]", line)
        if b"SPECIAL-USE" in self._lacks and line.startswith(b"* LIST"):
            line = _ROLES.sub(b"", line)
        return line + ending + rest

    def _fewer(self, found: re.Match[bytes]) -> bytes:
        return found[1] + b" ".join(each for each in found[2].split() if each.upper() not in self._lacks)
