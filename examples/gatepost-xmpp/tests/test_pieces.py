"""What is decided without a connection: errors, stanzas, ids, reports, options."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from gatepost_xmpp.config import XmppConfig
from gatepost_xmpp.faults import condition_of, outcome_of, stream_text
from gatepost_xmpp.reports import stanzas_of
from gatepost_xmpp.sending import Ids
from gatepost_xmpp.stanzas import NS, clean, error, message, read, receipt
from pydantic import ValidationError

from gateway.contract import Action, Deferred, Failed, Item, RecipientReport, Report, Scope, Status
from mappings.network import parse

DOMAIN = "mail.chat.example"
CONFIG = XmppConfig.model_validate({"domain": DOMAIN, "secret": "x"})
ANN = parse("xmpp:ann@chat.example")
BOB = parse(f"xmpp:bob\\40far.example@{DOMAIN}")


# -- errors


@pytest.mark.parametrize(
    ("condition", "kind", "outcome", "code", "scope"),
    [
        ("service-unavailable", "cancel", Failed, "5.1.1", None),
        ("service-unavailable", "wait", Deferred, "4.3.0", Scope.RECIPIENT),
        ("item-not-found", "cancel", Failed, "5.1.1", None),
        ("gone", "cancel", Failed, "5.1.6", None),
        ("jid-malformed", "modify", Failed, "5.1.3", None),
        ("forbidden", "auth", Failed, "5.7.1", None),
        ("policy-violation", "modify", Failed, "5.7.1", None),
        ("policy-violation", "wait", Deferred, "4.3.0", Scope.RECIPIENT),
        ("resource-constraint", "wait", Deferred, "4.2.2", Scope.RECIPIENT),
        ("recipient-unavailable", "wait", Deferred, "4.2.1", Scope.RECIPIENT),
        ("remote-server-not-found", "cancel", Deferred, "4.4.4", Scope.HOP),
        ("remote-server-timeout", "wait", Deferred, "4.4.1", Scope.HOP),
        ("internal-server-error", "cancel", Deferred, "4.3.0", Scope.RECIPIENT),
        ("undefined-condition", "cancel", Failed, "5.3.0", None),
        ("undefined-condition", "continue", Deferred, "4.3.0", Scope.RECIPIENT),
        ("made-up", "", Deferred, "4.3.0", Scope.RECIPIENT),
    ],
)
def test_each_condition_has_its_outcome(
    condition: str, kind: str, outcome: type, code: str, scope: Scope | None
) -> None:
    found = outcome_of(condition, kind, "so it said")
    assert type(found) is outcome
    assert found.status.code == code
    assert condition in found.status.cause
    if isinstance(found, Deferred):
        assert found.scope is scope


@pytest.mark.parametrize(
    ("code", "condition", "kind"),
    [
        ("5.1.1", "item-not-found", "cancel"),
        ("5.4.4", "item-not-found", "cancel"),
        ("5.1.3", "jid-malformed", "modify"),
        ("5.7.1", "forbidden", "auth"),
        ("5.3.4", "not-acceptable", "modify"),
        ("4.3.0", "resource-constraint", "wait"),
        ("4.7.1", "resource-constraint", "wait"),
    ],
)
def test_each_status_has_its_condition(code: str, condition: str, kind: str) -> None:
    assert condition_of(Status(code)) == (condition, kind)


def test_a_stream_error_is_told_in_words() -> None:
    assert "secret" in stream_text("not-authorized")
    assert stream_text("made-up")


# -- stanzas


def through(made: ElementTree.Element) -> Any:
    """Read a stanza as the other side gets it."""
    return read(ElementTree.fromstring(ElementTree.tostring(made)))


def test_a_message_is_read_as_it_was_written() -> None:
    made = message(
        "ann@chat.example", BOB.value, "1", type="chat", body="<b>&\n\0für", subject="Ne\x07ws",
        headers=[("Message-Id", "<1@x>")], asks=True,
    )  # fmt: skip
    found = through(made)
    assert (found.to, found.sender, found.id, found.type) == ("ann@chat.example", BOB.value, "1", "chat")
    assert (found.body, found.subject) == ("<b>&\n\ufffdfür", "Ne\ufffdws")
    assert found.headers == {"message-id": "<1@x>"}
    assert found.wants_receipt


def test_receipts_and_errors_are_read_as_they_were_written() -> None:
    assert through(receipt("ann@chat.example/desk", BOB.value, "2", "1")).receipt == "1"
    found = through(error("ann@chat.example/desk", BOB.value, "1", "item-not-found", "cancel", "nobody"))
    assert (found.type, found.id, found.condition, found.kind, found.text) == (
        "error", "1", "item-not-found", "cancel", "nobody",
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        f"<message xmlns='{NS}'/>",
        f"<message xmlns='{NS}' type='error'/>",
        f"<message xmlns='{NS}' type='error'><error/></message>",
        f"<message xmlns='{NS}'><received xmlns='urn:xmpp:receipts'/></message>",
        f"<message xmlns='{NS}'><headers xmlns='http://jabber.org/protocol/shim'><header/></headers></message>",
        f"<message xmlns='{NS}'><body><b>x</b></body></message>",
    ],
)
def test_what_is_missing_is_empty(text: str) -> None:
    found = read(ElementTree.fromstring(text))
    assert (found.sender, found.body, found.receipt, found.headers) == ("", "", "", {})


def test_clients_and_components_have_their_own_namespaces() -> None:
    found = read(ElementTree.fromstring("<message xmlns='jabber:client' from='a@b.example/c'><body>x</body></message>"))
    assert (found.body, found.bare) == ("x", "a@b.example")


def test_headers_are_bounded() -> None:
    many = "".join(f"<header name='X-{n}'>{'v' * (9000 if n == 0 else 1)}</header>" for n in range(100))
    shim = f"<headers xmlns='http://jabber.org/protocol/shim'>{many}</headers>"
    found = read(ElementTree.fromstring(f"<message xmlns='{NS}'>{shim}</message>"))
    assert len(found.headers) == 49
    assert "x-0" not in found.headers


def test_what_xml_cannot_hold_is_replaced() -> None:
    assert clean("a\r\nb\rc\x00\x1b\ufffe\ud800") == "a\nb\nc\ufffd\ufffd\ufffd\ufffd"
    assert clean("\t\U0001f54a") == "\t\U0001f54a"


# -- ids


def test_our_ids_are_known_and_nobody_elses() -> None:
    ids = Ids(b"key")
    item = Item((5, 2), ANN, ANN)
    made = ids.make(item, BOB.value)
    assert made == ids.make(item, BOB.value), "the same at each attempt"
    assert ids.is_ours(made, "Ann@Chat.example", BOB.value)
    assert not Ids(b"other").is_ours(made, ANN.value, BOB.value)
    for other in ("", "gp", "gp-x-0", made[:-1], made.replace("-2-", "-3-"), "é" + made, "x"):
        assert not ids.is_ours(other, ANN.value, BOB.value)


def test_who_got_a_message_can_send_it_back_to_nobody_but_its_sender() -> None:
    ids = Ids(b"key")
    made = ids.make(Item((5, 2), ANN, ANN), BOB.value)
    assert not ids.is_ours(made, ANN.value, f"victim\\40far.example@{DOMAIN}")
    assert not ids.is_ours(made, "eve@chat.example", BOB.value)
    assert not ids.is_ours(made, ANN.value, "")
    assert not ids.is_ours(made, ANN.value, "a@b@c")
    report = ids.make(Item((5, 2), ANN, ANN), "")
    assert not any(ids.is_ours(report, ANN.value, to) for to in ("", BOB.value, DOMAIN))


# -- reports


def report(action: Action, *, envid: str | None = "ask-1", peer: str = "ann@chat.example/desk") -> Report:
    about = RecipientReport(action, BOB, parse("smtp:bob@far.example"), Status("5.1.1", "no such person"))
    return Report(7, ANN, 0.0, (about,), envid=envid, peer=peer)


def told(of: Report, config: XmppConfig = CONFIG) -> list[Any]:
    return [through(each) for each in stanzas_of(of, Item((8, 0), ANN, ANN), "id", config)]


@pytest.mark.parametrize("action", [Action.DELIVERED, Action.RELAYED])
def test_a_delivery_is_a_receipt_at_the_device(action: Action) -> None:
    (found,) = told(report(action))
    assert (found.to, found.sender, found.receipt) == ("ann@chat.example/desk", BOB.value, "ask-1")


def test_a_failure_is_an_error_and_a_text() -> None:
    failed, text = told(report(Action.FAILED))
    assert (failed.to, failed.id, failed.condition) == ("ann@chat.example/desk", "ask-1", "item-not-found")
    assert (text.to, text.sender) == (ANN.value, BOB.value)
    assert text.body == "Your message to bob@far.example could not be delivered: no such person (5.1.1)."


def test_a_delay_is_a_text() -> None:
    (found,) = told(report(Action.DELAYED))
    assert "is late" in found.body


def test_without_an_id_there_is_no_receipt_and_another_device_is_not_asked() -> None:
    assert told(report(Action.DELIVERED, envid=None)) == []
    (text,) = told(report(Action.FAILED, envid=None))
    assert text.body
    (found,) = told(report(Action.DELIVERED, peer="mallory@evil.example/x"))
    assert found.to == ANN.value
    never = XmppConfig.model_validate({"domain": DOMAIN, "secret": "x", "receipts": "never"})
    assert told(report(Action.DELIVERED), never) == []


# -- options


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"domain": "x@mail.chat.example"}, "without a user"),
        ({"domain": "mail chat"}, "a chat domain"),
        ({"relay_domains": ["ann@chat.example"]}, "without a user"),
        ({"server": "127.0.0.1"}, "a host and a port"),
        ({"server": "chat.example:5347"}, "beyond_loopback"),
        ({"headers": ["Subject"]}, "told in its own way"),
        ({"headers": ["X Y"]}, "no name of a header field"),
        ({"receipt": "x"}, "Extra inputs"),
    ],
)
def test_bad_options_are_told_with_their_mend(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        XmppConfig.model_validate({"domain": DOMAIN, "secret": "very secret", **given})


def test_good_options() -> None:
    made = XmppConfig.model_validate(
        {"domain": "Mail.Chat.Example", "secret": "very secret", "server": "[::1]:5347", "headers": ["X-Mine"]}
    )
    assert (made.domain, made.headers) == (DOMAIN, ("x-mine",))
    assert "very secret" not in repr(made)
