"""The page says what is so: its configurations are valid, its table is the code's. `UPDATE_DOCS=1` writes that anew."""

from __future__ import annotations

import os
import re
import tomllib

import pytest

from connectors.mqtt.config import MqttConfig
from connectors.mqtt.faults import refused
from connectors.mqtt.outgoing.report import ReportDocument
from connectors.mqtt.properties import MAPPING
from connectors.mqtt.wire.values import Refused
from tests.docs.sandbox import ROOT

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
