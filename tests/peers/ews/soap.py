"""Envelopes, elements and faults of Exchange Web Services ([MS-OXWSCDATA], [MS-OXWSMSG] and their like)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from lxml import etree

ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"
MESSAGES: Final = "http://schemas.microsoft.com/exchange/services/2006/messages"
TYPES: Final = "http://schemas.microsoft.com/exchange/services/2006/types"
ERRORS: Final = "http://schemas.microsoft.com/exchange/services/2006/errors"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"

S: Final = f"{{{ENVELOPE}}}"
M: Final = f"{{{MESSAGES}}}"
T: Final = f"{{{TYPES}}}"

_NAMES: Final = {"m": MESSAGES, "t": TYPES, "xsi": XSI}
# No entities, no DTD, nothing from the network; texts may be long, as a message's MIME is one.
_PARSER_OPTIONS: Final = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": True}

Element = etree._Element
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class SoapFault(Exception):
    """The whole request is refused: an HTTP 500 with a SOAP fault."""

    def __init__(self, code: str, text: str = "", *, back_off_ms: int | None = None) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text or code
        self.back_off_ms = back_off_ms


class ItemError(Exception):
    """One item or folder of a request is refused: an Error among its response messages."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text or code


def parse(octets: bytes) -> Element:
    """Return the envelope's root. Raises: etree.XMLSyntaxError."""
    return etree.fromstring(octets, etree.XMLParser(**_PARSER_OPTIONS))


def element(tag: str, text: object = None, **attributes: str | None) -> Element:
    """Return an element; attributes that are None are left out, and so are characters that XML has not."""
    made = etree.Element(tag, {k: v for k, v in attributes.items() if v is not None}, nsmap=_NAMES)
    if text is not None:
        said = text if isinstance(text, str) else str(text)
        try:
            made.text = said
        except ValueError:
            made.text = _NO_XML.sub("", said)
    return made


def under(parent: Element, children: Iterable[Element | None]) -> Element:
    """Put children that are not None under a parent, and return it."""
    for child in children:
        if child is not None:
            parent.append(child)
    return parent


def name(node: Element) -> str:
    """Return an element's name without its namespace."""
    return str(node.tag).rsplit("}", 1)[1]


def truth(text: str | None) -> bool:
    """Read an xs:boolean; exchangelib writes `1`, DavMail `true`."""
    return (text or "").strip() in ("true", "1")


def response(operation: str, messages: Iterable[Element]) -> Element:
    """Return an operation's response around its response messages."""
    return under(element(f"{M}{operation}Response"), [under(element(f"{M}ResponseMessages"), messages)])


def success(operation: str, *payload: Element | None) -> Element:
    """Return the response message of a part that went well."""
    made = element(f"{M}{operation}ResponseMessage", ResponseClass="Success")
    made.append(element(f"{M}ResponseCode", "NoError"))
    return under(made, payload)


def failure(operation: str, fault: ItemError, *payload: Element | None, warning: bool = False) -> Element:
    """Return the response message of a part that was refused; the payload is empty but has to be there."""
    made = element(f"{M}{operation}ResponseMessage", ResponseClass="Warning" if warning else "Error")
    made.append(element(f"{M}MessageText", fault.text))
    made.append(element(f"{M}ResponseCode", fault.code))
    made.append(element(f"{M}DescriptiveLinkKey", "0"))
    return under(made, payload)


_HEAD: Final = (
    f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{ENVELOPE}"><s:Header>'
    f'<h:ServerVersionInfo MajorVersion="15" MinorVersion="1" MajorBuildNumber="2507" MinorBuildNumber="57"'
    f' Version="V2017_07_11" xmlns:h="{TYPES}"/></s:Header><s:Body>'
).encode()
_TAIL: Final = b"</s:Body></s:Envelope>"


def envelope(body: Element) -> bytes:
    """Return the octets of an answer, with the version of an Exchange 2016 in its header."""
    return b"".join((_HEAD, etree.tostring(body, encoding="utf-8"), _TAIL))


def fault(raised: SoapFault) -> bytes:
    """Return the octets of a fault: the code stands in faultcode and in detail/ResponseCode."""
    top = etree.Element(f"{S}Envelope", nsmap={"s": ENVELOPE})
    made = etree.SubElement(etree.SubElement(top, f"{S}Body"), f"{S}Fault")
    etree.SubElement(made, "faultcode", nsmap={"a": TYPES}).text = f"a:{raised.code}"
    text = etree.SubElement(made, "faultstring")
    text.set("{http://www.w3.org/XML/1998/namespace}lang", "en-US")
    text.text = raised.text
    detail = etree.SubElement(made, "detail")
    for tag, value in (("ResponseCode", raised.code), ("Message", raised.text)):
        etree.SubElement(detail, f"{{{ERRORS}}}{tag}", nsmap={"e": ERRORS}).text = value
    if raised.back_off_ms is not None:
        xml = etree.SubElement(detail, f"{T}MessageXml", nsmap={"t": TYPES})
        etree.SubElement(xml, f"{T}Value", Name="BackOffMilliseconds").text = str(raised.back_off_ms)
    return etree.tostring(top, encoding="utf-8", xml_declaration=True)
