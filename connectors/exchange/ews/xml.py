"""XML as EWS speaks it: elements made in one line, and answers parsed strictly.

Promises: no entity, no DTD, nothing fetched; an answer that was cut off is never taken for a whole one. Source: the
schemas of MS-OXWS* (messages and types); SOAP 1.1 §4.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

from lxml import etree

MESSAGES: Final = "http://schemas.microsoft.com/exchange/services/2006/messages"
TYPES: Final = "http://schemas.microsoft.com/exchange/services/2006/types"
ERRORS: Final = "http://schemas.microsoft.com/exchange/services/2006/errors"
SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"

M: Final = f"{{{MESSAGES}}}"
T: Final = f"{{{TYPES}}}"
E: Final = f"{{{ERRORS}}}"
S: Final = f"{{{SOAP}}}"

_PREFIXES: Final = {"m": M, "t": T}
_TAIL_OCTETS: Final = 64

_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Element: TypeAlias = Any
"""An element of lxml, which has no types."""


class NotWhole(Exception):
    """What came is no whole XML document: it was cut off, or is something else."""


def element(name: str, *children: Element | None, text: str | None = None, **attributes: str | None) -> Element:
    """Return an element by its prefixed name (`m:` messages, `t:` types); what is None is left out."""
    prefix, _, local = name.partition(":")
    made = etree.Element(_PREFIXES[prefix] + local, {k: v for k, v in attributes.items() if v is not None})
    if text is not None:
        made.text = plain(text)
    for child in children:
        if child is not None:
            made.append(child)
    return made


def plain(text: str) -> str:
    """Return a text without the characters that XML 1.0 §2.2 cannot hold."""
    if text.isprintable():
        return text
    return _FORBIDDEN.sub("", text)


def parse(octets: bytes) -> tuple[Element, bool]:
    """Return the envelope, and whether it had to be mended: Exchange writes characters into names and subjects that
    XML does not allow.

    Raises: NotWhole.
    """
    try:
        root = etree.fromstring(octets, _parser(recover=False))
    except etree.XMLSyntaxError as e:
        if not octets[-_TAIL_OCTETS:].rstrip().endswith(b"Envelope>"):
            raise NotWhole(f"it ends after {len(octets)} octets") from e
        try:
            mended = etree.fromstring(octets, _parser(recover=True))
        except etree.XMLSyntaxError:
            mended = None
        if mended is None or mended.find(f"{S}Body") is None:
            raise NotWhole("it is no XML") from e
        return _envelope(mended), True
    return _envelope(root), False


def _parser(*, recover: bool) -> etree.XMLParser:
    # One a document: a parser that threads share makes them wait for each other. huge_tree: a text of 10 MB, as a
    # large MIME content is, would be refused; the octets were counted while they were read.
    return etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, dtd_validation=False, huge_tree=True, recover=recover
    )


def _envelope(root: Element) -> Element:
    if root.getroottree().docinfo.doctype:
        raise NotWhole("it has a document type")
    if root.tag != f"{S}Envelope":
        raise NotWhole("it is no SOAP envelope")
    return root


def truth(text: str | None) -> bool:
    """Return an xs:boolean, which may be written in two ways (XML Schema Part 2 §3.2.2)."""
    return text is not None and text.strip() in {"true", "1"}


def local(found: Element) -> str:
    """Return an element's name without its namespace; "" for a comment or processing instruction."""
    tag = found.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""
