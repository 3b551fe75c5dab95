"""The pieces of Python on the plugin page that are no files of their own do what the page says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.adapt import Adapter
from gateway.contract import Mailbox, Parcel
from mappings.network import parse
from tests.docs.sandbox import ROOT, blocks
from tests.gateway.adapt.builders import TABLE, message


def _piece(with_text: str = "def letter") -> dict[str, Any]:
    (text,) = [block.text for block in blocks(ROOT / "docs" / "plugins.md") if with_text in block.text]
    names: dict[str, Any] = {}
    exec(compile(text, "docs/plugins.md", "exec"), names)
    return names


def test_a_letter_comes_out_and_a_message_goes_in() -> None:
    names = _piece()
    octets = names["message"](Mailbox("Ann Lee", parse("mhs:ann@sales")), "5 €\r\nBcc: x@y", "für dich\n", "gw.example")
    stored = message(octets, to="mhs:bob@sales")
    stored = replace(stored, envelope=replace(stored.envelope, origin=replace(stored.envelope.origin, connector="old")))
    adapter = Adapter({"old": ("mhs",)}, hostname="gw.example")
    fitted = adapter.adapt(stored, stored.deliveries, names["CAPABILITIES"], TABLE)
    parcel = Parcel(1, fitted.envelope, fitted.content, (), 0.0)
    assert names["letter"](parcel) == ["From: Ann Lee", "Subject: 5 EUR Bcc: x@y", "", "für dich", ""]


def test_a_network_is_graded_without_a_driver() -> None:
    suite = _piece("(NetworkSuite)")["TestLofts"]
    tests = [name for name in dir(suite) if name.startswith("test_")]
    for name in tests:
        getattr(suite(), name)()
    assert len(tests) > 10
