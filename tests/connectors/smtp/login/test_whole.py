"""A whole gateway with its mapping as the place of accounts: from the log-in to the next hop."""

from __future__ import annotations

import json
import smtplib
import ssl
from pathlib import Path

import pytest

from connectors.smtp.login.passwords import store
from tests.connectors.smtp.server_kit import certificate
from tests.peers.gateway import Gateway
from tests.peers.process import free_port, wait_until
from tests.peers.sink import Sink

MORE = """
[mapping]
domains = ["acme.example"]
import = ["people.csv"]

[connector.submission]
type = "smtp"
listen = ["127.0.0.1:{port}"]
tls_cert = "cert.pem"
tls_key = "key.pem"
relay_networks = []
login = {{ table = true }}
"""
PEOPLE = """name,smtp,attributes
Ann Lee,ann@acme.example;lee@acme.example,"login_password={stored};room=7"
Bob Ray,bob@acme.example,
"""


def test_the_mapping_says_who_logs_in_and_sends_as_whom(tmp_path: Path) -> None:
    _, _, trust = certificate(tmp_path)
    stored = store("correct horse", "scram")
    (tmp_path / "people.csv").write_text(PEOPLE.format(stored=stored))
    port = free_port()
    with Sink(tmp_path, keep=True) as sink, Gateway(tmp_path, sink.port, more=MORE.format(port=port)) as gateway:
        with logged_in(port, trust, "lee@acme.example", "correct horse") as client:
            client.sendmail("ann@acme.example", ["zoe@far.example"], b"Subject: x\r\nBcc: eve@far.example\r\n\r\nx\r\n")
            with pytest.raises(smtplib.SMTPSenderRefused) as caught:
                client.sendmail("bob@acme.example", ["zoe@far.example"], b"Subject: x\r\n\r\nx\r\n")
            assert caught.value.smtp_error == b"5.7.1 ann@acme.example may not send as bob@acme.example"
        sink.wait_for(1)
        (taken,) = sink.taken()
        head = (taken.octets or b"").partition(b"\r\n\r\n")[0].decode()
        assert "by gw.example with ESMTPSA (TLSv1.3" in head
        assert "From: ann@acme.example\r\n" in head
        assert "eve@" not in head
        assert not lets_in(port, trust, "bob@acme.example", "correct horse")
        # An operator changes the password.
        gateway.cli("map", "set", "smtp:ann@acme.example", f"attribute.login_password={store('another', 'scrypt')}")
        wait_until(lambda: lets_in(port, trust, "ann@acme.example", "another"), 60, "the new password is in force")
        assert not lets_in(port, trust, "ann@acme.example", "correct horse")
        assert '"user": "ann@acme.example"' in json.dumps(gateway.cli("trace", "ann@acme.example"))
        counted = [value for name, value in gateway.metrics().items() if 'event="logins"' in name]
        assert sum(counted) >= 2
        for secret in ("correct horse", stored, "another"):
            assert secret not in gateway.said()


def lets_in(port: int, trust: ssl.SSLContext, name: str, password: str) -> bool:
    try:
        logged_in(port, trust, name, password).quit()
    except smtplib.SMTPAuthenticationError:
        return False
    return True


def logged_in(port: int, trust: ssl.SSLContext, name: str, password: str) -> smtplib.SMTP:
    client = smtplib.SMTP("127.0.0.1", port, timeout=60)
    client._host = "gw.example"  # type: ignore[attr-defined]  # the certificate's name; there is no other way
    client.starttls(context=trust)
    client.login(name, password)
    return client
