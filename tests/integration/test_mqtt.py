"""Mail and messages through a whole gateway and a real Mosquitto, both ways, and an answer that finds back."""

from __future__ import annotations

import json
import re
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from email.policy import default
from pathlib import Path

import pytest

from tests.peers.gateway import Gateway
from tests.peers.mosquitto import Mosquitto, program
from tests.peers.process import wait_until
from tests.peers.sink import Sink, Taken

Start = Callable[..., Gateway]
Got = Callable[[], list[dict[str, str]]]

QUICK = 'retry_min = "1s"\nretry_max = "1s"\n'
THINGS = """
[mapping]
domains = ["gw.example"]

[connector.things]
type = "mqtt"
brokers = ["mqtt://127.0.0.1:{port}"]
version = "{version}"
retry_max_s = 1
{more}
[[connector.things.subscribe]]
topic = "alerts/{{plant}}"
qos = 2
recipients = ["smtp:ops@out.example"]
subject = "Alert of {{plant}}"

[connector.things.subscribe.reply]
topic = "cmnd/{{plant}}"
response_topics = ["replies/#"]

[[connector.things.subscribe]]
topic = "mail/in"
qos = 1
payload = "rfc822"
recipients = ["smtp:ann@out.example"]

[[connector.things.publish]]
topic = "cmnd/{{device}}"
qos = 2
senders = ["smtp:*@out.example"]
proof = "peer"

[[connector.things.publish]]
topic = "mail/out"
payload = "rfc822"
senders = ["*"]

[[route]]
match = "mqtt:*"
to = "things"
"""
VERSIONS = {"5": "mqttv5", "3.1.1": "mqttv311"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as running:
        yield running


def config(broker: Mosquitto, version: str = "auto", more: str = "") -> str:
    return THINGS.format(port=broker.port, version=version, more=more)


def publish(broker: Mosquitto, *args: str, wait_s: float = 20) -> None:
    command = [program("mosquitto_pub"), "-p", str(broker.port), *args]
    subprocess.run(command, check=True, capture_output=True, timeout=wait_s)


@contextmanager
def subscribed(broker: Mosquitto, folder: Path, *topics: str, version: str = "mqttv5") -> Iterator[Got]:
    """Run mosquitto_sub; what it got comes by a call."""
    out = folder / f"sub-{len(list(folder.glob('sub-*')))}"
    fields = '{"topic":"%t","qos":"%q","payload":"%x"' + (',"data":"%D"}' if version == "mqttv5" else "}")
    args = [each for topic in topics for each in ("-t", topic)]
    command = [
        "stdbuf",
        "-oL",
        program("mosquitto_sub"),
        "-p",
        str(broker.port),
        "-V",
        version,
        "-q",
        "2",
        "-F",
        fields,
        *args,
    ]
    with out.open("wb") as file:
        running = subprocess.Popen([*command, "-d"], stdout=file, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: b"SUBACK" in out.read_bytes(), 60, "mosquitto_sub is subscribed")
            yield lambda: [json.loads(line) for line in out.read_text().splitlines() if line.startswith("{")]
        finally:
            running.kill()
            running.wait()


def text(got: dict[str, str]) -> str:
    return bytes.fromhex(got["payload"]).decode().strip()


def first(sink: Sink) -> tuple[Taken, Message]:
    found: list[Taken] = []

    def is_there() -> bool:
        found[:] = sink.taken()
        return bool(found)

    wait_until(is_there, 60, "a mail is at the next hop")
    return found[0], message_from_bytes(found[0].octets or b"", policy=default)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_an_alert_becomes_a_mail_and_its_answer_a_command(
    tmp_path: Path, broker: Mosquitto, sink: Sink, start_gateway: Start, version: str
) -> None:
    gateway = start_gateway(sink.port, folder=tmp_path, more=config(broker, version), gateway=QUICK)
    wait_until(lambda: gateway.said().count(": connected") == 2, 60, "both sides are connected")
    asked = ["-D", "publish", "response-topic", "replies/c1", "-D", "publish", "correlation-data", "n1"]
    alert = ["-V", VERSIONS[version], "-q", "2", "-t", "alerts/p7", "-m", "93 degrees"]
    with subscribed(broker, tmp_path, "replies/#", "cmnd/#", version=VERSIONS[version]) as got:
        publish(broker, *alert, *(asked if version == "5" else []))
        taken, mail = first(sink)
        assert taken.recipients == ["ops@out.example"]
        assert mail["Subject"] == "Alert of p7"
        assert "93 degrees" in mail.get_content()
        sender = mail["From"].addresses[0].addr_spec
        lines = ["From: ops@out.example", f"To: {sender}", "Subject: Re: Alert", f"In-Reply-To: {mail['Message-ID']}"]
        with smtplib.SMTP("127.0.0.1", gateway.port) as client:
            client.sendmail("ops@out.example", [sender], "\r\n".join([*lines, "", "switch off", ""]))
        wait_until(lambda: len(got()) == 1, 60, "the answer is published")
        (answer,) = got()
    assert text(answer) == "switch off"
    if version == "5":
        assert (answer["topic"], answer["data"]) == ("replies/c1", "n1")
    else:
        assert answer["topic"] == "cmnd/p7", "without a Response Topic it goes to the mapped one"


def test_a_whole_message_crosses_unchanged(tmp_path: Path, broker: Mosquitto, sink: Sink, start_gateway: Start) -> None:
    gateway = start_gateway(sink.port, folder=tmp_path, more=config(broker), gateway=QUICK)
    octets = (
        b"From: eve@in.example\r\nTo: ann@out.example\r\nDate: Sun, 29 Nov 2026 12:00:00 +0000\r\n"
        b"Message-ID: <1@in.example>\r\nSubject: =?utf-8?q?=C3=A4?=\r\n\r\n8-bit: \xc3\xa4\r\n.dot\r\n"
    )
    with subscribed(broker, tmp_path, "mail/out") as got:
        with smtplib.SMTP("127.0.0.1", gateway.port) as client:
            to = "IMCEAMQTT-mail_out@gw.example"
            client.sendmail("eve@in.example", [to], octets, mail_options=["BODY=8BITMIME"])
        wait_until(lambda: len(got()) == 1, 60, "it is published")
        payload = bytes.fromhex(got()[0]["payload"])
    assert payload.endswith(octets)
    (tmp_path / "mail").write_bytes(octets)
    publish(broker, "-q", "1", "-t", "mail/in", "-f", str(tmp_path / "mail"))
    taken, _ = first(sink)
    assert taken.recipients == ["ann@out.example"]
    assert (taken.octets or b"").endswith(octets)


def test_who_may_not_gets_a_bounce(tmp_path: Path, broker: Mosquitto, sink: Sink, start_gateway: Start) -> None:
    gateway = start_gateway(sink.port, folder=tmp_path, more=config(broker), gateway=QUICK)
    with subscribed(broker, tmp_path, "cmnd/#") as got, smtplib.SMTP("127.0.0.1", gateway.port) as client:
        mail = "From: eve@in.example\r\nSubject: x\r\n\r\non\r\n"
        client.sendmail("eve@in.example", ["IMCEAMQTT-cmnd_lamp@gw.example"], mail)
        taken, report = first(sink)
        assert got() == []
    assert taken.recipients == ["eve@in.example"]
    assert "5.7.1" in (taken.octets or b"").decode()
    assert "report" in (report.get_content_type())


def test_what_comes_while_we_are_away_waits_at_the_broker(
    tmp_path: Path, broker: Mosquitto, sink: Sink, start_gateway: Start
) -> None:
    gateway = start_gateway(sink.port, folder=tmp_path, more=config(broker), gateway=QUICK)
    wait_until(lambda: gateway.said().count(": connected") == 2, 60, "both sides are connected")
    assert gateway.stop() == 0
    publish(broker, "-q", "1", "-t", "alerts/p7", "-m", "while away")
    gateway.start()
    _, mail = first(sink)
    assert "while away" in mail.get_content()
    assert "resumed=True" in gateway.said()


def test_a_bad_payload_is_kept_with_its_reason(
    tmp_path: Path, broker: Mosquitto, sink: Sink, start_gateway: Start
) -> None:
    more = config(broker, more='quarantine = "bad"')
    gateway = start_gateway(sink.port, folder=tmp_path, more=more, gateway=QUICK)
    wait_until(lambda: gateway.said().count(": connected") == 2, 60, "both sides are connected")
    (tmp_path / "octets").write_bytes(b"\xff\xfe no text \xc3")
    publish(broker, "-q", "2", "-t", "alerts/p7", "-f", str(tmp_path / "octets"))
    publish(broker, "-q", "2", "-t", "alerts/p8", "-m", "good")
    _, mail = first(sink)
    assert "good" in mail.get_content()
    (reason,) = (tmp_path / "bad").glob("**/*.reason.txt")
    assert "alerts/p7" in reason.read_text()


def test_the_largest_payload_there_is_is_kept_apart_and_takes_no_memory(
    tmp_path: Path, broker: Mosquitto, sink: Sink, start_gateway: Start
) -> None:
    """256 MiB, less what the packet needs around it (MQTT 5.0 §2.1.4): its beginning is kept, the next comes."""
    more = config(broker, more='quarantine = "bad"')
    gateway = start_gateway(sink.port, folder=tmp_path, more=more, gateway=QUICK)
    wait_until(lambda: gateway.said().count(": connected") == 2, 20, "both sides are connected")
    with (tmp_path / "octets").open("wb") as file:
        file.truncate(268_435_455 - 64)
    publish(broker, "-q", "1", "-t", "mail/in", "-f", str(tmp_path / "octets"), wait_s=60)
    publish(broker, "-q", "2", "-t", "alerts/p8", "-m", "good")
    wait_until(lambda: bool(list((tmp_path / "bad").glob("**/*.reason.txt"))), 60, "it is kept apart")
    (reason,) = (tmp_path / "bad").glob("**/*.reason.txt")
    assert "268435391 octets; at most 1048576 are taken" in reason.read_text()
    _, mail = first(sink)
    assert "good" in mail.get_content()
    peak_kib = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{gateway.pid}/status").read_text())[1])  # type: ignore[index]
    assert peak_kib < 250 * 1024


def test_a_report_goes_to_the_status_topic(tmp_path: Path, broker: Mosquitto, sink: Sink, start_gateway: Start) -> None:
    more = config(broker, more='status = { topic = "status/{topic}" }')
    gateway = start_gateway(sink.port, folder=tmp_path, more=more, gateway=QUICK)
    wait_until(lambda: gateway.said().count(": connected") == 2, 60, "both sides are connected")
    sink.behave(recipients={"ops@out.example": "550 5.1.1 no such user"})
    with subscribed(broker, tmp_path, "status/#") as got:
        publish(broker, "-q", "2", "-t", "alerts/p7", "-m", "x")
        wait_until(lambda: len(got()) == 1, 60, "the report is published")
        report = json.loads(bytes.fromhex(got()[0]["payload"]))
    assert got()[0]["topic"] == "status/alerts/p7"
    assert "failed" in json.dumps(report)
    assert "5.1.1" in json.dumps(report)
