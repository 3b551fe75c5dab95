"""Payloads as mail: each kind, what topic, rule and properties add, and who gets it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from connectors.mqtt.incoming import BadPayload, Incoming, Reader
from connectors.mqtt.wire.values import NO_PROPERTIES, Arrived, Properties
from gateway.contract import Content, Notify
from mappings.network import parse
from tests.connectors.mqtt.payload_kit import (
    AT,
    HOST,
    MAIL,
    OPS,
    arrived,
    field,
    mail,
    names,
    read,
    reader,
    subscribe,
    whole,
)

PNG = b"\x89PNG\r\n\x1a\n\0\xff"


def test_a_text_is_a_mail() -> None:
    found = read(subscribe(), arrived("Pump is dry\nsince 7:10\n"))
    seen = mail(found)
    assert seen.text == "Pump is dry\nsince 7:10\n"
    assert seen.subject == "alerts/plant7/pump"
    assert found.reverse_path == parse("mqtt:alerts/plant7/pump")
    assert [str(r.address) for r in found.recipients] == OPS
    assert seen.date == AT
    assert found.trusted
    assert found.message_id == field(seen, "Message-ID")
    [author] = seen.mailboxes(b"from", ("smtp", "mqtt"))
    assert (author.name, str(author.address)) == ("alerts/plant7/pump", "mqtt:alerts/plant7/pump")
    assert names(seen)[:6] == ["From", "To", "Subject", "Date", "Message-ID", "X-MQTT-Topic"]


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"Pump is dry\nsince 7:10\n", b"a\tb", b"a\r\nb\rc", b"x" * 990, b"x" * 991, "gr\xfcn".encode(), b"\x7f",
        b"\x1b[1m", b"." * 78 + b"\n" * 9,
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sender": "smtp:{unit}@things.example", "subject": "gr\xfcn {plant}"},
        {"recipients": ["smtp:a@b.example", "mqtt:copy/{unit}"], "subject": "s" * 300},
    ],
)
@pytest.mark.parametrize("said", [NO_PROPERTIES, Properties(payload_format=1, subscription_ids=(1,)), Properties()])
@pytest.mark.parametrize("hostname", [HOST, "a" * 40 + ".example", "no host"])
def test_a_plain_text_is_made_as_any_other(
    payload: bytes, options: dict[str, Any], said: Properties, hostname: str
) -> None:
    quick, thorough = (Reader(subscribe(**options), hostname, lambda: AT) for _ in range(2))
    thorough._is_plain = False
    for unit in ("pump", "p\xfcmp", "pump"):
        one = replace(arrived(payload), topic=f"alerts/plant7/{unit}", properties=said)
        quickly, thoroughly = outcome(quick, one), outcome(thorough, one)
        if not isinstance(quickly, str):
            known, found = quickly.whole(), Content(b"".join(quickly.content))
            assert (known.size, known.head, known.body()) == (found.size, found.head, found.body())
            assert known.message_id == found.message_id
            quickly = replace(quickly, header=None)
        assert quickly == thoroughly


def outcome(made_by: Reader, one: Arrived) -> Incoming | str:
    try:
        return made_by.read(one)
    except BadPayload as bad:
        return str(bad)


def test_levels_fill_recipients_sender_and_subject() -> None:
    rule = subscribe(
        recipients=["smtp:ops-{plant}@merged.example", "mqtt:copy/{unit}", "smtp:all@merged.example"],
        sender="smtp:{unit}@things.example",
        subject="{unit} of {plant}",
    )
    found = read(rule, arrived("x"))
    assert [str(r.address) for r in found.recipients] == [
        "smtp:ops-plant7@merged.example", "mqtt:copy/pump", "smtp:all@merged.example",
    ]  # fmt: skip
    assert str(found.reverse_path) == "smtp:pump@things.example"
    assert mail(found).subject == "pump of plant7"


@pytest.mark.parametrize("level", ["a@evil.example", "a b", 'a"', "a(x)", "a,b", "", "a<b>", "x" * 201, "a:b", "%41"])
def test_a_level_names_no_other_domain(level: str) -> None:
    rule = subscribe(recipients=["smtp:{plant}@merged.example"])
    with pytest.raises(BadPayload) as caught:
        read(rule, arrived("x", f"alerts/{level}/pump"))
    assert caught.value.rule == "topic.level-in-address"
    assert read(subscribe(recipients=["mqtt:copy/{plant}"], sender=OPS[0]), arrived("x", "alerts/a@b (c)/pump"))


def test_properties_become_fields() -> None:
    message = arrived(
        "x",
        user=[
            ("Subject", "Dry"), ("date", "2026-11-23T10:00:00+02:00"), ("message-id", "<a@b>"),
            ("in-reply-to", "<c@d>"), ("references", "<e@f> <c@d>"), ("X-Plant", "7"), ("priority", "urgent"),
            ("from", "eve@evil.example"),
            ("bcc", "eve@evil.example"), ("unit", "mm/s"), ("X-Gatepost-Token", "secret"), ("x-mqtt-topic", "y"),
            ("received", "z"), ("to", "w"),
        ],
        retain=True, response_topic="reply/7", correlation_data=b"\0\1", content_type="text/plain", message_expiry_s=60,
    )  # fmt: skip
    found = read(subscribe(), message)
    seen = mail(found)
    assert seen.subject == "Dry"
    assert found.message_id == "<a@b>"
    wanted = {
        "Date": "Mon, 23 Nov 2026 10:00:00 +0200", "Message-ID": "<a@b>", "In-Reply-To": "<c@d>",
        "References": "<e@f> <c@d>", "X-Plant": "7", "priority": "urgent", "X-MQTT-Topic": "alerts/plant7/pump",
        "X-MQTT-Response-Topic": "reply/7", "X-MQTT-Correlation-Data": "AAE=", "X-MQTT-Content-Type": "text/plain",
        "X-MQTT-Message-Expiry": "60", "X-MQTT-Retained": "yes",
    }  # fmt: skip
    assert {name: field(seen, name) for name in wanted} == wanted
    assert [v.decode() for v in seen.content.get_all(b"x-mqtt-property")] == [
        "from=eve@evil.example", "bcc=eve@evil.example", "unit=mm/s", "X-Gatepost-Token=secret", "x-mqtt-topic=y",
        "received=z", "to=w",
    ]  # fmt: skip
    assert found.expires_at == AT + 60
    assert [str(r.address) for r in found.recipients] == OPS
    assert {"bcc", "received", "x-gatepost-token"}.isdisjoint(name.lower() for name in names(seen))


def test_properties_that_are_no_identifier_or_date_are_kept_whole() -> None:
    seen = mail(
        read(subscribe(), arrived("x", user=[("message-id", "a b"), ("date", "tomorrow"), ("references", "x")]))
    )
    assert field(seen, "Date") == "Tue, 24 Nov 2026 01:02:03 +0000"
    assert [*seen.content.get_all(b"x-mqtt-property")] == [b"message-id=a b", b"date=tomorrow", b"references=x"]


def test_identifiers_are_the_same_for_the_same_hand_over() -> None:
    ids = [read(subscribe(), arrived("x", key=key)).message_id for key in ("a", "a", "b", "", "")]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4


@pytest.mark.parametrize("payload", ["text", "json", "template"])
def test_an_identifier_and_a_thread_that_are_given(payload: str) -> None:
    rule = subscribe(payload, recipients=OPS, **({"template": {}} if payload == "template" else {}))
    body = '{"message_id": "<own@b>", "references": ["<r@b>"]}' if payload == "json" else "x"
    user = [] if payload == "json" else [("message-id", "<own@b>"), ("references", "<r@b>")]
    found = read(rule, arrived(body, user=user), message_id="<signed@gw>", thread="<first@gw>")
    seen = mail(found)
    assert found.message_id == field(seen, "Message-ID") == "<signed@gw>"
    assert field(seen, "X-MQTT-Message-ID") == "<own@b>"
    assert field(seen, "In-Reply-To") == "<first@gw>"
    assert field(seen, "References") == "<r@b> <first@gw>"


@pytest.mark.parametrize(
    ("payload", "kind", "expected"),
    [
        ("grün".encode("latin-1"), "text/plain; charset=ISO-8859-1", "grün"),
        ("темно".encode("koi8-r"), 'text/plain; charset="koi8-r"', "темно"),
        ("grün".encode(), "text/plain; charset=utf-8", "grün"),
        ("x".encode("utf-16"), "text/plain; charset=utf-16", "x"),
    ],
)
def test_charsets(payload: bytes, kind: str, expected: str) -> None:
    assert mail(read(subscribe(), arrived(payload, content_type=kind))).text == expected


def test_a_text_that_is_a_page() -> None:
    seen = mail(read(subscribe(), arrived("<p>hï <b>you</b></p>", content_type="text/html; charset=utf-8")))
    assert (seen.html, seen.text) == ("<p>hï <b>you</b></p>", "hï you\n")


def test_a_whole_message_stays_octet_for_octet() -> None:
    found = read(subscribe("rfc822", topic="mail/#"), arrived(MAIL, "mail/x"), message_id="<ours@gw>", thread="<t@gw>")
    assert found.content == (MAIL,)
    assert found.message_id == "<m1@acme.example>"
    assert str(found.reverse_path) == "smtp:bob@acme.example"
    assert [str(r.address) for r in found.recipients] == ["smtp:ann@far.example"]
    assert not found.trusted
    assert read(subscribe("rfc822", topic="mail/#", trusted=True), arrived(MAIL, "mail/x")).trusted


def test_nobody_is_trusted_to_name_an_author_by_a_rule_that_names_recipients() -> None:
    """What is trusted is signed with the key of From's domain."""
    named = json.dumps({"from": "boss@acme.example", "text": "pay"})
    unnamed = json.dumps({"text": "dry"})
    for payload, given, options, trusted in (
        (MAIL, "rfc822", {}, False),
        (MAIL, "rfc822", {"sender": "smtp:plant@acme.example"}, False),
        (MAIL, "rfc822", {"trusted": True}, True),
        (named, "json", {}, False),
        (named, "json", {"sender": "smtp:plant@acme.example"}, True),
        (unnamed, "json", {}, True),
    ):
        found = read(subscribe(given, recipients=OPS, **options), arrived(payload))
        assert (found.trusted, found.returning) == (trusted, not trusted), (given, options)
        assert [str(r.address) for r in found.recipients] == OPS


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (
            b"From: a@b.example\r\nBcc: e@f.example\r\n\r\nx",
            b"From: a@b.example\r\nMessage-ID: <OWN>\r\nDate: NOW\r\nTo: undisclosed-recipients:;\r\n\r\nx",
        ),
        (
            b"To: c@d.example\nSender: a@b.example\nFrom: a@b.example, g@h.example",
            b"To: c@d.example\nSender: a@b.example\nFrom: a@b.example, g@h.example\nMessage-ID: <OWN>\nDate: NOW\n\n",
        ),
        (
            b"Bcc: c@d.example\r\nno field\r\nFrom: a@b.example\r\nDate: y\r\nMessage-ID: <1@b>\r\nTo: c@d.example"
            b"\r\n\r\n",
            b"From: a@b.example\r\nno field\r\nDate: y\r\nMessage-ID: <1@b>\r\nTo: c@d.example\r\n\r\n",
        ),
    ],
)
def test_what_a_message_lacks_is_added(octets: bytes, expected: bytes) -> None:
    found = read(subscribe("rfc822", topic="mail/#"), arrived(octets, "mail/x"))
    made = b"".join(found.content).replace(found.message_id.encode(), b"<OWN>")
    assert made.replace(b"<1@b>", b"<OWN>") == expected.replace(b"NOW", b"Tue, 24 Nov 2026 01:02:03 +0000").replace(
        b"<1@b>", b"<OWN>"
    )
    assert len(found.recipients) == 1


