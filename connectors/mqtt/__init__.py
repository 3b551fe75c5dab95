"""mqtt: messages of an MQTT broker as mail, and mail as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectors.mqtt.connector import Mqtt

__all__ = ["Mqtt"]


def __getattr__(name: str) -> Any:
    """Import the connector when it is first asked for: its parts are used without it, by tests and fuzzing."""
    if name == "Mqtt":
        from connectors.mqtt.connector import Mqtt

        return Mqtt
    raise AttributeError(name)
