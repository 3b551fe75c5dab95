"""Messages of topics as mail: a Reader for each rule.

Promises: whatever a payload, a topic or a property holds, a mail comes out that was meant, or BadPayload; no value
makes a header field but its own; what is made takes time and memory of a few times the payload. Pure but for the clock
and the identifiers of messages that come at QoS 0.
"""

from __future__ import annotations

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.incoming.reader import Reader
from connectors.mqtt.incoming.values import Glance, Incoming

__all__ = ["BadPayload", "Glance", "Incoming", "Reader"]
