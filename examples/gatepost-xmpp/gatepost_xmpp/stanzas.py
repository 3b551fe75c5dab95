"""Stanzas, written and read. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree

NS: Final = "jabber:component:accept"
RECEIPTS: Final = "urn:xmpp:receipts"
SHIM: Final = "http://jabber.org/protocol/shim"
STANZAS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
MARKERS: Final = "urn:xmpp:chat-markers:0"
IDS: Final = "urn:xmpp:sid:0"
# XML 1.0 §2.2: what no document can hold, not even escaped.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MOST_HEADERS: Final = 50
_LONGEST_HEADER: Final = 8192


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message stanza, read."""

    sender: str
    to: str
    id: str
    type: str
    body: str
    subject: str
    origin_id: str
    headers: dict[str, str] = field(default_factory=dict)
    """By names in lower case."""
    wants_receipt: bool = False
    receipt: str = ""
    """The id that it is a receipt for."""
    condition: str = ""
    """Of an error."""
    kind: str = ""
    text: str = ""

    @property
    def bare(self) -> str:
        """Return the sender without the device."""
        return self.sender.partition("/")[0]


def clean(text: str) -> str:
    """Return a text without what XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def message(
    to: str,
    sender: str,
    id: str,
    *,
    type: str,
    body: str = "",
    subject: str = "",
    headers: Iterable[tuple[str, str]] = (),
    asks: bool = False,
) -> ElementTree.Element:
    """Return a message; `asks` asks for a receipt."""
    made = _bare(to, sender, id, type)
    if subject:
        ElementTree.SubElement(made, f"{{{NS}}}subject").text = clean(subject)
    if body:
        ElementTree.SubElement(made, f"{{{NS}}}body").text = clean(body)
    if asks:
        ElementTree.SubElement(made, f"{{{RECEIPTS}}}request")
    listed = list(headers)
    if listed:
        shim = ElementTree.SubElement(made, f"{{{SHIM}}}headers")
        for name, value in listed:
            ElementTree.SubElement(shim, f"{{{SHIM}}}header", {"name": name}).text = clean(value)
    return made


def receipt(to: str, sender: str, id: str, about: str, *, displayed: bool = False) -> ElementTree.Element:
    """Return the receipt for the message `about`; `displayed` says that it was read."""
    made = _bare(to, sender, id, "chat")
    tag = f"{{{MARKERS}}}displayed" if displayed else f"{{{RECEIPTS}}}received"
    ElementTree.SubElement(made, tag, {"id": about})
    return made


def error(to: str, sender: str, about: str, condition: str, kind: str, text: str) -> ElementTree.Element:
    """Return the error that answers the message `about`."""
    made = _bare(to, sender, about, "error")
    inner = ElementTree.SubElement(made, f"{{{NS}}}error", {"type": kind})
    ElementTree.SubElement(inner, f"{{{STANZAS}}}{condition}")
    if text:
        ElementTree.SubElement(inner, f"{{{STANZAS}}}text").text = clean(text)
    return made


def _bare(to: str, sender: str, id: str, type: str) -> ElementTree.Element:
    given = {"to": to, "from": sender, "type": type}
    if id:
        given["id"] = id
    return ElementTree.Element(f"{{{NS}}}message", given)


def read(xml: ElementTree.Element) -> Arrived:
    """Return what a message stanza says; what is missing is empty."""
    received = xml.find(f"{{{RECEIPTS}}}received")
    origin = xml.find(f"{{{IDS}}}origin-id")
    fault = _child(xml, "error")
    condition = text = ""
    if fault is not None:
        for each in fault:
            namespace, _, name = each.tag.removeprefix("{").rpartition("}")
            if namespace == STANZAS and name == "text":
                text = each.text or ""
            elif namespace == STANZAS and not condition:
                condition = name
    return Arrived(
        sender=xml.get("from") or "",
        to=xml.get("to") or "",
        id=xml.get("id") or "",
        type=xml.get("type") or "normal",
        body=_text(xml, "body"),
        subject=_text(xml, "subject"),
        origin_id="" if origin is None else origin.get("id") or "",
        headers=_headers(xml),
        wants_receipt=xml.find(f"{{{RECEIPTS}}}request") is not None,
        receipt="" if received is None else received.get("id") or "",
        condition=condition or ("undefined-condition" if fault is not None else ""),
        kind="" if fault is None else fault.get("type") or "",
        text=text,
    )


def _headers(xml: ElementTree.Element) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in xml.findall(f"{{{SHIM}}}headers/{{{SHIM}}}header")[:_MOST_HEADERS]:
        name, value = (each.get("name") or "").lower(), each.text or ""
        if name and len(value) <= _LONGEST_HEADER:
            found.setdefault(name, value)
    return found


def _child(xml: ElementTree.Element, name: str) -> ElementTree.Element | None:
    """Return a child of the stanza's own namespace, which may be that of clients or that of components."""
    return next((each for each in xml if each.tag in (f"{{{NS}}}{name}", f"{{jabber:client}}{name}")), None)


def _text(xml: ElementTree.Element, name: str) -> str:
    found = _child(xml, name)
    return "" if found is None else found.text or ""
