"""mqtt: the topics of an MQTT broker, `alerts/plant7`, as addresses.

Promises: a topic compares octet for octet, empty levels included; only what a message can be published to is one. An
internet address behind a gateway is one level below that gateway's topic, `mail/bob@b.example`, with `+`, `#`, `/`
and `%` percent-encoded, since the first three mean something in a topic.
Source: MQTT 5.0 §4.7 (OASIS).
"""

from __future__ import annotations

import re
from typing import Final

from mappings.network import Address, AddressError, Network, clean
from mappings.networks.smtp import Smtp

_TO_ESCAPE: Final = re.compile(r"[%+#/]")
_ESCAPED: Final = re.compile(r"%(25|2B|23|2F)", re.IGNORECASE)
_SMTP: Final = Smtp()


class Mqtt(Network):
    """MQTT topics."""

    name = "mqtt"
    imcea_type = "MQTT"

    def parse(self, text: str) -> Address:
        value = clean(text)
        wildcard = re.search("[+#]", value)
        if wildcard is not None:
            message = f"{wildcard[0]!r} stands for many topics; name the one to publish to"
            raise AddressError("mqtt.wildcard", value, wildcard.start(), message)
        if value.startswith("$"):
            raise AddressError("mqtt.reserved", value, 0, "topics that begin with $ are the broker's own")
        return Address("mqtt", value, value)

    def through(self, gate: Address, inner: Address) -> Address | None:
        if inner.network != "smtp" or gate.network != "mqtt":
            return None
        level = _TO_ESCAPE.sub(lambda found: f"%{ord(found[0]):02X}", inner.value)
        try:
            made = self.parse(f"{gate.value}/{level}")
        except AddressError:
            return None
        # A combining mark behind an escape becomes one character with its last digit.
        return made if self.behind(gate, made) == inner else None

    def behind(self, gate: Address, address: Address) -> Address | None:
        level = address.value.removeprefix(f"{gate.value}/")
        if level == address.value or "/" in level:
            return None
        try:
            return _SMTP.parse(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), level))
        except AddressError:
            return None
