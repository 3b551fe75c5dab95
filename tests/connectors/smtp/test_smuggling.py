"""SMTP smuggling: whatever looks like an end of data, and is none, starts no second message.

Each sequence stands in the middle of a message, with a whole transaction behind it, as an attacker would send it
through a relay that passes it on. The outcome must be one message or none, never two; and no reply may come before
the true end, since a reply tells that a message was seen.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from connectors.smtp.server_events import WireSettings

from .server_kit import serving
from .test_server_wire import OPENED, talk

NAMED = {
    "LF.LF": b"\n.\n",
    "LF.CR": b"\n.\r",
    "LF.CRLF": b"\n.\r\n",
    "CR.LF": b"\r.\n",
    "CR.CR": b"\r.\r",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CRLF.CR": b"\r\n.\r",
    "CRLF.CRCRLF": b"\r\n.\r\r\n",
    "CRCRLF.CRLF": b"\r\r\n.\r\n",
    "CRCRLF.CRCRLF": b"\r\r\n.\r\r\n",
    "LFCR.CRLF": b"\n\r.\r\n",
    "LFLF.LFLF": b"\n\n.\n\n",
    "CRLF NUL.CRLF": b"\r\n\0.\r\n",
    "CRLF. NUL CRLF": b"\r\n.\0\r\n",
    "CRLF. blank CRLF": b"\r\n. \r\n",
    "CRLF..CRLF": b"\r\n..\r\n",
    "VT.VT": b"\v.\v",
    "FF.FF": b"\f.\f",
    "NEL.NEL": b"\x85.\x85",
    "UTF-8 NEL": "\u0085.\u0085".encode(),
    "UTF-8 LS": "\u2028.\u2028".encode(),
}
TRUE_END = {"CRCRLF.CRLF"}
"""Here CRLF.CRLF stands at the end of the sequence: the message ends, and is refused for the CR before it."""

EVIL = b"MAIL FROM:<evil@acme.example>\r\nRCPT TO:<bob@acme.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nx"


def smuggling(sequence: bytes) -> bytes:
    return b"Subject: first\r\n\r\nhello" + sequence + EVIL + b"\r\n.\r\n"


@pytest.mark.parametrize("fix", [False, True], ids=["strict", "mending"])
@pytest.mark.parametrize("name", NAMED)
def test_there_is_one_message_or_none(name: str, fix: bool) -> None:
    sequence = NAMED[name]
    body = smuggling(sequence)
    if name in TRUE_END:
        told = talk([OPENED + b"DATA\r\n" + body], fix=fix)
        assert len(told.messages) == (2 if fix else 1)
        return
    whole = talk([OPENED + b"DATA\r\n" + body], fix=fix)
    assert whole == talk([OPENED + b"DATA\r\n"] + [body[i : i + 1] for i in range(len(body))], fix=fix)
    for cut in range(len(body)):
        assert talk([OPENED + b"DATA\r\n" + body[:cut], body[cut:]], fix=fix) == whole
    assert len(whole.codes) == 5  # EHLO, MAIL, RCPT, DATA, and one for the end
    assert len(whole.messages) <= 1
    bare = sequence.replace(b"\r\n", b"")
    if not fix:
        assert whole.messages == [] if b"\r" in bare or b"\n" in bare else len(whole.messages) == 1
        assert whole.codes[-1] == (250 if whole.messages else 550)
    for _, _, content in whole.messages:
        assert b"smuggled" in content  # all of it is content of the one message
        assert b"\n" not in content.replace(b"\r\n", b"")  # and nobody after us can take it for an end


def test_a_refused_message_is_not_half_read() -> None:
    """The refusal for size comes at the true end too; a reply in the middle would free what follows."""
    small = WireSettings("gw", max_message_bytes=99)
    told = talk([OPENED + b"DATA\r\n" + smuggling(b"\n.\n" + b"x" * 2000 + b"\r\n")], small)
    assert told.codes[3:] == [354, 552]


def corpus() -> list[str]:
    folder = os.environ.get("GATEPOST_CORPUS")
    if folder is None:
        return []
    listed = json.loads((Path(folder) / "smtp-smuggling-tools" / "eod_sequences.json").read_text())
    return sorted({sequence for sequences in listed.values() for sequence in sequences})


def test_the_published_sequences() -> None:
    sequences = corpus()
    if not sequences:
        if os.environ.get("CI"):
            pytest.fail("GATEPOST_CORPUS is not set")
        pytest.skip("GATEPOST_CORPUS is not set: the published sequences are not at hand, our own table is")
    for sequence in sequences:
        for fix in (False, True):
            told = talk([OPENED + b"DATA\r\n" + smuggling(sequence.encode("latin-1"))], fix=fix)
            assert len(told.messages) <= 1, repr(sequence)
            assert len(told.codes) == 5, repr(sequence)


@pytest.mark.parametrize("name", ["LF.LF", "CR.CR", "LF.CRLF", "CRLF.LF", "CRLF NUL.CRLF"])
async def test_over_a_real_connection_too(name: str) -> None:
    async with serving() as served:
        c = await (await served.dial()).ready()
        await c.send(smuggling(NAMED[name]) + b"QUIT\r\n")
        expected = 250 if name == "CRLF NUL.CRLF" else 550
        assert [await c.code(), await c.code()] == [expected, 221]
        assert await c.is_closed()
        assert len(served.intake.messages) == (1 if expected == 250 else 0)
