"""What a mailbox keeps of an envelope, and what is told of the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connectors.exchange.envelope_out import ENVID, NOTIFY, ORCPT, PRIORITY, RET, envelope_losses, return_path
from gateway.contract import Address, Envelope, Note, Notify, Origin
from mappings.network import network
from tests.connectors.exchange.bench import mail

ENVELOPE = Envelope(None, (), Origin("in"))


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (None, b"Return-Path: <>\r\n"),
        (network("smtp").parse("Pat@Far.example"), b"Return-Path: <Pat@far.example>\r\n"),
        (network("smtp").parse("jürgen@far.example"), b""),
        (network("mhs").parse("ann@sales"), b""),
        (Address("smtp", "a@b.example\r\nX: y", "k"), b""),
    ],
)
def test_the_reverse_path_is_a_field(path: Address | None, field: bytes) -> None:
    assert return_path(replace(ENVELOPE, reverse_path=path)) == field


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"notify": Notify.NEVER}, [NOTIFY]),
        ({"orcpt": "rfc822;a@b.example"}, [ORCPT]),
        ({"ret": "hdrs", "envid": "q", "priority": 4}, [RET, ENVID, PRIORITY]),
    ],
)
def test_what_ends_here_is_told(changed: dict[str, object], told: list[Note]) -> None:
    (item,) = mail(1).items
    of_item = {k: v for k, v in changed.items() if k in ("notify", "orcpt")}
    of_envelope = {k: v for k, v in changed.items() if k not in of_item}
    envelope = replace(ENVELOPE, **of_envelope)  # type: ignore[arg-type]  # fields by name
    assert list(envelope_losses(envelope, replace(item, **of_item))) == told  # type: ignore[arg-type]