def test_a_message_whose_rule_says_who() -> None:
    rule = subscribe("rfc822", topic="mail/#", sender="smtp:thing@x.example", recipients=OPS)
    found = read(rule, arrived(b"Subject: x\r\n\r\n", "mail/x"))
    assert str(found.reverse_path) == "smtp:thing@x.example"
    assert [str(r.address) for r in found.recipients] == OPS
    assert field(mail(found), "From") == "thing@x.example"


DOCUMENT: dict[str, Any] = {
    "subject": "Dry", "text": "Pump 3\n", "html": "<p>Pump <b>3</b><img src=cid:p1></p>",
    "from": {"name": "Bob Berg", "address": "bob@acme.example"}, "to": ["ann@far.example"],
    "cc": [{"address": "mqtt:copy/7", "name": "Copies"}], "bcc": ["zoe@far.example"], "reply_to": ["desk@acme.example"],
    "date": "2026-11-24T09:12:04+02:00", "message_id": "<m1@acme.example>", "in_reply_to": ["<m0@acme.example>"],
    "references": ["<m-1@acme.example>", "<m0@acme.example>"], "headers": {"X-Plant": "7", "X-Tag": ["a", "b"]},
    "attachments": [
        {"name": "p.png", "type": "image/png", "content": base64.b64encode(PNG).decode(), "content_id": "p1"},
        {"name": "größe.bin", "content": "AAH/"},
        {"name": "video.mp4", "type": "video/mp4", "topic": "alerts/plant7/pump/attachments/3", "size": 5},
    ],
}  # fmt: skip


