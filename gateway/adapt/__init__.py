"""Adaptation: content made to fit a destination's Capabilities, with a Fidelity record of what that did.

Promises: octets that need no change go out as they came; a header edit touches only its field, a body edit only its
part; contents that are not in memory are never brought there whole; what breaks a signature is said.
Refuses: a message over the destination's size (5.3.4), an address that the destination can't write (5.6.7).
Known limit: an over-long quoted-printable part of a content that is not in memory goes out as it is, and is noted.
"""

from gateway.adapt.adapter import Adapter, adapt
from gateway.adapt.fitted import Fitted
from gateway.fidelity import INTACT, Fate, Fidelity, Note

__all__ = ["INTACT", "Adapter", "Fate", "Fidelity", "Fitted", "Note", "adapt"]
