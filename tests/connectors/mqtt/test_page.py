"""The page says what is so: its configurations do what it says, its tables are the code's; `UPDATE_DOCS=1`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from connectors.mqtt.client import Broker, Client, ClientSettings
from connectors.mqtt.config import MqttConfig
from connectors.mqtt.faults import refused
from connectors.mqtt.outgoing.report import ReportDocument
from connectors.mqtt.properties import MAPPING
from connectors.mqtt.wire.values import Outgoing, Refused, Subscription
from gateway.contract import Delivered, Origin, memo
from gateway.log import Silence
from tests.connectors.mqtt.kit import Kit
from tests.connectors.mqtt.wire.memory import MemoryJournal
from tests.docs.sandbox import ROOT
from tests.peers.mosquitto import Mosquitto

PAGE = ROOT / "docs" / "connectors" / "mqtt.md"
TEXT = PAGE.read_text(encoding="utf-8")
TOML = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"(<!-- mapping -->\n)(.*?)(<!-- end of mapping -->)", re.DOTALL)


@pytest.mark.parametrize("text", TOML)
def test_its_configurations_are_valid(text: str) -> None:
    ((_, given),) = tomllib.loads(text)["connector"].items()
    given.pop("type")
    if "auth_servers" not in given:
        given["auth_servers"] = ["mx.merged.example"]  # the page names it below
    MqttConfig.model_validate(given)


def test_its_table_of_properties_is_the_codes() -> None:
    lines = ["| MQTT | inward | outward |", "|---|---|---|"]
    lines += [f"| {row.mqtt} | {row.inward} | {row.outward} |" for row in MAPPING]
    text = PAGE.read_text(encoding="utf-8")
    fresh = _TABLE.sub(lambda m: m[1] + "\n" + "\n".join(lines) + "\n\n" + m[3], text)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(fresh, encoding="utf-8")
    assert fresh == text or os.environ.get("UPDATE_DOCS"), "run the test with UPDATE_DOCS=1 and look at the change"


def test_its_table_of_reason_codes_is_the_codes() -> None:
    rows = re.findall(r"^\| (0x[^|]*) \| ([^|]*) \|$", TEXT, re.MULTILINE)
    seen = 0
    for codes, said in rows:
        for code in re.findall(r"0x([0-9a-f]{2})", codes):
            if int(code, 16) >= 0x80:
                status = refused(Refused(int(code, 16), ""), "t").status
                assert status.code in said, (code, said)
                assert ("fails" in said) == status.is_permanent
                seen += 1
    assert seen == 8


def test_its_report_is_one() -> None:
    found = re.search(r"<!-- example: report -->\n\n```json\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    ReportDocument.model_validate_json(found[1])


# what the page shows does what the page says


def example(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None, name
    return str(found[1])


def section(title: str, language: str) -> str:
    found = re.search(rf"^## {title}\n.*?^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return str(found[1])


def options(toml: str) -> dict[str, Any]:
    """Return a connector of the page without what says where its broker is."""
    ((_, given),) = tomllib.loads(toml)["connector"].items()
    return {key: value for key, value in given.items() if key not in ("type", "brokers", "username", "password")}


def named(name: str) -> str:
    (found,) = [each for each in TOML if f"[connector.{name}]" in each]
    return str(found)


Make = Callable[..., Kit]


async def answer(at: Kit, text: str) -> None:
    """Answer the last mail."""
    alert = at.intake.accepted[-1].message
    octets = (
        b"From: me@home.example\r\nSubject: Re: x\r\nIn-Reply-To: "
        + alert.content.get(b"message-id")
        + b"\r\n\r\n"
        + text.replace("\n", "\r\n").encode()
    )
    (outcome,) = await at.deliver(at.parcel(alert.envelope.reverse_path.value, octets))
    assert isinstance(outcome, Delivered), outcome


async def test_its_json_is_a_mail(kit: Make) -> None:
    schema = json.loads((PAGE.parent / "mqtt-schema.json").read_text())
    Draft202012Validator(schema).validate(json.loads(example("json")))
    at = kit(subscribe=[{"topic": "alerts/#", "payload": "json"}])
    async with at.running():
        await at.acknowledged(at.put("alerts/p7", example("json").encode()))
    (one,) = at.intake.accepted
    found = memo(one.message.content)
    assert [str(each.address) for each in one.message.envelope.recipients] == [
        "smtp:ops@merged.example", "smtp:ann@merged.example",
    ]  # fmt: skip
    assert (found.subject, found.text, found.get(b"x-plant")) == ("Boiler of plant 7", "93 degrees.\n", "7")
    assert "<b>93</b>" in found.html
    assert b"".join(found.attachments[-1].octets()) == b"93 degrees\n"


async def test_its_picture_is_attached(kit: Make) -> None:
    at = kit(**options(named("cam")))
    async with at.running():
        await at.acknowledged(at.put("frigate/door/person/snapshot", b"\xff\xd8\xff picture"))
    found = memo(at.intake.accepted[0].message.content)
    assert found.subject == "Somebody at door"
    (picture,) = found.attachments
    assert (picture.name, picture.type, b"".join(picture.octets())) == (
        "door.jpg", "image/jpeg", b"\xff\xd8\xff picture",
    )  # fmt: skip


async def test_its_zigbee2mqtt_tells_of_leaks_and_turns_on_the_lamp(kit: Make) -> None:
    at = kit(**options(named("home")))
    async with at.running():
        for leak in ("false", "false", "true", "true", "false"):
            state = f'{{"battery": 97, "linkquality": 120, "water_leak": {leak}}}'
            await at.acknowledged(at.put("zigbee2mqtt/kitchen", state.encode()))
        mails = [memo(each.message.content) for each in at.intake.accepted]
        assert [each.subject for each in mails] == ["kitchen: leak", "kitchen: dry"]
        assert mails[0].text.strip() == "Battery 97 %, 120 lqi."
        octets = b"From: me@home.example\r\nSubject: on\r\n\r\n"
        parcel = at.parcel("zigbee2mqtt/lamp/set", octets, sender="me@home.example")
        origin = Origin("in", peer="127.0.0.1", protocol="ESMTP")
        parcel = replace(parcel, envelope=replace(parcel.envelope, origin=origin))
        (outcome,) = await at.deliver(parcel)
    assert isinstance(outcome, Delivered), outcome
    (command,) = at.broker.published
    assert (command.topic, json.loads(command.payload)) == ("zigbee2mqtt/lamp/set", {"state": "ON"})


async def test_its_home_assistant_gets_the_first_line_of_an_answer(kit: Make) -> None:
    automation = section("With Home Assistant", "yaml")
    said, heard = re.findall(r"topic: (\S+)", automation)
    at = kit(**options(named("ha")))
    async with at.running():
        await at.acknowledged(at.put(said, b"The front door is open for ten minutes. Answer: lock"))
        await answer(at, "lock\n\nhome wrote:\n> The front door is open\n")
    (command,) = at.broker.published
    assert (command.topic, command.payload) == (heard, b"lock")


async def test_its_answer_is_cut(kit: Make) -> None:
    at = kit(**options(example("quote")))
    async with at.running():
        await at.acknowledged(at.put("alerts/plant7/boiler"))
        await answer(at, example("answer"))
    (command,) = at.broker.published
    assert (command.topic, command.payload) == ("cmnd/plant7/boiler", b"valve close")


async def test_its_mosquitto_lets_the_gateway_do_what_it_needs_and_no_more(tmp_path: Path) -> None:
    said = re.findall(r"^```text\n(.*?)^```$", TEXT.partition("## With Mosquitto")[2], re.MULTILINE | re.DOTALL)
    settings, acl = said[0].splitlines(), said[1].splitlines()
    ours = ("listener", "certfile", "keyfile", "password_file", "acl_file", "persistence ")
    more = "\n".join(each for each in settings if not each.startswith(ours))
    with Mosquitto(tmp_path / "broker", tls=True, passwords={"gatepost": "secret"}, acl=acl, settings=more) as broker:
        tls = ssl.create_default_context(cafile=broker.folder / "ca.pem")
        here = Broker("localhost", broker.tls_port, tls)
        journal = MemoryJournal()
        client = Client(
            ClientSettings((here,), "gw", username="gatepost", password="secret"),
            log=Silence({}), journal=journal,
            subscriptions=[Subscription("alerts/#", 2)],
        )  # fmt: skip
        running = asyncio.create_task(client.run())
        try:
            async with asyncio.timeout(10):
                while not journal.subscribed():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                for topic in ("cmnd/plant7/boiler", "replies/c1", "status/alerts/plant7"):
                    assert await client.publish(Outgoing(topic, b"x", 1), topic) < 0x80
                with pytest.raises(Refused):
                    await client.publish(Outgoing("alerts/plant7", b"x", 1), "no")
            assert client.trouble is None
        finally:
            running.cancel()
            await asyncio.wait((running,))