def test_json_is_a_mail() -> None:
    found = read(subscribe("json"), arrived(json.dumps(DOCUMENT)))
    seen = mail(found)
    assert (seen.subject, seen.text, seen.html) == ("Dry", DOCUMENT["text"], DOCUMENT["html"])
    files = [(a.name, a.type, whole(a), a.content_id) for a in seen.attachments if a is not seen.page]
    assert files == [
        ("p.png", "image/png", PNG, "p1"), ("größe.bin", "application/octet-stream", b"\0\1\xff", ""),
    ]  # fmt: skip
    wanted = {
        "From": "Bob Berg <bob@acme.example>", "To": "ann@far.example", "Reply-To": "desk@acme.example",
        "Date": "Tue, 24 Nov 2026 09:12:04 +0200", "Message-ID": "<m1@acme.example>",
        "In-Reply-To": "<m0@acme.example>", "References": "<m-1@acme.example> <m0@acme.example>", "X-Plant": "7",
        "X-MQTT-Attachment": "video.mp4; topic=alerts/plant7/pump/attachments/3", "Bcc": None,
    }  # fmt: skip
    assert {name: field(seen, name) for name in wanted} == wanted
    assert [*seen.content.get_all(b"x-tag")] == [b"a", b"b"]
    assert [str(r.address) for r in found.recipients] == ["smtp:ann@far.example", "mqtt:copy/7", "smtp:zoe@far.example"]
    assert str(found.reverse_path) == "smtp:bob@acme.example"
    assert not found.trusted


