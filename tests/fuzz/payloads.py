"""Targets for messages of MQTT topics: whatever is published becomes the mail that was meant, or a bad payload with its
rule and place; and for mail: what is published of any is valid by the schema, and is read again.

An input is the topic, a line for each user property, `MARK` and the payload; without a mark it is the payload alone.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Final

from jsonschema import Draft202012Validator

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.document import schema
from connectors.mqtt.incoming import Incoming, Reader
from connectors.mqtt.outgoing import Unpublishable, publications
from connectors.mqtt.rules import PublishRule, SubscribeRule
from connectors.mqtt.topics import UNFIT, Pattern, TopicError, check_filter, check_topic, matches
from connectors.mqtt.wire.values import Arrived, Properties
from gateway.contract import Content, Envelope, Item, Origin, Parcel, Recipient
from mappings.network import parse
from tests.fuzz import adaptation
from tests.fuzz.mutate import MAX_OCTETS, Octets, examples_in
from tests.fuzz.target import REFUSED, Target, same_octets

MARK: Final = b"\n%payload%\n"
MAX_SEED: Final = 20_000
CPU_S: Final = 3.0
"""A template may take one second, and one step more."""
AT: Final = 1_795_482_123.0
HOST: Final = "gw.example"
_TESTS: Final = Path(__file__).parents[1] / "connectors" / "mqtt"
_TOPIC: Final = "alerts/plant7/pump"
_OPS: Final = ["smtp:ops-{plant}@merged.example"]
_RULE: Final = re.compile(r"[a-z0-9]+(?:\.[a-z0-9]+(?:-[a-z0-9]+)*)")
_LINE: Final = re.compile(rb"[!-9;-~]+:|[ \t]+[^ \t]")
_ONCE: Final = (b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"mime-version", b"content-type")
_NEVER: Final = frozenset((b"bcc", b"received", b"return-path", b"authentication-results", b"x-gatepost-token"))

TOKENS: Final = (
    b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"{", b"}", b"[", b"]", b":", b",", b'"',
    b"\\", b"\\u0000", b"\\r\\nBcc: e@f", b"\\ud800", b"\\ud83d\\ude00", b"null", b"true", b"1e999",
    b"9" * 400, b"[" * 40,
    b'{"a":' * 40, b"NaN", b'"subject"', b'"text"', b'"html"', b'"from"', b'"to"', b'"cc"', b'"date"', b'"headers"',
    b'"message_id"', b'"references"', b'"attachments"', b'"content"', b'"QQ=="', b'"<a@b>"', b'"ann@acme.example"',
    b'"mqtt:a/b"', b'{"address":"a@b.example","name":"x"}', b'"2026-11-24T00:00:00Z"', b'"X-A"', b'"bcc"', b"/", b"+",
    b"#", b"$SYS", b"alerts/", b"\nsubject=x", b"\nmessage-id=<a@b>", b"\nenvelope-to=smtp:a@b.example",
    b"\nenvelope-from=<>", b"\nx-a=b", b"\nbcc=e@f", b"=", MARK, b"From: a@b.example\n", b"Bcc: e@f.example\n",
    b"Subject: s\n", b"To: c@d.example\n", b"\n\n", b"=?utf-8?b?DQo=?=", b"\xef\xbb\xbf",
)  # fmt: skip

RULES: Final[dict[str, SubscribeRule]] = {
    name: SubscribeRule.model_validate({"topic": "alerts/{plant}/{rest...}", **given})
    for name, given in {
        "text": {"payload": "text", "recipients": _OPS, "subject": "{plant}: {rest}", "envelope": True},
        "json": {"payload": "json"},
        "json-named": {"payload": "json", "recipients": _OPS, "sender": "smtp:{plant}@things.example"},
        "rfc822": {"payload": "rfc822", "envelope": True},
        "template": {
            "payload": "template",
            "recipients": ["smtp:ops@merged.example"],
            "template": {
                "subject": "{{ json.subject|default(plant) }}",
                "text": "{% for k, v in json.items() %}{{ k }}={{ v }} {% endfor %}{{ payload * json.n|default(1) }}",
                "html": "<p>{{ json.text|default(payload)|replace(plant, payload) }}</p>",
                "attachments": [
                    {"name": "{{ rest }}.bin"},
                    {"name": "b", "content": "{{ json.content|default('') }}", "base64": True},
                ],
            },
        },
    }.items()
}
PUBLISH: Final[dict[str, PublishRule]] = {
    name: PublishRule.model_validate({"topic": "mail/{user}", "max_payload_bytes": 4 * 1024 * 1024, **given})
    for name, given in {
        "json": {"payload": "json", "max_inline_bytes": 200},
        "text": {"payload": "text", "attachments": "topics", "envelope": True},
        "rfc822": {"payload": "rfc822", "envelope": True},
        "template": {"payload": "template", "template": {"payload": "{{ subject }} {{ headers }} {{ attachments }}"}},
    }.items()
}
_VALIDATOR: Final = Draft202012Validator(schema())


def message(octets: bytes) -> Arrived:
    """Return the message that an input is."""
    head, mark, payload = octets.partition(MARK)
    if not mark:
        return Arrived(_TOPIC, octets, 1, False, False, Properties(), 1, "k", 1)
    topic, *lines = head.decode("utf-8", "replace").split("\n")
    user = tuple((name, value) for name, _, value in (line.partition("=") for line in lines))
    properties = Properties(
        user=user, content_type=dict(user).get("content-type"), payload_format=len(user) % 3 or None
    )
    return Arrived("alerts/" + topic, payload, 1, len(user) == 2, False, properties, 1, "k", 1)


def check_read(reader: Reader, octets: bytes) -> str:
    """Check what a rule makes of a message. Returns: the outcome in short."""
    arrived = message(octets)
    started = time.thread_time()
    try:
        found = reader.read(arrived, thread="<first@gw.example>")
    except BadPayload as bad:
        return _check_bad(bad)
    finally:
        assert time.thread_time() - started < CPU_S
        with suppress(BadPayload):
            glance = reader.glance(arrived)
            assert len(glance.line) <= 200
            assert not UNFIT.search(glance.line)
    return _check_mail(reader.rule, arrived, found)


def _check_bad(bad: BadPayload) -> str:
    assert _RULE.fullmatch(bad.rule), bad.rule
    assert bad.text.strip(), bad
    assert bad.place.strip(), bad
    assert bad.mend.strip(), bad
    assert len(bad.found) <= 200
    return REFUSED + bad.rule


def _check_mail(rule: SubscribeRule, arrived: Arrived, found: Incoming) -> str:
    assert found.recipients
    assert len({one.address for one in found.recipients}) == len(found.recipients)
    octets = b"".join(found.content)
    content = Content(octets)
    names = [one.name for one in content.fields]
    assert found.message_id.encode() in content.head.replace(b"\r\n ", b"") or rule.payload == "rfc822"
    if rule.payload == "rfc822":
        assert b"bcc" not in names
        return f"{len(found.content)} {found.priority} {found.ret}"
    assert not _NEVER & set(names), names
    assert all(names), "a line that is no field"
    assert [name for name in _ONCE if names.count(name) > 1] == []
    for line in content.head.split(b"\r\n")[:-1]:
        assert _LINE.match(line), line[:80]
        assert len(line) <= 998
    assert not {*b"\r\n\0"} & {*content.head.replace(b"\r\n", b"")}
    again = Reader(rule, HOST, lambda: AT).read(arrived, thread="<first@gw.example>")
    assert b"".join(again.content) == octets, "read again, something else is found"
    return f"{min(len(found.recipients), 3)} {min(len(names), 20)} {found.priority}"


def check_publish(rule: PublishRule, octets: bytes) -> str:
    """Check what is published of a mail, and that it is read again. Returns: the outcome in short."""
    ann = parse("smtp:ann@far.example")
    item = Item((1, 0), parse("mqtt:mail/ann"), ann)
    envelope = Envelope(parse("smtp:bob@acme.example"), (Recipient(ann),), Origin("in"), expires_at=AT + 60, priority=3)
    try:
        outs, notes = publications(Parcel(1, envelope, Content(octets), (item,), AT), item, rule, HOST, AT)
    except Unpublishable as e:
        return REFUSED + e.status.as_permanent().code
    for out in outs:
        check_topic(out.topic)
        properties = out.properties
        for text in (properties.content_type or "", *(each for pair in properties.user for each in pair)):
            assert not UNFIT.search(text), text
            assert len(text.encode()) <= 65535
        if properties.payload_format == 1:
            out.payload.decode()
    out = outs[-1]
    if rule.payload == "json":
        _VALIDATOR.validate(json.loads(out.payload))
    _check_again(rule, Arrived(out.topic, out.payload, 1, False, False, out.properties, 1, "k", 1), octets)
    return " ".join(sorted({note.what.partition(" ")[0] for note in notes}))[:80]


def _check_again(rule: PublishRule, arrived: Arrived, octets: bytes) -> None:
    if rule.payload == "template":
        return
    given = {"payload": rule.payload, "topic": "mail/{user}", "recipients": ["mqtt:{user}"], "sender": "mqtt:x"}
    try:
        found = Reader(SubscribeRule.model_validate(given), HOST, lambda: AT).read(arrived)
    except BadPayload:
        assert rule.payload == "rfc822", "what we published is not read"
        return
    if rule.payload == "rfc822" and len(found.content) == 1:
        assert found.content[0] == octets


def check_topics(octets: bytes) -> str:
    """Check that topics, filters and patterns are told apart alike everywhere."""
    one, _, other = octets.decode("utf-8", "surrogateescape").partition("\n")
    told = []
    with suppress(TopicError):
        check_topic(other)
        assert matches("#", other)
        assert matches(other, other)
        told.append("topic")
    with suppress(TopicError):
        check_filter(one)
        told.append(f"filter {matches(one, other)}")
    with suppress(TopicError):
        pattern = Pattern(one)
        values = pattern.values(other)
        assert (values is not None) == matches(pattern.filter, other)
        told.append(f"pattern {len(pattern.names)}")
    return " ".join(told) or REFUSED


@cache
def seeds() -> tuple[bytes, ...]:
    """Return what the tests of payloads show, as payloads and with the topic and properties that they have."""
    found: dict[bytes, None] = {b"": None}
    for name in ("test_incoming", "test_bad_payloads", "test_json_text", "test_schema", "test_outgoing"):
        found |= dict.fromkeys(examples_in(_TESTS / f"{name}.py", MAX_SEED)[1])
    documents = [json.dumps(one).encode() for one in _DOCUMENTS]
    headed = [b"plant7/pump\nsubject=x\nenvelope-to=smtp:zoe@far.example" + MARK + each for each in documents]
    return (*documents * (len(found) // 6), *headed * (len(found) // 12), *found)


_DOCUMENTS: Final[Iterable[object]] = (
    {"subject": "Dry", "text": "a\n", "html": "<p>", "from": "a@b.example", "to": ["c@d.example"]},
    {"to": [{"address": "c@d.example", "name": "C"}], "headers": {"X-A": ["1", "2"]}, "message_id": "<a@b>"},
    {"bcc": ["c@d.example"], "attachments": [{"name": "a", "content": "QUJD", "content_id": "x"}], "html": "<img>"},
)


_TEXTS: Final = (
    *(
        "",
        "x",
        "a\r\nBcc: e@f",
        "\0",
        "é😀",
        "\u2028",
        "<a@b>",
        "ann@acme.example",
        "mqtt:a/b",
        "QUJD",
        "x" * 300,
        "image/png",
    ),
    *("2026-11-24T09:12:04+02:00", "X-A", "bcc", "\ufffe", "=?utf-8?b?DQo=?=", "<p>&#13;&#10;</p>", "a" * 1100, "\x85"),
)
_KEYS: Final = (
    *("subject", "text", "html", "from", "sender", "to", "cc", "bcc", "reply_to", "date", "message_id", "in_reply_to"),
    *("references", "headers", "attachments", "name", "address", "content", "type", "content_id", "topic", "size", "n"),
)


def _fitting(key: str, chance: Random) -> object:
    """Return a value of the kind that a key has, though perhaps none that it may have."""
    text = chance.choice(_TEXTS)
    if key in ("to", "cc", "bcc", "reply_to", "from"):
        return [{"address": chance.choice(("a@b.example", text)), "name": text}, "mqtt:x/y"]
    if key == "headers":
        return {chance.choice(("X-A", "List-Id", text)): [text, "v"]}
    if key == "attachments":
        return [{"name": text, "content": chance.choice(("QUJD", text)), "content_id": text, "topic": text}]
    if key in ("in_reply_to", "references"):
        return ["<a@b>", chance.choice(("<c@d>", text))]
    return {"date": "2026-11-24T00:00:00Z", "message_id": "<x@y>", "sender": "a@b.example"}.get(key, text)


def _value(chance: Random, depth: int = 0) -> object:
    kind = chance.random()
    if kind < 0.6 or depth > 2:
        return chance.choice(_TEXTS)
    if kind < 0.7:
        return chance.choice((None, True, 0, -1, 5.0, 10**30))
    some = [_value(chance, depth + 1) for _ in range(chance.randrange(3))]
    return some if kind < 0.85 else {chance.choice((*_KEYS, *_TEXTS)): one for one in some}


class _Documents:
    """Changes values within JSON, since octets that are changed are seldom a document any more; then octets too."""

    def __init__(self) -> None:
        self._octets = Octets(TOKENS)

    def __call__(self, one: bytes, other: bytes, chance: Random) -> bytes:
        head, mark, payload = one.rpartition(MARK)
        try:
            value = json.loads(payload)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or chance.random() < 0.2:
            return self._octets(one, other, chance)
        for _ in range(chance.randrange(1, 4)):
            inner = [each for each in value.values() if isinstance(each, dict)] + [
                each for some in value.values() if isinstance(some, list) for each in some if isinstance(each, dict)
            ]
            place = chance.choice([value, value, *inner])
            key = chance.choice(_KEYS[:15] if place is value else _KEYS[15:])
            place[key] = _fitting(key, chance) if chance.random() < 0.8 else _value(chance)
        made = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "replace")
        return (head + mark + made)[:MAX_OCTETS]


def _targets() -> Iterable[Target[bytes]]:
    mail, documents = Octets(adaptation.MIME), _Documents()
    for name, rule in RULES.items():
        check: Callable[[bytes], str] = partial(check_read, Reader(rule, HOST, lambda: AT))
        is_mail = rule.payload == "rfc822"
        some, mutated = (adaptation.messages, mail) if is_mail else (seeds, documents)
        yield Target(f"payload-{name}", check, some, mutated, same_octets, same_octets, 5.0, MAX_SEED)
    for name, out in PUBLISH.items():
        check = partial(check_publish, out)
        yield Target(f"publish-{name}", check, adaptation.messages, mail, same_octets, same_octets, 5.0, MAX_SEED)
    yield Target("topics", check_topics, seeds, Octets(TOKENS), same_octets, same_octets, 1.0, 500)


TARGETS: Final = tuple(_targets())
