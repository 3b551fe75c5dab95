"""What nothing can be made of: each is refused with its rule, its place, what is there and the mend, at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mqtt.incoming import BadPayload
from connectors.mqtt.rules import SubscribeRule
from connectors.mqtt.wire.values import Arrived, Properties
from tests.connectors.mqtt.payload_kit import MAIL, OPS, arrived, mail, names, read, subscribe

INJECTED = "x\r\nBcc: eve@evil.example"
JSON = subscribe("json", recipients=OPS)
WHOLE = subscribe("rfc822", topic="mail/#")


def templated(**parts: Any) -> SubscribeRule:
    return subscribe("template", template=parts)


def document(**keys: Any) -> Arrived:
    return arrived(json.dumps(keys))


def whole(octets: bytes) -> Arrived:
    return arrived(octets, "mail/x")


BAD: list[tuple[str, SubscribeRule, Arrived, str, str]] = [
    # invalid UTF-8
    ("text", subscribe(), arrived(b"ok\n\xff\xfe"), "payload.not-utf8", "octet 3, line 2"),
    ("text, cut", subscribe(), arrived("é".encode()[:1]), "payload.not-utf8", "octet 0, line 1"),
    ("text, surrogates", subscribe(), arrived(b"\xed\xa0\x80"), "payload.not-utf8", "octet 0, line 1"),
    ("text, overlong", subscribe(), arrived(b"\xc0\x80"), "payload.not-utf8", "octet 0, line 1"),
    ("json", JSON, arrived(b'{"text": "\xff"}'), "payload.not-utf8", "octet 10, line 1"),
    ("format indicator", WHOLE, arrived(MAIL + b"\xff", "mail/x", payload_format=1), "property.payload-format",
     f"octet {len(MAIL)}"),
    ("charset", subscribe(), arrived(b"x", content_type="text/plain; charset=klingon"), "payload.charset",
     "Content Type"),
    ("charset that is no text", subscribe(), arrived(b"x", content_type="text/plain; charset=rot13"),
     "payload.charset", "Content Type"),
    ("not in its charset", subscribe(), arrived(b"\x81", content_type="text/plain; charset=shift_jis"),
     "payload.charset", "octet 0"),
    # bombs
    ("deep", JSON, arrived(b'{"text":' + b"[" * 10**4), "json.too-deep", "octet 0, line 1"),
    ("huge number", JSON, arrived(b'{"text": ' + b"1" * 10**6 + b"}"), "json.number", "octet 9, line 1"),
    ("name twice", JSON, arrived(b'{"to": ["a@b.example"], "to": ["e@f.example"]}'), "json.name-twice",
     "octet 25, line 1"),
    ("many values", JSON, arrived(b'{"headers": {"X": [' + b"1," * 10**5 + b"1]}}"), "json.too-many-values",
     "the whole payload"),
    ("many people", JSON, document(to=["a@b.example"] * 1001), "json.type", "/to"),
    ("many files", JSON, document(attachments=[{}] * 201), "json.type", "/attachments"),
    ("too large", subscribe(), arrived(b"x" * 10, oversized=2**28), "payload.too-large", "the whole payload"),
    # what is no document
    ("empty", JSON, arrived(b""), "json.syntax", "octet 0, line 1"),
    ("no object", JSON, arrived(b"[]"), "json.type", "the whole payload"),
    ("unknown key", JSON, document(subjekt="x"), "json.unknown-key", "/subjekt"),
    ("no address", JSON, document(to=["ann"]), "json.value", "/to/0/address"),
    ("several authors", JSON, document(**{"from": ["a@b.example", "c@d.example"]}), "json.no-sender", "/from"),
    ("nobody gets it", subscribe("json"), document(text="x"), "payload.no-recipient", "the whole payload"),
    # templates without an end
    ("endless", templated(text="{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
     arrived("x"), "template.endless", "template.text, line 1"),
    ("recursive", templated(text="x\n{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), arrived("x"),
     "template.recursive", "template.text, line 2"),
    ("much of little", templated(text="{{ 'x' * json.n }}"), arrived('{"n": 99999999999}'), "template.too-long",
     "template.text, line 1"),
    ("recursive over the payload", templated(text="{% for x in json recursive %}{{ loop(x) }}{% endfor %}"),
     arrived("[" * 33 + "]" * 33), "json.too-deep", "octet 0, line 1"),
    ("a key that is not there", templated(subject="{{ json.state }}"), arrived("{}"), "template.undefined",
     "template.subject, line 1"),
    ("no json", templated(text="{{ json.state }}"), arrived("{oops"), "json.syntax", "octet 1, line 1"),
    ("no text", templated(text="{{ payload }}"), arrived(b"\xff"), "payload.not-utf8", "octet 0, line 1"),
    ("no base64", templated(text="x", attachments=[{"name": "x", "content": "{{ payload }}", "base64": True}]),
     arrived("!"), "template.base64", "template.attachments[0]"),
    # CR and LF in any field
    ("topic", subscribe(), arrived("x", "alerts/a\r\nBcc: e/b"), "property.character", "the topic, character 8"),
    ("content type", subscribe(), arrived("x", content_type=INJECTED), "property.character",
     "Content Type, character 1"),
    ("response topic", subscribe(), arrived("x", response_topic=INJECTED), "property.character",
     "Response Topic, character 1"),
    ("user property", subscribe(), arrived("x", user=[("subject", INJECTED)]), "property.character",
     "user property 'subject', character 1"),
    ("user property's name", subscribe(), arrived("x", user=[(INJECTED, "x")]), "property.character",
     "a user property's name, character 1"),
    *[(f"json {key}", JSON, document(**{key: INJECTED}), "json.value", f"/{key}")
      for key in ("subject", "date", "message_id")],
    *[(f"json {key}", JSON, document(**{key: ["<a@b>", INJECTED]}), "json.value", f"/{key}/1")
      for key in ("in_reply_to", "references")],
    *[(f"json {key}", JSON, document(**{key: [{"address": "a@b.example", "name": INJECTED}]}), "json.value",
       f"/{key}/0/name") for key in ("from", "to", "cc", "bcc", "reply_to")],
    *[(f"json address in {key}", JSON, document(**{key: [f"a@b.example\r\nBcc: {key}"]}), "json.value",
       f"/{key}/0/address") for key in ("from", "to", "cc", "bcc", "reply_to")],
    ("json sender", JSON, document(sender={"address": "a@b.example", "name": INJECTED}), "json.value", "/sender/name"),
    ("json header", JSON, document(headers={"X-A": INJECTED}), "json.value", "/headers/X-A/0"),
    ("json header's name", JSON, document(headers={INJECTED: "x"}), "json.value", f"/headers/{INJECTED}"),
    ("json header that is another's", JSON, document(headers={"bCC": "e@evil.example"}), "json.value", "/headers/bCC"),
    *[(f"json file's {key}", JSON, document(attachments=[{key: INJECTED}]), "json.value", f"/attachments/0/{key}")
      for key in ("name", "type", "content", "content_id", "topic")],
    ("template's subject", templated(subject="{{ json.s }}"), document(s=INJECTED), "field.control",
     "template.subject"),
    ("template's file name", templated(attachments=[{"name": "{{ json.s }}"}]), document(s=INJECTED), "field.control",
     "template.attachments[0].name"),
    # NUL
    ("NUL in text", subscribe(), arrived("a\n\0"), "payload.nul", "octet 2, line 2"),
    ("NUL in a topic", subscribe(), arrived("x", "alerts/\0/b"), "property.character", "the topic, character 7"),
    ("NUL in a property", subscribe(), arrived("x", user=[("a", "\0")]), "property.character",
     "user property 'a', character 0"),
    ("NUL in JSON's text", JSON, document(text="a\0"), "json.value", "/text"),
    ("NUL in JSON's html", JSON, document(html="a\0"), "json.value", "/html"),
    ("NUL in JSON's subject", JSON, document(subject="a\0"), "json.value", "/subject"),
    ("NUL in a template's text", templated(text="{{ json.s }}"), document(s="\0"), "payload.nul", "octet 0, line 1"),
    ("NUL in a header", WHOLE, whole(b"From: a@b.example\r\nSubject: \0\r\n\r\n"), "rfc822.nul", "octet 28, line 2"),
    # what is no message
    ("no header", WHOLE, whole(b"Hello\r\n\r\n"), "rfc822.no-header", "octet 0"),
    ("nothing", WHOLE, whole(b""), "rfc822.no-header", "octet 0"),
    ("only an empty line", WHOLE, whole(b"\r\nx"), "rfc822.no-header", "octet 0"),
    ("a mailbox's line", WHOLE, whole(b"From x\nTo: a@b.example\n\n"), "rfc822.no-header", "octet 0"),
    ("no sender", WHOLE, whole(b"To: a@b.example\r\n\r\n"), "rfc822.no-sender", "the field From"),
    ("two senders", WHOLE, whole(b"From: a@b.example, c@d.example\r\n\r\n"), "rfc822.no-sender", "the field From"),
    ("no recipient", WHOLE, whole(b"From: a@b.example\r\n\r\n"), "payload.no-recipient", "the whole payload"),
    ("bad address", WHOLE, whole(b"From: a@b.example\r\nTo: c@d.example, e@-f\r\n\r\n"), "rfc822.bad-address",
     "the field To"),
    ("many recipients", WHOLE, whole(b"From: a@b.example\r\nTo: " + b",".join(b"a%d@b.example" % n for n in range(1001))
     + b"\r\n\r\n"), "rfc822.too-many-recipients", "the fields To, Cc and Bcc"),
    ("a long header", WHOLE, whole(b"From: a@b.example\r\nX: " + b"x" * 2**21 + b"\r\n\r\n"), "rfc822.header-too-long",
     "octet 2097152, line 2"),
    # topics that are no addresses
    ("a long topic", subscribe(), arrived("x", "alerts/" + "x" * 1100 + "/b"), "topic.no-address", "the topic"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "message", "broken", "place"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_each_is_refused(rule: SubscribeRule, message: Arrived, broken: str, place: str) -> None:
    started = time.thread_time()
    with pytest.raises(BadPayload) as caught:
        read(rule, message)
    assert time.thread_time() - started < 2
    bad = caught.value
    assert (bad.rule, bad.place) == (broken, place), bad
    assert bad.text
    assert bad.mend
    assert len(bad.found) <= 200


def test_the_table_knows_each_rule_but_those_of_envelopes_and_levels() -> None:
    assert len({row[3] for row in BAD}) >= 25


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    [INJECTED, "\0", "<a@b>", "2026-11-24T00:00:00Z"]
)
_INNER = st.sampled_from(["name", "address", "content"])
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _TEXTS | st.none() | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_INNER, inner, max_size=2),
    max_leaves=4,
)
_KEYS = st.sampled_from(
    ["subject", "text", "html", "from", "to", "date", "message_id", "references", "headers", "attachments", "cc"]
)
_DOCUMENTS = st.dictionaries(_KEYS, _VALUES, max_size=4).map(lambda value: json.dumps(value).encode())
_MAKERS: list[Callable[[], SubscribeRule]] = [
    lambda: subscribe(envelope=True),
    lambda: JSON,
    lambda: subscribe("rfc822", topic="alerts/#", envelope=True),
    lambda: templated(subject="{{ json.subject }}", text="{{ json }}{{ payload }}", html="{{ json.html }}"),
    lambda: subscribe(recipients=["smtp:{plant}@merged.example"], sender="smtp:{unit}@x.example", subject="{unit}"),
]
_PROPERTIES = st.builds(
    Properties,
    st.none() | st.sampled_from([0, 1]),
    st.none() | st.integers(0, 0xFFFFFFFF),
    st.none() | _TEXTS,
    st.none() | _TEXTS,
    st.none() | st.binary(max_size=9),
    st.lists(
        st.tuples(_TEXTS | st.sampled_from(["subject", "date", "x-a", "envelope-to", "envelope-notify"]), _TEXTS),
        max_size=3,
    ).map(tuple),
)
_FIELDS = frozenset(
    {"from", "to", "cc", "sender", "reply-to", "subject", "date", "message-id", "in-reply-to", "references"}
) | frozenset({"mime-version", "content-type", "content-transfer-encoding", "x-original-from"})


@given(st.sampled_from(_MAKERS), st.binary(max_size=60) | _DOCUMENTS | _TEXTS.map(str.encode), _TEXTS, _PROPERTIES)
def test_a_mail_or_a_bad_payload_and_no_field_of_a_stranger(
    make: Callable[[], SubscribeRule], payload: bytes, level: str, properties: Properties
) -> None:
    rule = make()
    message = Arrived(f"alerts/{level}/pump", payload, 1, False, False, properties, 1, "k", 1)
    try:
        found = read(rule, message)
    except BadPayload:
        return
    octets = b"".join(found.content)
    if rule.payload != "rfc822":
        assert not {*b"\r\n"} & {*octets.replace(b"\r\n", b"")}
        own = {name.lower() for name in names(mail(found))} - _FIELDS
        assert "bcc" not in own
        assert all(name.startswith(("x-", "priority")) or name in payload.decode().lower() for name in own)
    assert found.recipients
