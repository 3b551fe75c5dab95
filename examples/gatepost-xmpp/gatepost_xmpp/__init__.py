"""XMPP (Jabber) for Gatepost: the gateway is a component of a chat server, where all mail addresses are JIDs.

Mail to a chat user is a message stanza, kept by the server for who is not there; what a chat user writes to a JID of
the component is mail. Receipts (XEP-0184) are delivery reports.
Known limits: text goes across, files do not; a component has one connection, so one worker of one gateway has it.
Sources: RFC 6120, RFC 6121, XEP-0114, XEP-0131, XEP-0184, XEP-0359.
"""

from gatepost_xmpp.connector import Xmpp

__all__ = ["Xmpp"]