@pytest.mark.parametrize(
    ("document", "options", "wanted"),
    [
        ({}, {}, {"From": "alerts/plant7/pump", "To": "ops@merged.example", "Subject": "alerts/plant7/pump"}),
        ({}, {"subject": "{unit}!"}, {"Subject": "pump!"}),
        ({"from": "a@b.example"}, {}, {"From": "a@b.example", "Sender": None}),
        (
            {"from": "a@b.example"}, {"sender": "smtp:t@x.example"},
            {"From": "t@x.example", "X-Original-From": "a@b.example"},
        ),
        ({"to": ["c@d.example"]}, {}, {"To": "c@d.example"}),
        ({"bcc": ["c@d.example"]}, {"recipients": []}, {"To": "undisclosed-recipients:;"}),
        (
            {"from": ["a@b.example", "c@d.example"], "sender": "c@d.example"}, {},
            {"From": "a@b.example, c@d.example", "Sender": "c@d.example"},
        ),
    ],
)  # fmt: skip
def test_who_wrote_json_and_who_gets_it(
    document: dict[str, Any], options: dict[str, Any], wanted: dict[str, str | None]
) -> None:
    found = read(subscribe("json", **{"recipients": OPS, **options}), arrived(json.dumps(document)))
    seen = mail(found)
    got = {name: field(seen, name) for name in wanted}
    if got.get("From", "").startswith("alerts"):
        got["From"] = "alerts/plant7/pump"
    assert got == wanted
    if options.get("recipients") != []:
        assert [str(r.address) for r in found.recipients] == OPS


def test_a_template_makes_all_of_it() -> None:
    rule = subscribe(
        "template",
        template={
            "subject": "{{ unit }} of {{ plant }}: {{ json.state }}\n",
            "text": "{{ json.text }} ({{ levels[0] }}, {{ now|strftime('%H:%M') }}, {{ properties.user.shift }})\n",
            "html": "<p>{{ json.text }}</p>",
            "attachments": [
                {"name": "{{ unit }}.png", "type": "image/png", "content": "{{ json.image }}", "base64": True},
                {"name": "raw.json", "type": "application/json"},
                {"name": "log.txt", "type": "text/plain", "content": "{{ json.text }}\n"},
            ],
        },
    )
    octets = json.dumps({"state": "on", "text": "a < b", "image": base64.encodebytes(PNG).decode()}).encode()
    seen = mail(read(rule, arrived(octets, user=[("shift", "night")])))
    assert seen.subject == "pump of plant7: on"
    assert seen.text == "a < b (alerts, 01:02, night)\n"
    assert seen.html == "<p>a &lt; b</p>"
    files = [(a.name, a.type, whole(a)) for a in seen.attachments if a is not seen.page]
    assert files == [
        ("pump.png", "image/png", PNG), ("raw.json", "application/json", octets), ("log.txt", "text/plain", b"a < b\n"),
    ]  # fmt: skip


