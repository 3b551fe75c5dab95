"""How an Exchange mailbox's owner sees an address, and is seen: the pieces of the connector's way that touch addresses.

A mail lies in a mailbox with the header that the core gave it, from which Exchange keeps name and address, and makes
the header of the answer anew. A person of the organisation comes with their legacy DN, which no directory may know.
"""

from __future__ import annotations

from connectors.exchange.envelope import party
from connectors.exchange.organisation import Party
from gateway.contract import Content, Mailbox, compose, memo
from mappings.network import Address
from tests.peers.ews.honest import remade

DN = "/o=Acme/ou=First Administrative Group/cn=Recipients/cn=carla"


def stranger() -> Address:
    """Return the originator of a mail that was taken from a mailbox, as an item tells it of whom no directory knows."""
    found = party(Party("Carla Nowak", DN, "EX"), {})
    assert found is not None
    return found


def answered(shown: Address) -> Address:
    """Return what the owner of a mailbox answers to, whom an originator was shown to under this address."""
    head = compose([("From", [Mailbox("Somebody", shown)]), ("Subject", "x")], "x", hostname="gw.example")
    came = memo(Content(remade(b"".join(head), organisation="acme.example")))
    (sender,) = came.mailboxes(b"from", ("smtp",))
    reply = compose([("To", [sender]), ("Subject", "RE: x")], "x", hostname="mbx1.acme.example")
    sent = memo(Content(remade(b"".join(reply))))
    (recipient,) = sent.mailboxes(b"to", ("smtp",))
    return recipient.address
