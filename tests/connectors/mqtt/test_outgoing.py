"""Mail as publications: each kind, what properties say, what is left out and noted, and the way back."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.outgoing import Unpublishable, capabilities, publications
from connectors.mqtt.properties import MAX_USER
from connectors.mqtt.rules import PublishRule
from connectors.mqtt.topics import UNFIT
from connectors.mqtt.wire.values import Outgoing
from gateway.contract import Address, Mailbox, Memo, Note, Notify, compose
from gateway.octets import encode_base64, no_controls
from mappings.network import parse
from tests.connectors.mqtt.payload_kit import (
    AT,
    HOST,
    MAIL,
    arrived,
    field,
    mail,
    parcel,
    publish,
    read,
    received,
    subscribe,
    whole,
)
from tests.connectors.mqtt.test_schema import VALIDATOR

PNG = b"\x89PNG\r\n\x1a\n\0\xff"


def sent(octets: bytes, rule: PublishRule, **given: Any) -> tuple[list[Outgoing], list[str]]:
    """Return what is published, and what the notes say was left out or changed."""
    outs, notes = publications(*parcel(octets, **given), rule, HOST, AT)
    return outs, [note.what for note in notes]


def user(out: Outgoing) -> dict[str, str]:
    return dict(out.properties.user)


def test_a_mail_without_a_header_lacks_no_field() -> None:
    [out], notes = sent(b"\r\ntext\r\n", publish("text"))
    assert (out.payload, notes) == (b"text\n", ["reverse-path bob@acme.example"])


def test_a_whole_mail_goes_as_it_is_and_comes_back() -> None:
    [out], notes = sent(MAIL, publish("rfc822", qos=2, retain=True))
    assert (out.topic, out.payload, out.qos, out.retain, notes) == ("mail/ann", MAIL, 2, True, [])
    assert out.properties.content_type == "message/rfc822"
    assert out.properties.payload_format == 1
    assert user(out) == {"message-id": "<m1@acme.example>"}
    back = read(subscribe("rfc822", topic="mail/{user}", recipients=["mqtt:mail/{user}"]), received(out))
    assert b"".join(back.content) == MAIL
    assert (str(back.reverse_path), [str(r.address) for r in back.recipients]) == (
        "smtp:bob@acme.example", ["mqtt:mail/ann"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("octets", "kind", "indicator"),
    [
        (MAIL.replace(b"Hello", b"Gr\xfc\xdfe"), "message/rfc822", None),
        (MAIL.replace(b"Hello", "Grüße".encode()), "message/rfc822", 1),
        (MAIL.replace(b"Bob", "Jörg".encode()), "message/global", 1),
        (MAIL.replace(b"Hello", b"a\0\nb\r"), "message/rfc822", 1),
    ],
)
def test_any_octets_go_as_a_whole(octets: bytes, kind: str, indicator: int | None) -> None:
    [out], _ = sent(octets, publish("rfc822"))
    assert (out.properties.content_type, out.properties.payload_format) == (kind, indicator)
    rule = subscribe("rfc822", topic="mail/#", recipients=["smtp:ann@far.example"])
    assert b"".join(read(rule, received(out)).content) == octets


def test_an_envelope_goes_along_where_it_is_wanted() -> None:
    given: dict[str, Any] = {
        "reverse_path": "smtp:bounce@acme.example", "notify": Notify.SUCCESS | Notify.DELAY,
        "orcpt": "rfc822;old@far.example", "ret": "hdrs", "envid": "QQ314", "priority": 4,
    }  # fmt: skip
    [out], notes = sent(MAIL, publish("rfc822", envelope=True), **given)
    assert notes == []
    back = read(subscribe("rfc822", topic="mail/#", envelope=True), received(out))
    [recipient] = back.recipients
    assert (str(recipient.address), recipient.notify, recipient.orcpt) == (
        "smtp:ann@far.example", Notify.SUCCESS | Notify.DELAY, "rfc822;old@far.example",
    )  # fmt: skip
    assert (str(back.reverse_path), back.ret, back.envid, back.priority) == (
        "smtp:bounce@acme.example", "hdrs", "QQ314", 4,
    )  # fmt: skip
    [out], notes = sent(MAIL, publish("rfc822"), **given)
    assert notes == [
        "envelope NOTIFY", "envelope ORCPT", "envelope RET", "envelope ENVID", "envelope priority",
        "reverse-path bounce@acme.example",
    ]  # fmt: skip
    assert sent(MAIL, publish("rfc822"), reverse_path=None)[1] == ["null reverse-path"]
    null, _ = sent(MAIL, publish("rfc822", envelope=True), reverse_path=None)
    assert read(subscribe("rfc822", topic="mail/#", envelope=True), received(null[0])).reverse_path is None


@pytest.mark.parametrize(
    ("expires_at", "expiry_s", "expected"),
    [
        (None, None, None),
        (None, 60, 60),
        (AT + 30.9, None, 30),
        (AT + 30, 10, 10),
        (AT + 10, 60, 10),
        (AT - 5, None, 1),
    ],
)
def test_expiry(expires_at: float | None, expiry_s: int | None, expected: int | None) -> None:
    [out], _ = sent(MAIL, publish("text", expiry_s=expiry_s), expires_at=expires_at)
    assert out.properties.message_expiry_s == expected


FULL = b"".join(
    compose(
        [
            ("Received", "from x"), ("DKIM-Signature", "v=1"),
            ("From", [Mailbox("Bob Berg", parse("smtp:bob@acme.example"))]),
            ("To", [Mailbox("Ann", parse("smtp:ann@far.example")), Mailbox("", parse("smtp:carl@far.example"))]),
            ("Cc", [Mailbox("", parse("mqtt:copy/7"))]), ("Reply-To", [Mailbox("", parse("smtp:desk@acme.example"))]),
            ("Subject", "Größe"), ("Date", "Tue, 24 Nov 2026 09:12:04 +0200"), ("Message-ID", "<m1@acme.example>"),
            ("In-Reply-To", "<m0@far.example>"), ("References", "<m-1@far.example> <m0@far.example>"),
            ("X-Plant", "7"), ("X-Tag", "a"), ("X-Tag", "b"), ("Priority", "urgent"), ("List-Id", "<n.acme.example>"),
            ("X-MQTT-Property", "unit=mm/s"), ("X-MQTT-Property", "envelope-from=smtp:eve@evil.example"),
            ("X-MQTT-Property", "subject=evil"), ("X-MQTT-Topic", "from/there"),
        ],
        "Hello Ann,\nGrüße.\n",
        [("p.png", "image/png", encode_base64(PNG)), ("big.bin", "application/x-own", encode_base64(b"x" * 5000))],
        hostname=HOST,
        html="<p>Hello</p>\n",
    )
)  # fmt: skip


def test_json_and_back() -> None:
    [big, out], notes = sent(FULL, publish("json", max_inline_bytes=1000))
    made = json.loads(out.payload)
    VALIDATOR.validate(made)
    assert (big.topic, big.payload, big.properties.content_type) == (
        "mail/ann/attachments/2", b"x" * 5000, "application/x-own",
    )  # fmt: skip
    assert user(big) == {"name": "big.bin", "message-id": "<m1@acme.example>"}
    assert (out.topic, out.properties.content_type, out.properties.payload_format) == (
        "mail/ann",
        "application/json",
        1,
    )
    assert user(out) == {"message-id": "<m1@acme.example>", "unit": "mm/s"}
    assert made["from"] == {"address": "bob@acme.example", "name": "Bob Berg"}
    assert made["cc"] == [{"address": "mqtt:copy/7"}]
    assert made["date"] == "2026-11-24T09:12:04+02:00"
    assert made["attachments"][1] == {
        "name": "big.bin", "type": "application/x-own", "topic": "mail/ann/attachments/2", "size": 5000,
    }  # fmt: skip
    assert notes == ["header fields Received, DKIM-Signature, X-MQTT-Topic"]
    back = mail(read(subscribe("json", topic="mail/#"), received(out)))
    before = mail_of(FULL)
    assert same(back) == same(before)
    assert field(back, "X-MQTT-Attachment") == "big.bin; topic=mail/ann/attachments/2"
    for name in (b"x-plant", b"x-tag", b"priority", b"list-id"):
        assert back.get_all(name) == before.get_all(name)
    assert [(a.name, a.type, whole(a)) for a in back.attachments if a is not back.page] == [("p.png", "image/png", PNG)]


def mail_of(octets: bytes) -> Memo:
    from gateway.contract import Content, memo

    return memo(Content(octets))


def same(found: Memo) -> dict[str, Any]:
    """Return what JSON keeps of a mail, but for its files and other fields."""
    people = {name: found.mailboxes(name.encode(), ("smtp", "mqtt")) for name in ("from", "to", "cc", "reply-to")}
    fields = {name: found.get(name.encode()) for name in ("date", "message-id", "in-reply-to", "references")}
    return {"subject": found.subject, "text": found.text, "html": found.html, **people, **fields}


@pytest.mark.parametrize(
    ("attachments", "topics", "lost"),
    [
        ("inline", ["mail/ann"], []),
        ("topics", ["mail/ann/attachments/1", "mail/ann/attachments/2", "mail/ann"], []),
        ("drop", ["mail/ann"], ["attachment p.png", "attachment big.bin"]),
    ],
)
def test_files_of_json(attachments: str, topics: list[str], lost: list[str]) -> None:
    outs, notes = sent(FULL, publish("json", attachments=attachments))
    assert [out.topic for out in outs] == topics
    assert [what for what in notes if what.startswith("attachment")] == lost


@pytest.mark.parametrize(
    ("attachments", "topics", "lost"),
    [
        ("inline", ["mail/ann"], ["attachment p.png", "attachment big.bin"]),
        ("topics", ["mail/ann/attachments/1", "mail/ann/attachments/2", "mail/ann"], []),
    ],
)
def test_a_text_and_back(attachments: str, topics: list[str], lost: list[str]) -> None:
    outs, notes = sent(FULL, publish("text", attachments=attachments))
    assert [out.topic for out in outs] == topics
    out = outs[-1]
    assert out.payload == "Hello Ann,\nGrüße.\n".encode()
    assert (out.properties.content_type, out.properties.payload_format) == ("text/plain; charset=utf-8", 1)
    assert user(out) == {
        "message-id": "<m1@acme.example>", "unit": "mm/s", "subject": "Größe",
        "date": "Tue, 24 Nov 2026 09:12:04 +0200",
        "in-reply-to": "<m0@far.example>", "references": "<m-1@far.example> <m0@far.example>",
        "from": "Bob Berg <bob@acme.example>", "X-Plant": "7", "X-Tag": "b", "Priority": "urgent",
        "List-Id": "<n.acme.example>",
    }  # fmt: skip
    assert notes[: 1 + len(lost)] == ["HTML", *lost]
    assert {"To", "Cc", "Reply-To", "header fields Received, DKIM-Signature, X-MQTT-Topic"} <= set(notes)
    back = mail(read(subscribe(topic="mail/#"), received(out)))
    before = same(mail_of(FULL))
    assert {k: v for k, v in same(back).items() if k not in ("from", "to", "cc", "reply-to", "html")} == {
        k: v for k, v in before.items() if k not in ("from", "to", "cc", "reply-to", "html")
    }
    assert (field(back, "X-Plant"), back.get_all(b"x-tag")) == ("7", ("a", "b"))


def test_a_template_makes_the_payload() -> None:
    template = {
        "payload": '{"state": {{ subject|lower|tojson }}, "by": "{{ sender }}", "to": "{{ recipient }}", '
        '"dev": "{{ device }}", "h": "{{ headers["x-plant"] }}", "n": {{ attachments|length }}, "t": "{{ topic }}"}',
        "content_type": "application/json",
    }
    rule = publish("template", topic="mail/{device}", template=template, attachments="topics")
    outs, _ = sent(FULL, rule)
    assert len(outs) == 3
    assert json.loads(outs[-1].payload) == {
        "state": "größe", "by": "bob@acme.example", "to": "ann@far.example", "dev": "ann", "h": "7", "n": 2,
        "t": "mail/ann",
    }  # fmt: skip
    assert outs[-1].properties.content_type == "application/json"


ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize("payload", ["{{ nothing }}", ENDLESS, "{{ 'x' * 2000000 }}"])
def test_a_template_that_makes_nothing(payload: str) -> None:
    with pytest.raises(Unpublishable) as caught:
        sent(FULL, publish("template", template={"payload": payload}))
    assert caught.value.status.code in ("5.6.3", "5.3.4")
    assert "template" not in caught.value.status.text or "{{" not in caught.value.status.text


@pytest.mark.parametrize("payload", ["rfc822", "json", "text"])
def test_what_is_too_large_fails(payload: str) -> None:
    with pytest.raises(Unpublishable) as caught:
        sent(FULL + b"x" * 10, publish(payload, max_payload_bytes=15))
    assert caught.value.status.code == "5.3.4"


def test_a_file_that_is_too_large_fails() -> None:
    with pytest.raises(Unpublishable) as caught:
        sent(FULL, publish("text", attachments="topics", max_payload_bytes=4000))
    assert caught.value.status.code == "5.3.4"


@pytest.mark.parametrize("topic", ["/a", "a/", "$SYS/x", "a/#", "a/+", "a\0", "a\r\nb", ""])
def test_no_unchecked_topic_is_published_to(topic: str) -> None:
    given, item = parcel(MAIL)
    with pytest.raises(Unpublishable) as caught:
        publications(given, replace(item, address=Address("mqtt", topic, topic)), publish("text"), HOST)
    assert caught.value.status.code == "5.1.3"


ODD = (
    b"From: =?utf-8?q?a=0D=0ABcc=3A_x?= <bob@acme.example>, nobody@-.example\r\n"
    b"Subject: =?utf-8?b?DQpCY2M6IGUAAQ==?=\r\n"
    b"Message-ID: no id\r\nReferences: <a@b> junk\r\nDate: yesterday\r\nX-Odd: =?utf-8?q?=EF=BF=BF=C2=85x?=\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\none\0two\xff\r\n"
)  # fmt: skip


@pytest.mark.parametrize("payload", ["json", "text"])
def test_nothing_leaves_its_line_nor_ends_a_connection(payload: str) -> None:
    [out], notes = sent(ODD, publish(payload))
    for name, value in out.properties.user:
        assert not UNFIT.search(name + value)
    assert b"\0" not in out.payload
    assert "NUL in the text" in notes
    assert "From: nobody@-.example" in notes
    if payload == "json":
        VALIDATOR.validate(json.loads(out.payload))
        assert {"Message-ID", "References", "Date yesterday"} <= set(notes)


def test_there_is_room_for_some_properties() -> None:
    octets = b"".join(b"X-F%d: %s\r\n" % (n, b"v" * 90) for n in range(300)) + MAIL
    [out], notes = sent(octets, publish("text"))
    assert len(out.properties.user) <= MAX_USER
    assert any(what.startswith("user properties X-F") for what in notes)
    long, notes = sent(b"X-Long: " + b"y" * 9000 + b"\r\n" + MAIL, publish("text"))
    assert "user properties X-Long" in notes
    assert sum(len(n) + len(v) for n, v in long[0].properties.user) < 1000


def test_capabilities_are_those_of_the_payload() -> None:
    assert capabilities(publish("rfc822")).mime
    assert not capabilities(publish("text")).mime
    assert not capabilities(publish("text")).attachments
    assert capabilities(publish("text", attachments="topics")).attachments
    assert not capabilities(publish("json")).nul


_NAMES = st.text(st.characters(codec="utf-8"), max_size=20).map(no_controls)
_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0\u2028\u2029"), max_size=60)
_ADDRESSES = st.sampled_from(
    ["smtp:ann@acme.example", 'smtp:"a b"@acme.example', "smtp:jö@bücher.example", "mqtt:alerts/plant7", "mqtt:a b/c"]
).map(parse)
_BOXES = st.lists(st.builds(Mailbox, _NAMES, _ADDRESSES), max_size=3)
_IDS = st.lists(st.sampled_from(["<a@b>", "<c!d@e.example>", "<1@[::1]>"]), max_size=3).map(" ".join)
_FILES = st.lists(
    st.tuples(_NAMES.filter(bool), st.sampled_from(["image/png", "text/csv"]), st.binary(max_size=60)), max_size=3
)


@given(_NAMES, _TEXTS, st.none() | _TEXTS, _BOXES, _BOXES, _BOXES, _IDS, _IDS, _FILES)
def test_whatever_json_carries_comes_back(
    subject: str, text: str, html: str | None, to: list[Mailbox], cc: list[Mailbox], reply: list[Mailbox], answers: str,
    thread: str, files: list[tuple[str, str, bytes]],
) -> None:  # fmt: skip
    author = Mailbox("Bob", parse("smtp:bob@acme.example"))
    made: list[bytes] = compose(
        [
            ("From", [author]), ("To", to), ("Cc", cc), ("Reply-To", reply), ("Subject", subject),
            ("In-Reply-To", answers),
            ("Date", "Tue, 24 Nov 2026 09:12:04 +0200"), ("Message-ID", "<m@b>"), ("References", thread),
        ],
        text, [(name, kind, encode_base64(octets)) for name, kind, octets in files], hostname=HOST, html=html,
    )  # fmt: skip
    octets = b"".join(made)
    [out], _ = sent(octets, publish("json"))
    VALIDATOR.validate(json.loads(out.payload))
    back = mail(read(subscribe("json", topic="mail/#", recipients=["mqtt:x"], subject=" "), received(out)))
    before = mail_of(octets)
    wanted = same(before)
    if not to and not cc:
        wanted["to"] = (Mailbox("", parse("mqtt:x")),)
    assert {**same(back), "subject": back.subject} == {**wanted, "subject": wanted["subject"]}
    found = [(a.name, a.type, whole(a)) for a in back.attachments if a is not back.page]
    assert found == [(a.name, a.type, whole(a)) for a in before.attachments if a is not before.page]


@given(
    st.binary(max_size=200).map(lambda body: MAIL + body) | st.binary(max_size=200),
    st.sampled_from(["json", "text", "rfc822"]),
)
def test_any_mail_is_published_and_read(octets: bytes, payload: str) -> None:
    outs, notes = publications(*parcel(octets), publish(payload), HOST, AT)
    assert all(isinstance(note, Note) for note in notes)
    if payload == "json":
        VALIDATOR.validate(json.loads(outs[-1].payload))
    rule = subscribe(payload, topic="mail/#", recipients=["mqtt:x"], sender="mqtt:y")
    with suppress(*([BadPayload] if payload == "rfc822" else [])):
        read(rule, received(outs[-1]))


def test_a_payload_that_came_goes_back_with_its_properties() -> None:
    message = arrived("x", user=[("unit", "mm/s"), ("Shift", "a=b"), ("envelope-to", "smtp:eve@evil.example")])
    octets = b"".join(read(subscribe(), message).content)
    [out], _ = sent(octets, publish("text"))
    assert user(out)["unit"] == "mm/s"
    assert user(out)["Shift"] == "a=b"
    assert "envelope-to" not in user(out)
    assert out.properties.response_topic is None