def test_a_payload_that_is_a_picture() -> None:
    template = {
        "subject": "{{ topic }} at {{ now.hour }}", "text": "A picture.\n",
        "attachments": [{"name": "{{ levels[-1] }}.jpg", "type": "image/jpeg"}],
    }  # fmt: skip
    seen = mail(read(subscribe("template", template=template), arrived(PNG)))
    [picture] = seen.attachments
    assert (picture.name, picture.type, whole(picture)) == ("pump.jpg", "image/jpeg", PNG)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("image/png", "image/png"), ("", "application/octet-stream"), ("x", "application/octet-stream")],
)
def test_a_file_has_the_type_that_the_property_tells(kind: str, expected: str) -> None:
    template = {"text": "x", "attachments": [{"name": "x"}]}
    [file] = mail(read(subscribe("template", template=template), arrived(PNG, content_type=kind or None))).attachments
    assert file.type == expected


ENVELOPE = [
    ("envelope-from", "smtp:bounce@acme.example"), ("envelope-to", "smtp:zoe@far.example"),
    ("envelope-notify", "SUCCESS,DELAY"), ("envelope-orcpt", "rfc822;old@far.example"), ("Envelope-Ret", "hdrs"),
    ("envelope-id", "QQ314"), ("envelope-priority", "-4"),
]  # fmt: skip


def test_an_envelope_in_properties() -> None:
    found = read(subscribe("rfc822", topic="mail/#", envelope=True), arrived(MAIL, "mail/x", ENVELOPE))
    [recipient] = found.recipients
    assert (str(recipient.address), recipient.notify, recipient.orcpt) == (
        "smtp:zoe@far.example", Notify.SUCCESS | Notify.DELAY, "rfc822;old@far.example",
    )  # fmt: skip
    assert (str(found.reverse_path), found.ret, found.envid, found.priority) == (
        "smtp:bounce@acme.example", "hdrs", "QQ314", -4,
    )  # fmt: skip
    null = read(subscribe("rfc822", topic="mail/#", envelope=True), arrived(MAIL, "mail/x", [("envelope-from", "<>")]))
    assert null.reverse_path is None
    assert [str(r.address) for r in null.recipients] == ["smtp:ann@far.example"]


def test_an_envelope_is_not_believed_by_default() -> None:
    found = read(subscribe(), arrived("x", user=ENVELOPE))
    assert [str(r.address) for r in found.recipients] == OPS
    assert (str(found.reverse_path), found.ret, found.envid, found.priority) == (
        "mqtt:alerts/plant7/pump", None, None, 0,
    )  # fmt: skip
    assert b"envelope-to=smtp:zoe@far.example" in [*mail(found).content.get_all(b"x-mqtt-property")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("envelope-from", "nobody"), ("envelope-to", "smtp:a@@b"), ("envelope-ret", "some"),
        ("envelope-priority", "10"),
        ("envelope-notify", "NEVER,SUCCESS"), ("envelope-notify", "SUCCESS,NEVER"), ("envelope-notify", "ALWAYS"),
    ],
)  # fmt: skip
def test_what_is_no_envelope(name: str, value: str) -> None:
    with pytest.raises(BadPayload) as caught:
        read(subscribe(envelope=True), arrived("x", user=[(name, value)]))
    assert (caught.value.rule, caught.value.place) == ("property.envelope", f"user property {name}")
    with pytest.raises(BadPayload, match="twice"):
        read(subscribe(envelope=True), arrived("x", user=[("envelope-id", "a"), ("Envelope-ID", "b")]))


@pytest.mark.parametrize(
    ("options", "payload", "value", "line"),
    [
        ({}, b" on\n", "on", "on"),
        ({}, b"a\r\nb\0\x1b[1m", "a\r\nb\0\x1b[1m", "a b [1m"),
        ({}, b"\xff", "\\xff", "\ufffd"),
        ({"calm": {"value": "/state"}}, b'{"state": "ON", "t": 1}', "ON", '{"state": "ON", "t": 1}'),
        ({"calm": {"value": "/s"}}, b'{"s": {"b": 1, "a": 2}}', '{"a": 2, "b": 1}', '{"s": {"b": 1, "a": 2}}'),
        ({"calm": {"value": "/none"}}, b"{}", "", "{}"),
    ],
)  # fmt: skip
def test_a_glance(options: dict[str, Any], payload: bytes, value: str, line: str) -> None:
    glance = reader(subscribe(**options)).glance(arrived(payload))
    assert (glance.value, glance.line) == (value, line)


def test_a_glance_is_short() -> None:
    one, other = (reader(subscribe()).glance(arrived(b"x" * 10**6 + end)) for end in (b"a", b"b"))
    assert len(one.line) == 200
    assert len(one.value) < 1100
    assert one.value != other.value
    with pytest.raises(BadPayload):
        reader(subscribe(calm={"value": "/a"})).glance(arrived("{"))


def test_the_host_is_ours() -> None:
    assert read(subscribe(), arrived("x")).message_id.endswith(f".mqtt@{HOST}>")
