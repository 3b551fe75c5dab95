"""MQTT 5.0 and 3.1.1 without input or output: octets to values and back, and the state of a client's session.

Sources: OASIS MQTT Version 5.0 (2019-03-07), OASIS MQTT Version 3.1.1 (2014-10-29).
"""
