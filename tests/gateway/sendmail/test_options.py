"""The command line of sendmail, as its callers write it."""

from __future__ import annotations

import pytest

from gateway.sendmail import handover
from gateway.sendmail.options import MAIL, QUEUE, SMTP, VERIFY, Call, Refused, parse


def told(call: Call) -> dict[str, object]:
    """Return what differs from a bare call."""
    bare = Call()
    return {name: getattr(call, name) for name in Call.__slots__ if getattr(call, name) != getattr(bare, name)}


CALLS: list[tuple[str, str, dict[str, object]]] = [
    ("a recipient", "ann", {"recipients": ["ann"]}),
    ("several", "ann bob@x.example", {"recipients": ["ann", "bob@x.example"]}),
    ("of the header", "-t", {"reads_header": True}),
    ("cron (Vixie)", "-FCronDaemon -i -odi -oem -oi -t -froot", {
        "name": "CronDaemon", "ends_at_dot": False, "reads_header": True, "sender": "root",
    }),
    ("cron (Debian)", "-i -FCronDaemon -B8BITMIME -oem root", {
        "name": "CronDaemon", "ends_at_dot": False, "recipients": ["root"],
    }),
    ("mutt", "-oem -oi -f ann@x.example -- bob@x.example", {
        "ends_at_dot": False, "sender": "ann@x.example", "recipients": ["bob@x.example"],
    }),
    ("mutt with DSN and 8-bit", "-oem -oi -B8BITMIME -N failure,delay -R hdrs -- bob", {
        "ends_at_dot": False, "notify": "failure,delay", "ret": "hdrs", "recipients": ["bob"],
    }),
    ("bsd-mailx", "-i ann", {"ends_at_dot": False, "recipients": ["ann"]}),
    ("bsd-mailx, verbose", "-i -m -v ann", {"ends_at_dot": False, "verbose": True, "recipients": ["ann"]}),
    ("PHP", "-t -i", {"reads_header": True, "ends_at_dot": False}),
    ("PHP with a sender", "-t -i -fwww@x.example", {
        "reads_header": True, "ends_at_dot": False, "sender": "www@x.example",
    }),
    ("git send-email", "-i ann@x.example bob@x.example", {
        "ends_at_dot": False, "recipients": ["ann@x.example", "bob@x.example"],
    }),
    ("alpine", "-bs -odb -oem", {"mode": SMTP}),
    ("nmh", "-bs -ol", {"mode": SMTP}),
    ("a cluster", "-ti", {"reads_header": True, "ends_at_dot": False}),
    ("a cluster with -o in it", "-toi", {"reads_header": True, "ends_at_dot": False}),
    ("a cluster with a value in it", "-itfann bob", {
        "reads_header": True, "ends_at_dot": False, "sender": "ann", "recipients": ["bob"],
    }),
    ("-o and its letter apart", "-o i ann", {"ends_at_dot": False, "recipients": ["ann"]}),
    ("-O", "-OIgnoreDots=true -ODeliveryMode=b ann", {"ends_at_dot": False, "recipients": ["ann"]}),
    ("-r is -f", "-r ann bob", {"sender": "ann", "recipients": ["bob"]}),
    ("the null sender", "-f <> bob", {"sender": "", "recipients": ["bob"]}),
    ("a sender in brackets", "-f <ann@x.example> bob", {"sender": "ann@x.example", "recipients": ["bob"]}),
    ("the end of options", "-- -f", {"recipients": ["-f"]}),
    ("a lone dash ends them, too", "- -t", {"recipients": ["-", "-t"]}),
    ("options end at the first recipient", "ann -t", {"recipients": ["ann", "-t"]}),
    ("what sendmail ignored is ignored", "-Ac -C/etc/x.cf -G -n -m -U -pesmtp:x -h3 -Ltag -X/dev/null ann", {
        "recipients": ["ann"],
    }),
    ("debugging with a value or without", "-d0.1 ann", {"recipients": ["ann"]}),
    ("-bm is the default", "-bm ann", {"recipients": ["ann"]}),
    ("-bp", "-bp", {"mode": QUEUE}),
    ("-bv", "-bv ann", {"mode": VERIFY, "recipients": ["ann"]}),
    ("-V", "-V id-1 ann", {"envid": "id-1", "recipients": ["ann"]}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS])
def test_calls(line: str, expected: dict[str, object]) -> None:
    assert told(parse(line.split())) == expected


def test_values_with_blanks() -> None:
    call = parse(["-F", "Ann  of\tAcme", "-f", " Ann <ann@x.example> ", "bob"])
    assert (call.name, call.sender) == ("Ann of Acme", "ann@x.example")


def test_other_names_of_the_program() -> None:
    assert parse([], "mailq").mode == QUEUE
    with pytest.raises(Refused) as caught:
        parse([], "newaliases")
    assert caught.value.status == 0, "installers call it, and there is nothing to be done"
    assert parse(["ann"], "sendmail").mode == MAIL


@pytest.mark.parametrize(
    "line",
    ["", "-f", "-Z", "-bd", "-bD", "-bt", "-bz", "-b", "-q", "-q30m", "-qf", "-qR", "-N sometimes ann",
     "-N never,delay ann", "-R all ann", "-V", "-bv", "-M x", "-tq"],
)  # fmt: skip
def test_what_is_refused_is_refused_by_64(line: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(line.split())
    assert caught.value.status == 64
    assert str(caught.value)


@pytest.mark.parametrize("words", [["a\nto b"], ["-f", "a\nb", "c"], ["-V", "a\nb", "c"], ["a\0b"]])
def test_no_value_begins_a_line_of_its_own(words: list[str]) -> None:
    with pytest.raises(Refused):
        parse(words)


def test_q_points_to_the_command_that_does_it() -> None:
    with pytest.raises(Refused, match="gatepost queue"):
        parse(["-q"])


def test_the_hand_over_is_read_as_it_was_written() -> None:
    words = [("do", "mail"), ("name", "Ann Änn"), ("sender", ""), ("to", "a@b.example"), ("to", '"a b"@b.example')]
    head = handover.write(words)
    assert head.endswith(b"\n\n")
    assert handover.read(head[:-2]) == words
    for bad in (b"", b"GET / HTTP/1.1", handover.FIRST + b"\n" + b"x" * 10_000):
        with pytest.raises(handover.Malformed):
            handover.read(bad)
