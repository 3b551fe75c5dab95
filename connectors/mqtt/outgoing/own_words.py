"""Own words: a text without the message that it answers, which mail programs quote above or below.

Promises: what is left is whole lines of the text, in their order; nothing is taken but
- lines that are quoted (`>`), and the line before them that says who wrote them (an address, a date or a time, or a
  word such as `wrote`, and a colon at the end);
- all from a line that begins the original unquoted: `-----Original Message-----` and its like in other languages, or
  the three or more header lines that Outlook writes, with the line of `_` above them;
- all from the line `-- ` (RFC 3676 §4.3), which begins a signature.
Known limits: no standard says how an original is quoted; what looks otherwise stays. A text whose own lines begin with
`>` loses them.
"""

from __future__ import annotations

import re
from typing import Final

_QUOTED: Final = re.compile(r"[ \t]{0,3}>")
_SIGNATURE: Final = "-- "
_ORIGINAL: Final = re.compile(
    r"\s*-{2,}\s*(?:original message|original appointment|forwarded message|ursprüngliche nachricht|"
    r"originalnachricht|message d['\u2019]origine|message original|mensaje original|messaggio originale|"
    r"mensagem original|oorspronkelijk bericht|alkuperäinen viesti|ursprungligt meddelande|oprindelig meddelelse|"
    r"opprinnelig melding|wiadomość oryginalna|исходное сообщение)\s*-{2,}\s*",
    re.IGNORECASE,
)
_RULE: Final = re.compile(r"\s*_{10,}\s*")
_HEADER: Final = re.compile(
    r"\s*\*?(from|sent|date|to|cc|subject|von|gesendet|datum|an|betreff|de|envoyé|date|à|objet|enviado(?: el)?|para|"
    r"asunto|assunto|da|inviato|a|oggetto|van|verzonden|aan|onderwerp|lähettäjä|lähetetty|vastaanottaja|aihe|från|"
    r"skickat|till|ämne|fra|sendt|til|emne)\s{0,3}:\*?\s",
    re.IGNORECASE,
)
_SENDER: Final = re.compile(r"\s*\*?(?:from|von|de|da|van|lähettäjä|från|fra)\s{0,3}:", re.IGNORECASE)
_LEAST_HEADERS: Final = 3
_WROTE: Final = re.compile(
    r"@|\d{1,2}[:.]\d{2}|\b(?:19|20)\d{2}\b|"
    r"\b(?:wrote|writes|said|schrieb|a écrit|escribió|ha scritto|schreef|skrev|escreveu|kirjoitti|napisał|написал)",
    re.IGNORECASE,
)
_ATTRIBUTION_LINES: Final = 3
_ATTRIBUTION_CHARS: Final = 300


def own_words(text: str) -> str:
    """Return a text without what it quotes, and without empty lines at both ends; empty where nothing is left."""
    lines = text.replace("\r\n", "\n").split("\n")
    lines = lines[: _end(lines)]
    kept: list[str] = []
    for line in lines:
        if not _QUOTED.match(line):
            kept.append(line)
            continue
        _drop_attribution(kept)
    while kept and not kept[-1].strip():
        kept.pop()
    while kept and not kept[0].strip():
        kept.pop(0)
    return "\n".join(kept)


def _end(lines: list[str]) -> int:
    """Return the number of the first line of an unquoted original or of a signature."""
    for number, line in enumerate(lines):
        if line == _SIGNATURE or _ORIGINAL.fullmatch(line) or _is_head(lines, number):
            return number
        if _RULE.fullmatch(line) and _is_head(lines, _next(lines, number + 1)):
            return number
    return len(lines)


def _is_head(lines: list[str], number: int) -> bool:
    """Say whether the header of an original begins here: who sent it, and at least two lines more."""
    if number >= len(lines) or not _SENDER.match(lines[number]):
        return False
    count = 0
    for line in lines[number : number + 8]:
        if not _HEADER.match(f"{line} "):
            break
        count += 1
    return count >= _LEAST_HEADERS


def _next(lines: list[str], number: int) -> int:
    while number < len(lines) and not lines[number].strip():
        number += 1
    return number


def _drop_attribution(kept: list[str]) -> None:
    """Take off the end who wrote what is quoted next: at most three lines, the last of which ends with a colon."""
    end = len(kept)
    while end and not kept[end - 1].strip():
        end -= 1
    if not end or not kept[end - 1].rstrip().endswith(":"):
        return
    begin = end - 1
    while begin and kept[begin - 1].strip() and end - begin < _ATTRIBUTION_LINES:
        begin -= 1
    # The fewest lines that say who or when: what stands above them is somebody's own.
    for first in range(end - 1, begin - 1, -1):
        said = " ".join(kept[first:end])
        if len(said) <= _ATTRIBUTION_CHARS and _WROTE.search(said):
            first = _wrapped(kept, begin, first)
            del kept[first:]
            return


def _wrapped(kept: list[str], begin: int, first: int) -> int:
    """Return where an attribution begins that a mail program has broken into lines: `On Sunday, Ann <a@b.example>`."""
    while first > begin and re.match(r"\s*(?:on|am|le|el|il|op|den|em|dnia)\b", kept[first], re.IGNORECASE) is None:
        if re.match(r"\s*(?:on|am|le|el|il|op|den|em|dnia)\b.*\d", kept[first - 1], re.IGNORECASE) is None:
            break
        first -= 1
    return first
