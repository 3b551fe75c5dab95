"""What a file does not tell is told in notes: the envelope's wishes, paths, fields, references."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.filedrop.formats import Codec, Options, codec_class
from connectors.filedrop.formats.losses import envelope_losses, field_losses, path_losses, reference_losses
from gateway.contract import Content, Envelope, Item, Note, Notify, Origin
from mappings.network import parse
from tests.connectors.filedrop.codec_kit import parcel

ANN, BOB = parse("smtp:ann@a.example"), parse("smtp:bob@b.example")
ASKED = Item((1, 0), BOB, BOB, Notify.SUCCESS, "rfc822;b@x.example")
ENVELOPE = Envelope(ANN, (), Origin("x"), priority=4, ret="hdrs", envid="e")
SENT = parcel(ANN, [ASKED], b"From: ann@a.example\r\nTo: bob@b.example\r\n\r\ntext", envelope=ENVELOPE)
ALL = ["envelope NOTIFY", "envelope ORCPT", "envelope RET", "envelope ENVID", "envelope priority"]


def whats(notes: tuple[Note, ...]) -> list[str]:
    return [note.what for note in notes]


def codec(name: str, options: Options | None = None, **settings: Any) -> Codec:
    made = codec_class(name)  # type: ignore[arg-type]  # a name of FORMATS
    return made(name, options or Options(hostname="gw.example"), made.Settings.model_validate(settings))


def test_the_envelope() -> None:
    assert whats(envelope_losses(SENT, SENT.items, "why")) == ALL
    assert whats(envelope_losses(SENT, SENT.items, "why", told=("RET", "priority"))) == [ALL[0], ALL[1], ALL[3]]
    plain = parcel(ANN, [BOB], b"\r\n")
    assert envelope_losses(plain, plain.items, "why") == ()


@pytest.mark.parametrize(
    ("name", "settings", "lost"),
    [
        ("pickup", {}, ALL),
        ("pickup", {"parameters": True}, ALL[4:]),
        ("pickup", {"dialect": "iis"}, ALL),
        ("pickup", {"dialect": "exchange"}, ALL),
        ("replay", {}, ALL[4:]),
        ("foreign", {}, ALL[4:]),
        ("bsmtp", {}, [*ALL, "last line"]),
        ("bsmtp", {"dialect": "rfc2442"}, [*ALL[4:], "last line"]),
        ("uucp", {}, [*ALL, "last line", "reverse-path"]),
        ("uucp", {"command": "rsmtp"}, [*ALL, "last line"]),
        ("mbox", {}, [*ALL, "last line"]),
        ("mmdf", {}, [*ALL, "last line"]),
        ("maildir", {}, ALL),
        ("mh", {}, ALL),
    ],
)
def test_what_each_format_loses_of_it(name: str, settings: dict[str, Any], lost: list[str]) -> None:
    assert whats(codec(name, **settings).encode(SENT, SENT.items, "stem").notes) == lost


@pytest.mark.parametrize("name", ["pickup", "mbox", "maildir"])
def test_no_envelope_at_all(name: str) -> None:
    made = codec(name, Options(envelope_headers=False))
    what = "reverse-path and recipients of the envelope"
    assert whats(made.encode(SENT, SENT.items, "stem").notes)[: len(ALL) + 1] == [what, *ALL]


def test_paths() -> None:
    assert path_losses(SENT, ANN, "why") == ()
    assert whats(path_losses(SENT, BOB, "why")) == ["reverse-path ann@a.example"]
    assert whats(path_losses(parcel(None, [BOB], b"\r\n"), ANN, "why")) == ["null reverse-path"]


def test_fields_are_named_in_one_note() -> None:
    content = Content(
        b"From: a\r\nX-A-B: 1\r\nX-a-c: 2\r\nList-Id: 3\r\nlist-id: 4\r\nContent-Type: text/plain\r\n\r\n"
    )
    assert whats(field_losses(content, (b"from",), "why")) == ["header fields X-A-B, X-a-c, List-Id"]
    assert field_losses(content, (b"from", b"x-a-", b"list-id"), "why") == ()
    many = Content(b"".join(b"X-%d: v\r\n" % n for n in range(3000)) + b"\r\n")
    [told] = whats(field_losses(many, (b"from",), "why"))
    assert told.endswith("X-39 and 2960 more")


def test_references() -> None:
    content = Content(b"References: <1@a> <2@a>\r\n\r\n")
    assert reference_losses(content, ("<1@a>", "<2@a>"), "why") == ()
    assert whats(reference_losses(content, ("<2@a>",), "why")) == ["References"]
    assert reference_losses(Content(b"\r\n"), (), "why") == ()
