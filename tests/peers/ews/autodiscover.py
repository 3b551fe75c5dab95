"""Autodiscovery as plain old XML ([MS-OXDSCLI]): where the service of an address is."""

from __future__ import annotations

from typing import Final

from lxml import etree

from tests.peers.ews.http import Asked, Connection
from tests.peers.ews.soap import parse
from tests.peers.ews.store import Store

PATH: Final = "/autodiscover/autodiscover.xml"
_REQUEST: Final = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006}"
_RESPONSE: Final = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
_TOP: Final = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"


def serve(store: Store, connection: Connection, asked: Asked) -> None:
    """Answer a request by an account that has logged in."""
    try:
        address = parse(asked.body).findtext(f".//{_REQUEST}EMailAddress") or ""
    except etree.XMLSyntaxError:
        connection.answer(400)
        return
    found = store.mailbox(address)
    top = etree.Element(f"{{{_TOP}}}Autodiscover", nsmap={None: _TOP})
    if found is None:
        answer = etree.SubElement(top, f"{{{_TOP}}}Response")
        error = etree.SubElement(answer, f"{{{_TOP}}}Error", Time="10:00:00.0000000", Id="1")
        for tag, text in (("ErrorCode", "500"), ("Message", "The email address can't be found."), ("DebugData", "")):
            etree.SubElement(error, f"{{{_TOP}}}{tag}").text = text
    else:
        answer = etree.SubElement(top, f"{{{_RESPONSE}}}Response", nsmap={None: _RESPONSE})
        user = etree.SubElement(answer, f"{{{_RESPONSE}}}User")
        for tag, text in (
            ("DisplayName", found["display_name"]),
            ("LegacyDN", found["legacy_dn"]),
            ("AutoDiscoverSMTPAddress", found["address"]),
        ):
            etree.SubElement(user, f"{{{_RESPONSE}}}{tag}").text = text
        settings = etree.SubElement(answer, f"{{{_RESPONSE}}}Account")
        for tag, text in (("AccountType", "email"), ("Action", "settings")):
            etree.SubElement(settings, f"{{{_RESPONSE}}}{tag}").text = text
        scheme = "https" if connection.server.tls else "http"
        url = f"{scheme}://{asked.headers.get('host', '')}/EWS/Exchange.asmx"
        for kind in ("EXCH", "EXPR"):
            protocol = etree.SubElement(settings, f"{{{_RESPONSE}}}Protocol")
            etree.SubElement(protocol, f"{{{_RESPONSE}}}Type").text = kind
            for tag in ("ASUrl", "EwsUrl", "OOFUrl"):
                etree.SubElement(protocol, f"{{{_RESPONSE}}}{tag}").text = url
    connection.answer(200, etree.tostring(top, xml_declaration=True, encoding="utf-8"))
