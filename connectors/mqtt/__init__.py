"""mqtt: messages of an MQTT broker, both ways."""
