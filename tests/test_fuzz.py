"""Every input that ever broke a parser is replayed, and each target gets a short run; `make fuzz` has long ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from connectors.filedrop.formats import FORMATS, Bad, Beside, Options, Part, Piece, Span, Stamp, codec_class
from gateway.contract import Address, Blob, Recipient
from mappings.network import registry
from tests.fuzz.campaign import campaign
from tests.fuzz.dropped_files import DESCRIPTIONS
from tests.fuzz.filedrop import setups
from tests.fuzz.promises import Way, check_decoder
from tests.fuzz.run import KEPT, Run, fuzz, keep, shrunk
from tests.fuzz.target import Target, octets_of, text_of
from tests.fuzz.targets import TARGETS

SHARES = 6
"""So many tests, each with some of the targets, so that workers can have them at once."""
IN_ALL_S = 18.0
"""Enough for two turns of each target."""


def test_what_broke_once_does_not_again() -> None:
    for path in sorted(KEPT.glob("*-*")):
        for name, target in TARGETS.items():
            try:
                target.replay(path.read_bytes())
            except Exception as fault:
                raise AssertionError(f"{name} is broken again by {path.name}") from fault


@pytest.mark.parametrize("octets", [b"", b"\0", b"\r\n", b"\n" * 1000, b"\xff" * 1000, b"<" * 1000, b"." * 1000])
def test_the_plainest_oddities(octets: bytes) -> None:
    for target in TARGETS.values():
        target.replay(octets)


def test_every_network_has_a_target() -> None:
    assert set(registry().names) <= TARGETS.keys()


def test_every_format_of_the_file_drop_has_a_target() -> None:
    fed = {setup.format for setup in setups().values() if setup.is_read}
    written = {setup.format for setup in setups().values() if setup.is_written}
    assert fed == written == FORMATS.keys()
    described = {setup.settings["describe"] for setup in setups().values() if setup.format == "records"}
    assert described == {path.name for path in DESCRIPTIONS.glob("*.toml")}


@pytest.mark.parametrize("share", range(SHARES))
def test_a_short_run_breaks_nothing(share: int) -> None:
    assert fuzz(list(TARGETS.values())[share::SHARES], 1, seconds=IN_ALL_S / SHARES) == 0


def test_a_run_by_count_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz([TARGETS["mhs"], TARGETS["table"]], 1, inputs=300) == 0
    counted = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert counted == [["mhs", "300", "inputs"], ["table", "300", "inputs"]]


def test_a_campaign_shows_each_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert campaign(["drop-mh", "mhs"], 1, 0.3, 2) == 0
    lines = capsys.readouterr().out.splitlines()
    table = lines[lines.index("") + 2 :]
    assert [line.split()[0] for line in table[:2]] == ["drop-mh", "mhs"]
    assert table[2].endswith("0 s of CPU time for each of 2 targets, nothing broken (seed 1)")


_ANN = Recipient(Address("smtp", "ann@acme.example", "ann@acme.example"))
_BAD = Bad("mbox.x", 0, 1, "text", "mend")


def _part(*content: Piece, recipients: tuple[Recipient, ...] = (_ANN,), item: tuple[Span, ...] | None = None) -> Part:
    return Part(None, recipients, content, item=item)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (_part(b"From: a@b\r\nBcc: eve@b\r\n\r\n"), "nobody wrote"),
        (_part(b"From: a@b\r\nSubject: a\nb\r\n\r\n"), "bare CR or LF"),
        (_part(b"From: a@b\r\n\r\n", Span(0, 99)), "99"),
        (_part(b"From: a@b\r\n\r\n", Beside("../passwd")), "passwd"),
        (_part(b"From: a@b\r\n\r\n", recipients=()), "nobody"),
        (_part(b"From: a@b\r\n\r\n", recipients=(_ANN, _ANN)), "twice"),
        (_part(b"From: a@b\r\n\r\n", item=(Span(0, 0),)), "alone"),
        (replace(_BAD, text=" "), "mbox.x"),
        (replace(_BAD, offset=99), "99"),
        (replace(_BAD, item=(Span(0, 5), Span(5, 99))), "99"),
    ],
)
def test_each_promise_of_a_decoder_is_checked(found: Part | Bad, told: str) -> None:
    codec = codec_class("mh")("mh", Options(), codec_class("mh").Settings())

    class Broken(type(codec)):  # type: ignore[misc]
        def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
            if file.size:
                yield found

    broken = Broken("mh", codec.options, codec.settings)  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match=told):
        check_decoder(Way(broken, "composed"), b"ten octets")


def _target(text: str) -> Target[str]:
    def check(given: str) -> str:
        assert not {"x", "7"} <= set(given)
        return given[:1]

    return Target("broken", check, lambda: [text], lambda one, other, chance: one + "7", text_of, octets_of)


def test_what_breaks_a_target_is_made_short_kept_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.fuzz.run.KEPT", tmp_path)
    assert fuzz([_target("ein xylophon")], 5, inputs=10) == 1
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == b"x7"
    told = capsys.readouterr().out
    assert f"broken is broken by 'x7', kept as {kept}" in told
    assert "--seed 5 --target broken, 'ein xylophon7'" in told


def test_a_slow_input_breaks_its_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.run.KEPT", tmp_path)
    slow = Target("slow", lambda given: "y", lambda: ["abc"], lambda one, other, chance: one, text_of, octets_of, 0.0)
    assert not Run(slow, 1).until(inputs=1)


def test_what_never_ends_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.run.KEPT", tmp_path)
    monkeypatch.setattr("tests.fuzz.run.SHRINK_S", 0.0)

    def check(given: str) -> str:
        while given:
            pass
        return ""

    endless = Target("endless", check, lambda: ["abc"], lambda one, other, chance: one, text_of, octets_of, 0.05)
    assert not Run(endless, 1).until(inputs=1)


def test_a_seed_gives_the_same_inputs() -> None:
    target = TARGETS["mhs"]
    pool = target.seeds()

    def made(seed: int) -> list[str]:
        chance = Random(seed)
        return [target.mutated(pool[n % len(pool)], pool[-1], chance) for n in range(200)]

    assert made(7) == made(7) != made(8)


def test_any_octets_are_kept_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.run.KEPT", tmp_path)
    octets = bytes(range(256)) + "é日\ud7ff".encode()
    assert octets_of(text_of(octets)) == octets
    assert keep(TARGETS["mhs"], text_of(octets)).read_bytes() == octets
    assert shrunk(b"abcdef", lambda some: b"d" in some) == b"d"


def test_the_page_has_every_network() -> None:
    page = (Path(__file__).parents[1] / "docs" / "fuzzing.md").read_text()
    counted = [line.split("|")[1:3] for line in page.splitlines() if line.endswith(" |") and "1,000,000" in line]
    assert [name.strip(" `") for name, _ in counted] == list(registry().names)
