"""TNEF: what other programs find in real streams is found, and any octets are taken."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.tnef import unpack, unpacked_rtf

CORPUS = os.environ.get("GATEPOST_CORPUS")
START = b"\x78\x9f\x3e\x22\x01\x00"


def streams() -> list[Path]:
    if CORPUS is None:
        print("GATEPOST_CORPUS is not set: no real streams were read")
        return []
    found = sorted((Path(CORPUS) / "tnef").rglob("*.tnef"))
    assert len(found) >= 15
    return found


def test_the_files_that_another_program_lists_are_found() -> None:
    for path in streams():
        found = unpack(path.read_bytes())
        assert found is not None, path.name
        listed = {line for line in path.with_suffix(".list").read_text().splitlines() if "-body." not in line}
        names = {file.name for file in found.files}
        assert listed - {""} <= names, path.name
        for kind, body in (("html", found.html.encode()), ("rtf", found.rtf)):
            if f"{path.stem}-body.{kind}" in path.with_suffix(".list").read_text():
                assert body.lstrip()[:1] in (b"<", b"{"), (path.name, kind)


def test_a_stream_that_is_cut_off_gives_what_it_has() -> None:
    for path in streams():
        octets = path.read_bytes()
        if len(octets) < 20_000:
            for size in range(0, len(octets), 97):
                unpack(octets[:size])


@given(st.binary(max_size=300))
def test_any_octets_are_taken(octets: bytes) -> None:
    assert octets.startswith(START[:4]) or unpack(octets) is None
    unpack(START + octets)
    properties = len(octets).to_bytes(4, "little") + octets
    unpack(START + b"\x01\x03\x90\x06\x00" + len(properties).to_bytes(4, "little") + properties)
    assert len(unpacked_rtf(b"\0" * 4 + b"\xff\xff\xff\xff" + b"LZFu" + octets)) <= 16 * 1024 * 1024


def test_packed_rtf() -> None:
    """MS-OXRTFCP §3.1.1 and §3.1.2: the examples of the specification."""
    simple = "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
    assert unpacked_rtf(bytes.fromhex(simple)) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    crossing = "1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0"
    assert unpacked_rtf(bytes.fromhex(crossing)) == b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"
