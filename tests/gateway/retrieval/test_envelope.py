"""For whom a message in a mailbox of many people was: by the server's fields, and by nobody else's."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.contract import Content
from gateway.retrieval.config import FetchConfig
from gateway.retrieval.envelope import Unclear, recipients, reverse_path, without_traces

BODY = b"Subject: x\r\n\r\nbody\r\n"
ONE = b"Received: from mx.isp.example by pop.isp.example for <ann@acme.example>; Tue, 24 Nov 2026 01:02:03 +0000\r\n"
FAR = b"Received: from far.example by mx.isp.example with ESMTP id 1; Tue, 24 Nov 2026 01:02:02 +0000\r\n"


def fetch(**options: Any) -> FetchConfig:
    return FetchConfig(mailbox="acme", domains=("acme.example", "old.example"), **options)


def told(head: bytes, **options: Any) -> list[str]:
    return [each.value for each in recipients(Content(head + BODY), fetch(**options))]


@pytest.mark.parametrize(
    ("head", "options", "expected"),
    [
        (b"Delivered-To: ann@acme.example\r\n", {}, ["ann@acme.example"]),
        (b"delivered-to: <Ann@ACME.example>\r\n", {}, ["Ann@acme.example"]),
        # the provider's own mailbox is none of ours
        (b"Delivered-To: all@isp.example\r\nDelivered-To: ann@acme.example\r\n", {}, ["ann@acme.example"]),
        (b"Delivered-To: acme-ann@acme.example\r\n", {"strip_prefix": "acme-"}, ["ann@acme.example"]),
        (b"X-Original-To: ann@acme.example\r\nDelivered-To: all@isp.example\r\n", {}, ["ann@acme.example"]),
        # the first field in the order decides, wherever it stands
        (
            b"X-Original-To: sales@acme.example\r\nDelivered-To: ann@acme.example\r\n",
            {},
            ["ann@acme.example"],
        ),
        (
            b"X-Original-To: sales@acme.example\r\nDelivered-To: ann@acme.example\r\n",
            {"fields": ("x-original-to", "delivered-to")},
            ["sales@acme.example"],
        ),
        # Exim and providers name all of one delivery
        (
            b"Envelope-to: ann@acme.example, bob@old.example,\r\n\tx@far.example\r\n",
            {},
            ["ann@acme.example", "bob@old.example"],
        ),
        (b"X-Envelope-To: <ann@acme.example>\r\n", {}, ["ann@acme.example"]),
        (ONE + FAR, {}, ["ann@acme.example"]),
        # the nearest to the mailbox counts
        (ONE + ONE.replace(b"ann@", b"bob@"), {}, ["ann@acme.example"]),
        (FAR + ONE, {}, ["ann@acme.example"]),
        (b"Received: by x; for <ann@acme.example>\r\nDelivered-To: bob@acme.example\r\n", {}, ["bob@acme.example"]),
        (b"Delivered-To: ann@acme.example\r\nDelivered-To: ANN@acme.example\r\n", {}, ["ann@acme.example"]),
    ],
)
def test_the_servers_fields_tell(head: bytes, options: dict[str, Any], expected: list[str]) -> None:
    assert told(head, **options) == expected


@pytest.mark.parametrize(
    ("head", "options", "says"),
    [
        (b"", {}, "names anybody of acme.example, old.example"),
        (b"To: ann@acme.example\r\n", {}, "names anybody"),
        (b"Delivered-To: ann@else.example\r\n", {}, "names anybody"),
        (b"Delivered-To: ann@sub.acme.example\r\n", {}, "names anybody"),
        (b"Delivered-To: ann@acme.example\r\nDelivered-To: bob@acme.example\r\n", {}, "names several people"),
        # below what the server and its neighbours write stands what the sender wrote
        (FAR * 3 + b"Delivered-To: ann@acme.example\r\n", {}, "names anybody"),
        (FAR * 3 + ONE, {}, "names anybody"),
        (FAR + b"Delivered-To: ann@acme.example\r\n", {"hops": 1}, "names anybody"),
        (ONE, {"fields": ("delivered-to",)}, "no field of delivered-to"),
        (b"Received: from x (for <ann@acme.example>)\r\n" + FAR, {"fields": ("x-envelope-to",)}, "names anybody"),
        (b"Delivered-To: \xff\xfe@@@\r\n", {}, "names anybody"),
        (b"Envelope-To: " + b":" * 5000 + b"\r\n", {}, "names anybody"),
        (b"X: y\r\n" * 600 + b"Delivered-To: ann@acme.example\r\n", {}, "names anybody"),
        (b"X: " + b"y" * 70_000 + b"\r\nDelivered-To: ann@acme.example\r\n", {}, "names anybody"),
    ],
)
def test_what_is_not_told_is_not_guessed(head: bytes, options: dict[str, Any], says: str) -> None:
    with pytest.raises(Unclear, match=says):
        told(head, **options)


@pytest.mark.parametrize(
    ("head", "path"),
    [
        (b"Return-Path: <bob@far.example>\r\n", "bob@far.example"),
        (b"Return-Path: bob@far.example\r\nReturn-Path: <x@y.example>\r\n", "bob@far.example"),
        (b"Return-Path: <>\r\n", None),
        (b"Return-Path: <@@@>\r\n", None),
        (b"From: bob@far.example\r\n", None),
    ],
)
def test_reports_go_to_the_return_path_alone(head: bytes, path: str | None) -> None:
    found = reverse_path(Content(head + BODY))
    assert (None if found is None else found.value) == path


def test_traces_of_a_final_delivery_are_left_out() -> None:
    head = b"Return-Path: <x@y.example>\r\nDelivered-To: ann@acme.example\r\n"
    assert without_traces(Content(head + ONE + BODY), delivered_to=True).octets() == ONE + BODY
    assert (
        without_traces(Content(head + BODY), delivered_to=False).octets()
        == b"Delivered-To: ann@acme.example\r\n" + BODY
    )
    content = Content(BODY)
    assert without_traces(content, delivered_to=True) is content


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "one of them"),
        ({"recipients": ["a@b.example"], "domains": ["b.example"]}, "one of them"),
        ({"recipients": ["@@"]}, "'@@'"),
        ({"recipients": ["a@b.example"], "hops": 2}, "hops is for a mailbox of many people"),
        ({"domains": ["b.example"], "otherwise": "x y"}, "'x y'"),
        ({"domains": ["b.example"], "fields": ["to"]}, "fields"),
    ],
)
def test_bad_options_are_told(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        FetchConfig.model_validate({"mailbox": "x"} | options)
