"""The log: one line an event, the message's id on it, no secret in it, and no wait for whoever reads it."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from gateway import ids
from gateway.log import LogSink, Silence, configure, get_log, hide, lines_dropped

SECRETS = ['correct "horse"', "hunter2", "päss\\wörd"]
Open = Callable[..., LogSink]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.log._sink", None)


@pytest.fixture
def start(file: Path) -> Iterator[Open]:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sinks: list[LogSink] = []
    root = logging.getLogger()
    before, level = list(root.handlers), root.level

    def configured(format: Literal["json", "console"] = "json", **given: Any) -> LogSink:
        sinks.append(configure(format=format, descriptor=descriptor, **given))
        return sinks[-1]

    yield configured
    for sink in sinks:
        sink.close()
    root.handlers[:] = before
    root.setLevel(level)
    os.close(descriptor)


def lines(sink: LogSink, file: Path) -> list[str]:
    assert sink.flush()
    return file.read_text().splitlines()


def test_json_lines_hold_time_level_event_and_the_shown_id(start: Open, file: Path) -> None:
    sink = start(fields={"worker": 1})
    get_log("dispatch").info("delivered", message_id=2**62, to="smtp:ann@acme.example")
    (line,) = map(json.loads, lines(sink, file))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "worker": 1,
        "part": "dispatch",
        "message_id": ids.text(2**62),
        "to": "smtp:ann@acme.example",
        "event": "delivered",
        "level": "info",
    }


def test_console_lines_are_for_people(start: Open, file: Path) -> None:
    sink = start("console")
    get_log("dispatch").warning("lane_down", hop="mx.example:25", reason="no answer at all")
    (line,) = lines(sink, file)
    assert line.partition("Z ")[2] == 'warning dispatch: lane_down hop=mx.example:25 reason="no answer at all"'


def shown(line: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]{12}Z", "now", line)


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize(
    "peer", ["in/p7", 'a "quoted" one', "2026-11-30T07:33:14.123Z", "\ue000", "\ue001 a", "ä\n\x1b", "5"]
)
def test_a_form_writes_the_lines_that_its_logger_would(
    start: Open, file: Path, format: Literal["json", "console"], peer: str
) -> None:
    sink = start(format, fields={"worker": 1})
    log = get_log("intake")
    form = log.form("accepted", "size", connector="things", peer=peer, recipients=1)
    for id, size in ((2**62, 5), (7, 12_345), (7, peer)):
        form.tell(id, size)
        log.info("accepted", message_id=id, connector="things", peer=peer, recipients=1, size=size)
    written = [shown(line) for line in lines(sink, file)]
    assert written[::2] == written[1::2]
    assert len(set(written)) == 3


def test_a_form_goes_on_in_another_log(start: Open, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    form = get_log("intake").form("accepted", "size", peer="hunter2")
    form.tell(1, 2)
    assert f"intake: accepted message_id={ids.text(1)} peer=hunter2 size=2" in capsys.readouterr().err
    start(level="warning")
    form.tell(1, 2)
    sink = start()
    form.tell(1, 3)
    (first,) = lines(sink, file)
    assert json.loads(first)["size"] == 3
    sink = start("console", secrets=SECRETS)
    form.tell(1, 4)
    _, second = lines(sink, file)
    assert second.endswith(f"info    intake: accepted message_id={ids.text(1)} peer=*** size=4")


def test_the_level_is_honoured(start: Open, file: Path) -> None:
    sink = start(level="warning")
    log = get_log("x")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [json.loads(line)["event"] for line in lines(sink, file)] == ["c", "d"]


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_never_leaves(start: Open, file: Path, format: Literal["json", "console"], secret: str) -> None:
    sink = start(format, secrets=SECRETS)
    log = get_log("smtp")
    log.info("auth", reply=f"535 no such password {secret}", nested={"a": [secret]}, password=secret)
    log.info(secret)
    try:
        raise ValueError(f"bad {secret}")
    except ValueError:
        log.exception("fault")
    logging.getLogger("library").warning("it said %s", secret)
    text = "\n".join(lines(sink, file))
    assert secret not in text
    assert json.dumps(secret, ensure_ascii=False)[1:-1] not in text
    assert repr(secret)[1:-1] not in text
    assert text.count("***") >= 6


def test_secrets_of_a_reload_come_on_top(start: Open, file: Path) -> None:
    sink = start(secrets=["first secret"])
    hide(["second secret"])
    get_log("x").info("first secret, second secret")
    assert json.loads(lines(sink, file)[0])["event"] == "***, ***"


def test_a_short_secret_does_not_blot_out_every_word(start: Open, file: Path) -> None:
    sink = start(secrets=["a"])
    get_log("x").info("alarm")
    assert json.loads(lines(sink, file)[0])["event"] == "alarm"


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize("evil", ["a\nb", "a\r\nfake line", "\x1b[31mred", "a\u2028b", "nul\x00", "\x85next"])
def test_a_peer_cannot_forge_a_line(start: Open, file: Path, format: Literal["json", "console"], evil: str) -> None:
    sink = start(format)
    get_log("x").info("reply", text=evil, message_id=1)
    get_log("x").info(evil)
    assert sink.flush()
    written = file.read_bytes().decode()
    assert written.count("\n") == 2
    assert len(written.splitlines()) == 2
    assert "\x1b" not in written


def test_a_line_is_bounded(start: Open, file: Path) -> None:
    sink = start()
    get_log("x").info("big", text="x" * 10**6)
    assert len(lines(sink, file)[0]) < 20_000


def test_surrogates_do_no_harm(start: Open, file: Path) -> None:
    sink = start()
    get_log("x").info("odd", text="\udcff")
    assert b"odd" in file.read_bytes() or sink.flush()


def test_an_exception_is_one_line(start: Open, file: Path) -> None:
    sink = start()
    try:
        raise OSError("gone")
    except OSError as e:
        get_log("x").error("fault", exc_info=e)
    (line,) = lines(sink, file)
    assert "OSError: gone" in json.loads(line)["exception"]


def test_a_slow_reader_costs_lines_and_never_time() -> None:
    read_end, write_end = os.pipe()
    sink = LogSink(write_end, max_lines=500)
    began = time.monotonic()
    for n in range(20_000):
        sink.put(f"{n} {'x' * 200}")
    assert time.monotonic() - began < 2
    assert sink.dropped > 10_000
    octets = b""
    while b"log_lines_dropped" not in octets:
        octets += os.read(read_end, 1 << 20)
    sink.close(0.2)
    os.close(read_end)
    os.close(write_end)


def test_lines_that_are_lost_are_counted_for_the_metrics(start: Open) -> None:
    first = start()
    assert lines_dropped() == 0
    first.dropped = 3
    assert lines_dropped() == 3
    start().dropped = 2
    assert lines_dropped() == 2, "of the log in force"


def test_a_reader_that_is_gone_stops_nothing() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    sink = LogSink(write_end)
    sink.put("a line")
    assert sink.flush()
    sink.close()
    os.close(write_end)


def test_close_writes_what_waits(file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    sink = LogSink(descriptor)
    for n in range(1000):
        sink.put(str(n))
    sink.close()
    sink.close()
    os.close(descriptor)
    assert file.read_text().splitlines() == [str(n) for n in range(1000)]


def test_until_it_is_configured_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    get_log("node").info("started", message_id=2**62)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.rstrip().endswith(f"info    node: started message_id={ids.text(2**62)}")


def test_a_logger_is_bound_to_what_stands_on_each_line(start: Open, file: Path) -> None:
    sink = start()
    log = get_log("connector", connector="net")
    log.bind(session=1).info("one", hop="mx")
    log.new(session=2).info("two")
    log.info("three")
    one, two, three = map(json.loads, lines(sink, file))
    assert (one["part"], one["connector"], one["session"], one["hop"]) == ("connector", "net", 1, "mx")
    assert "part" not in two
    assert two["session"] == 2
    assert three["connector"] == "net"
    assert "session" not in three


def test_a_silent_logger_says_nothing(start: Open, file: Path) -> None:
    sink = start()
    silent = Silence({}).bind(part="x")
    silent.info("one")
    silent.error("two")
    assert lines(sink, file) == []


def test_a_line_costs_the_loop_little() -> None:
    """At most 15 µs of CPU a line here; the bound leaves room for a busy machine."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    sink = configure(format="json", descriptor=descriptor, secrets=SECRETS)
    log = get_log("dispatch")
    best = 1.0
    for _ in range(5):
        began = time.thread_time()
        for n in range(2000):
            log.info("delivered", message_id=n, to="smtp:ann@acme.example", hop="mx.acme.example", reply="250 2.0.0 ok")
        best = min(best, (time.thread_time() - began) / 2000)
        sink.flush()
    sink.close()
    os.close(descriptor)
    assert best < 45e-6
