"""The published JSON Schema, held to what is read and written by a validator that is not ours."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from connectors.mqtt.document import ADDRESS_FORMAT, read_address, read_document, schema, write_document
from connectors.mqtt.incoming import BadPayload
from connectors.mqtt.outgoing import report_payload
from connectors.mqtt.outgoing.report import ReportDocument
from gateway.contract import Action, AddressError, RecipientReport, Report, Status
from mappings.network import parse
from tests.connectors.mqtt.test_incoming import DOCUMENT

PAGE = Path(__file__).parents[3] / "docs/connectors/mqtt-schema.json"
FORMATS = FormatChecker(formats=())


@FORMATS.checks(ADDRESS_FORMAT, raises=AddressError)
def _is_address(value: object) -> bool:
    return not isinstance(value, str) or bool(read_address(value))


def published() -> dict[str, Any]:
    """Return what stands in the documentation: mails, and the reports of the status topic."""
    made = schema()
    report = ReportDocument.model_json_schema(mode="serialization", ref_template="#/$defs/{model}")
    made["$defs"] |= report.pop("$defs") | {"Report": report}
    return made


VALIDATOR = Draft202012Validator(published(), format_checker=FORMATS)
REPORTS = Draft202012Validator({"$ref": "#/$defs/Report", "$defs": published()["$defs"]})


def is_valid(value: Any) -> bool:
    return bool(VALIDATOR.is_valid(value))


def is_read(value: Any) -> bool:
    try:
        read_document(json.dumps(value).encode())
    except BadPayload:
        return False
    return True


def test_schema_is_published() -> None:
    """`UPDATE_DOCS=1` writes it anew."""
    fresh = json.dumps(published(), indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(fresh, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == fresh, "run the test with UPDATE_DOCS=1 and look at the change"


def test_it_is_a_schema_and_every_key_is_explained() -> None:
    made = published()
    Draft202012Validator.check_schema(made)
    for one in (made, *made["$defs"].values()):
        assert all("description" in key for key in one["properties"].values())
    assert all(is_valid(one) and is_read(one) for one in made["examples"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, True),
        (DOCUMENT, True),
        ([], False),
        ("x", False),
        ({"subject": ""}, True),
        ({"subject": None}, False),
        ({"subject": "a\n"}, False),
        ({"text": None}, True),
        ({"text": "a\r\nb\x07"}, True),
        ({"text": "\0"}, False),
        ({"from": []}, True),
        ({"from": "ann@acme.example"}, True),
        ({"from": [{"address": "ann@acme.example"}, "bob@acme.example"], "sender": "ann@acme.example"}, True),
        ({"from": {"name": "Ann"}}, False),
        ({"from": "ann@acme.example\n"}, False),
        ({"to": "ann@acme.example"}, False),
        ({"to": ["mqtt:alerts/7"]}, True),
        ({"to": ["mqtt:alerts/#"]}, False),
        ({"to": ["jö@bücher.example"]}, True),
        ({"date": "2024-02-29T23:59:59.5Z"}, True),
        ({"date": "2023-02-29T23:59:59Z"}, False),
        ({"date": "1900-02-29T23:59:59Z"}, False),
        ({"date": "2026-04-31T00:00:00Z"}, False),
        ({"date": "2026-11-24T09:12:04"}, False),
        ({"date": "2026-11-24T09:12:04+02:00\n"}, False),
        ({"message_id": "<a@b>\n"}, False),
        ({"message_id": "<a b>"}, False),
        ({"references": ["<a@b>"] * 201}, False),
        ({"headers": {"X-A": [], "X-B": ["1", "2"]}}, True),
        ({"headers": {"BCC": "x"}}, False),
        ({"headers": {"Bccx": "x"}}, True),
        ({"headers": {"Content-Md5": "x"}}, False),
        ({"headers": {"X-MQTT-Topic": "x"}}, False),
        ({"headers": {"X A": "x"}}, False),
        ({"headers": {"X-A\n": "x"}}, False),
        ({"headers": {"": "x"}}, False),
        ({"headers": {"X" * 77: "x"}}, False),
        ({"attachments": [{}]}, True),
        ({"attachments": [{"content": "QQ=="}]}, True),
        ({"attachments": [{"content": "QQ"}]}, False),
        ({"attachments": [{"content": "QQ==\n"}]}, False),
        ({"attachments": [{"content": "QQ==QQ=="}]}, False),
        ({"attachments": [{"content": ""}]}, True),
        ({"attachments": [{"size": 5.0}]}, True),
        ({"attachments": [{"size": 5.5}]}, False),
        ({"attachments": [{"size": True}]}, False),
        ({"attachments": [{"size": -1}]}, False),
        ({"attachments": [{"type": "image"}]}, False),
        ({"attachments": [{"name": "x" * 256}]}, False),
        ({"unknown": 1}, False),
    ],
)
def test_what_is_valid_is_read_and_nothing_else(value: Any, expected: bool) -> None:
    assert (is_valid(value), is_read(value)) == (expected, expected)


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["<a@b>", "2026-11-24T00:00:00Z", "QUJD", "image/png", "ann@acme.example", "mqtt:a/b", "a\r\nb", "x\n", "\0", ""]
)
_VALUES = st.recursive(
    _TEXTS | st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["name", "address", "content", "size", "type", "X-A", "bcc"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of every value inside."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in [*pairs] for place in ((value, key), *_places(inner))]


@given(st.data())
def test_a_change_is_valid_where_it_is_read(data: st.DataObject) -> None:
    value = copy.deepcopy(DOCUMENT)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(_places(value)))
        container[key] = data.draw(_VALUES)
    if is_valid(value):
        assert is_read(value)
    elif is_read(value):
        raise AssertionError(f"read, and not valid: {value}")


@given(st.dictionaries(st.sampled_from([*schema()["properties"], "x"]), _VALUES, max_size=4))
def test_anything_is_valid_where_it_is_read(value: dict[str, Any]) -> None:
    # Several authors need a sender, which the reader of the mail asks for; both are the same for the document.
    assert is_valid(value) == is_read(value)


def test_what_is_written_is_read() -> None:
    assert is_valid(json.loads(write_document(DOCUMENT)))
    assert json.loads(write_document({"a": None, "b": "", "c": [], "d": 0, "text": ""})) == {"d": 0, "text": ""}


def test_a_report_is_valid() -> None:
    bob = parse("smtp:bob@far.example")
    status = Status("5.1.1", "nobody\r\nhas that name", reply="550 5.1.1 no\0", remote="mx.far.example")
    one = RecipientReport(Action.FAILED, bob, parse("mqtt:a/b"), status, last_attempt_at=1_795_482_123.0)
    out = report_payload(
        Report(7, parse("mqtt:alerts/7"), 1_795_482_100.0, (one,), "E\n1", peer="alerts/7"), "status/7"
    )
    made = json.loads(out.payload)
    REPORTS.validate(made)
    assert (out.topic, out.properties.content_type, out.properties.payload_format) == (
        "status/7",
        "application/json",
        1,
    )
    assert made["topic"] == "alerts/7"
    assert made["arrived"] == "2026-11-24T01:01:40+00:00"
    assert made["envid"] == "E 1"
    assert made["recipients"] == [
        {
            "action": "failed", "recipient": "smtp:bob@far.example", "final": "mqtt:a/b", "status": "5.1.1",
            "text": "nobody  has that name", "reply": "550 5.1.1 no ", "remote": "mx.far.example",
            "last_attempt": "2026-11-24T01:02:03+00:00",
        }
    ]  # fmt: skip
    assert not REPORTS.is_valid({**made, "x": 1})
