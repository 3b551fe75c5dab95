"""A client that sends what a test wrote, for the peer's own tests: no library between them."""

from __future__ import annotations

import base64
import http.client
from dataclasses import dataclass

from lxml import etree

from tests.peers.ews.auth import PASSWORD
from tests.peers.ews.process import EwsCompany
from tests.peers.ews.soap import ENVELOPE, MESSAGES, TYPES, Element, M, S, T

NAMES = {"s": ENVELOPE, "m": MESSAGES, "t": TYPES}


@dataclass(slots=True)
class Answer:
    """What came back: the HTTP status, the body's element (None for a fault), and the raw octets."""

    status: int
    body: Element | None
    raw: bytes

    @property
    def codes(self) -> list[str]:
        """The response codes, in order; a fault's own where there is one."""
        top = etree.fromstring(self.raw)
        return [each.text or "" for each in top.iter("{*}ResponseCode")]

    def all(self, path: str) -> list[Element]:
        """Return the elements that a path finds: `.//t:Message`."""
        found: list[Element] = etree.fromstring(self.raw).xpath(path, namespaces=NAMES)
        return found

    def texts(self, path: str) -> list[str]:
        return [each if isinstance(each, str) else each.text or "" for each in self.all(path)]


class Asker:
    """Asks as a user, for a mailbox where one is named."""

    def __init__(self, company: EwsCompany, user: str | None = None, mailbox: str | None = None) -> None:
        self.company = company
        self.user = user or company.username
        self.mailbox = mailbox

    def ask(self, body: str) -> Answer:
        """Send a SOAP body and return the answer. Raises: OSError, http.client.HTTPException."""
        header = ""
        if self.mailbox is not None:
            header = (
                "<t:ExchangeImpersonation><t:ConnectingSID>"
                f"<t:PrimarySmtpAddress>{self.mailbox}</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>"
            )
        names = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMES.items())
        envelope = f"<s:Envelope {names}><s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        connection = http.client.HTTPConnection("127.0.0.1", self.company.peer.port, timeout=60)
        login = base64.b64encode(f"{self.user}:{PASSWORD}".encode()).decode()
        try:
            headers = {"Authorization": f"Basic {login}", "Content-Type": "text/xml; charset=utf-8"}
            connection.request("POST", "/EWS/Exchange.asmx", envelope.encode(), headers)
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        top = etree.fromstring(raw) if raw.startswith(b"<?xml") else None
        return Answer(answer.status, top.find(f"{S}Body")[0] if top is not None else None, raw)

    # --- the operations that most tests need ---

    def create(self, octets: bytes, folder: str = "inbox", more: str = "", disposition: str = "SaveOnly") -> Answer:
        """CreateItem with MIME into a well-known folder."""
        encoded = base64.b64encode(octets).decode()
        return self.ask(
            f'<m:CreateItem MessageDisposition="{disposition}"><m:SavedItemFolderId>'
            f'<t:DistinguishedFolderId Id="{folder}"/></m:SavedItemFolderId><m:Items><t:Message>'
            f"<t:MimeContent>{encoded}</t:MimeContent>{more}</t:Message></m:Items></m:CreateItem>"
        )

    def get(self, id: str, properties: str = "", base: str = "IdOnly", mime: bool = False) -> Answer:
        """GetItem with additional properties, given as XML."""
        wanted = f"<t:AdditionalProperties>{properties}</t:AdditionalProperties>" if properties else ""
        shape = f"<t:BaseShape>{base}</t:BaseShape><t:IncludeMimeContent>{str(mime).lower()}</t:IncludeMimeContent>"
        return self.ask(
            f"<m:GetItem><m:ItemShape>{shape}{wanted}</m:ItemShape>"
            f'<m:ItemIds><t:ItemId Id="{id}"/></m:ItemIds></m:GetItem>'
        )

    def find(self, folder: str = "inbox", restriction: str = "", properties: str = "", view: str = "") -> Answer:
        """FindItem in a well-known folder."""
        wanted = f"<t:AdditionalProperties>{properties}</t:AdditionalProperties>" if properties else ""
        limited = f"<m:Restriction>{restriction}</m:Restriction>" if restriction else ""
        return self.ask(
            f'<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape>{wanted}</m:ItemShape>'
            f'{view}{limited}<m:ParentFolderIds><t:DistinguishedFolderId Id="{folder}"/></m:ParentFolderIds>'
            "</m:FindItem>"
        )

    def sync(self, state: str | None = None, folder: str = "inbox", most: int = 100) -> Answer:
        """SyncFolderItems."""
        said = f"<m:SyncState>{state}</m:SyncState>" if state else ""
        return self.ask(
            "<m:SyncFolderItems><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape><m:SyncFolderId>"
            f'<t:DistinguishedFolderId Id="{folder}"/></m:SyncFolderId>{said}'
            f"<m:MaxChangesReturned>{most}</m:MaxChangesReturned></m:SyncFolderItems>"
        )


def inbox_of(address: str) -> str:
    """Return the id of the inbox of a mailbox that is named: what a delegate asks by."""
    named = f"<t:Mailbox><t:EmailAddress>{address}</t:EmailAddress></t:Mailbox>"
    return f'<t:DistinguishedFolderId Id="inbox">{named}</t:DistinguishedFolderId>'


def extended(path: str, value: str) -> str:
    """Return an extended property, given its path as XML."""
    return f"<t:ExtendedProperty>{path}<t:Value>{value}</t:Value></t:ExtendedProperty>"


def tag(number: str, kind: str) -> str:
    """Return the path of a MAPI property by its tag."""
    return f'<t:ExtendedFieldURI PropertyTag="{number}" PropertyType="{kind}"/>'


def field(name: str) -> str:
    """Return the path of a property by its name in the schema."""
    return f'<t:FieldURI FieldURI="{name}"/>'


def letter(subject: str = "Hello", sender: str = "x@outside.example", to: str = "ann@acme.example") -> bytes:
    """Return a small message."""
    return (
        f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n"
        f"Message-ID: <{subject.replace(' ', '.')}@outside.example>\r\n"
        "Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\nBody\r\n"
    ).encode()


__all__ = ["NAMES", "Answer", "Asker", "M", "S", "T", "extended", "field", "inbox_of", "letter", "tag"]
