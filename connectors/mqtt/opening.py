"""From options to a client's settings: brokers, TLS, the limits of a session."""

from __future__ import annotations

import ssl
from pathlib import Path

from connectors.mqtt.client import Broker, ClientSettings
from connectors.mqtt.config import MqttConfig, broker
from connectors.mqtt.wire.values import Outgoing
from gateway.client_tls import client_tls


def tls_context(config: MqttConfig, base: Path) -> ssl.SSLContext | None:
    """Return the TLS context, None where no broker is reached by TLS. Blocks on the disk.

    Raises: ValueError that names the file and its fault.
    """
    if not any(broker(text)[2] for text in config.brokers):
        return None
    context = client_tls(config.ca_file, base)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    if not config.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.tls_cert is not None:
        key = base / config.tls_key if config.tls_key is not None else None
        try:
            context.load_cert_chain(base / config.tls_cert, key)
        except (OSError, ssl.SSLError) as fault:
            where = f"tls_cert {config.tls_cert}" + (f", tls_key {config.tls_key}" if key else "")
            raise ValueError(f"{where}: {fault}; they must be PEM files of a certificate and of its key") from fault
    return context


def client_settings(
    config: MqttConfig, client_id: str, tls: ssl.SSLContext | None, *, will: Outgoing | None = None
) -> ClientSettings:
    """Return the settings of one client."""
    brokers = []
    for text in config.brokers:
        host, port, is_tls = broker(text)
        brokers.append(Broker(host, port, tls if is_tls else None))
    return ClientSettings(
        brokers=tuple(brokers),
        client_id=client_id,
        version=config.version,
        username=config.username,
        password=config.password,
        keep_alive_s=config.keep_alive_s,
        receive_maximum=config.receive_maximum,
        max_in_flight=config.in_flight,
        session_expiry_s=config.session_expiry_s,
        will=will,
        connect_timeout_s=config.connect_timeout_s,
        retry_min_s=config.retry_min_s,
        retry_max_s=config.retry_max_s,
        max_payload_octets=max((rule.max_payload_bytes for rule in config.subscribe), default=1),
    )
