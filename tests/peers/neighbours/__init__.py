"""Mail servers of Debian as neighbours of the gateway: they take mail for a mailbox, and send all other mail to it."""

from tests.peers.neighbours.courier import CourierMta
from tests.peers.neighbours.exim import EximServer
from tests.peers.neighbours.neighbour import Neighbour
from tests.peers.neighbours.opensmtpd import OpenSmtpd
from tests.peers.neighbours.postfix import PostfixServer
from tests.peers.neighbours.sendmail import Sendmail

__all__ = [
    "CourierMta",
    "EximServer",
    "Neighbour",
    "OpenSmtpd",
    "PostfixServer",
    "Sendmail",
]
