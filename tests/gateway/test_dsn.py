"""DSNs: readable to a person, readable to a program, silent about everybody else."""

from __future__ import annotations

import email
import email.message
import email.policy
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import dsn
from gateway.explain import explain
from gateway.message import Content, Envelope, Notify, Origin, Recipient
from gateway.report import Action, RecipientReport, Report
from gateway.spool.api import Stored
from gateway.status import Status
from mappings.address import Address

NOW = 1_700_000_000.0
ORIGINAL = (
    b"From: Bob <bob@x.example>\r\nTo: ann@sales.example\r\nCc: visible@x.example\r\nBcc: secret@x.example\r\n"
    b"Subject: lunch\r\nMessage-ID: <1@x.example>\r\n\r\nAre you in?\r\n"
)


def smtp(value: str) -> Address:
    return Address("smtp", value, value.lower())


def failed(original: str = "ann@sales.example", **more: object) -> RecipientReport:
    given: dict[str, object] = {
        "action": Action.FAILED,
        "original": smtp(original),
        "final": Address("mhs", "a.lee@secret-site", "a.lee@secret-site"),
        "status": Status("5.1.1", "no such mailbox", reply="550 5.1.1 unknown user", remote="mx.sales.example"),
        "last_attempt_at": NOW + 5,
    }
    return RecipientReport(**{**given, **more})  # type: ignore[arg-type]  # a table of keywords


def report(*recipients: RecipientReport, to: str = "bob@x.example", **more: object) -> Report:
    return Report(7, smtp(to), NOW, recipients, **more)  # type: ignore[arg-type]


def about(octets: bytes = ORIGINAL) -> Stored:
    everybody = (Recipient(smtp("ann@sales.example")), Recipient(smtp("blind@elsewhere.example")))
    return Stored(7, Envelope(smtp("bob@x.example"), everybody, Origin("in")), b"", Content(octets), NOW, ())


def built(r: Report, original: Stored | None = None, **more: object) -> bytes:
    return dsn.build(r, original or about(), hostname="gw.example", now=NOW + 10, **more).octets()  # type: ignore[arg-type]


def read(octets: bytes) -> email.message.EmailMessage:
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(message, email.message.EmailMessage)
    assert not message.defects
    return message


def parts(octets: bytes) -> list[email.message.EmailMessage]:
    found = list(read(octets).iter_parts())
    assert len(found) == 3
    return found  # type: ignore[return-value]


def text(octets: bytes) -> str:
    content = parts(octets)[0].get_content()
    assert isinstance(content, str)
    return content


def fields(octets: bytes) -> list[email.message.Message]:
    payload = parts(octets)[1].get_payload()
    assert isinstance(payload, list)
    return [block for block in payload if isinstance(block, email.message.Message)]


@pytest.mark.parametrize(
    ("action", "notify", "wanted"),
    [
        (action, notify, wanted)
        for notify, due in {
            Notify.UNSET: {Action.FAILED, Action.DELAYED},
            Notify.NEVER: set(),
            Notify.SUCCESS: {Action.DELIVERED, Action.RELAYED},
            Notify.FAILURE: {Action.FAILED},
            Notify.DELAY: {Action.DELAYED},
            Notify.SUCCESS | Notify.FAILURE | Notify.DELAY: set(Action) - {Action.DISPLAYED},
        }.items()
        for action in Action
        for wanted in [action in due]
    ],
)
def test_due(action: Action, notify: Notify, wanted: bool) -> None:
    assert dsn.due(action, notify, smtp("bob@x.example")) is wanted
    assert not dsn.due(action, notify, None)


def test_the_header() -> None:
    message = read(built(report(failed())))
    assert message["From"] == "Mail gateway <MAILER-DAEMON@gw.example>"
    assert message["To"] == "bob@x.example"
    assert message["Subject"] == "Not delivered: lunch"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["X-Auto-Response-Suppress"] == "All"
    assert message["In-Reply-To"] == "<1@x.example>"
    assert message["Date"].datetime.timestamp() == NOW + 10
    assert message.get_content_type() == "multipart/report"
    assert message["Content-Type"].params["report-type"] == "delivery-status"
    assert read(built(report(failed()), sender="postmaster@gw.example"))["From"].addresses[0].username == "postmaster"
    assert message["Message-ID"] != read(built(report(failed("z@y.example"))))["Message-ID"]


def test_a_person_reads_which_address_failed_as_they_wrote_it_why_and_what_to_do() -> None:
    told = text(built(report(failed())))
    for words in (
        "ann@sales.example",
        "there is no mailbox of this name (5.1.1)",
        "What to do: Check the spelling",
        'Your message "lunch"',
        "mx.sales.example said: 550 5.1.1 unknown user",
    ):
        assert words in " ".join(told.split())
    assert max(map(len, told.splitlines())) <= 78


def test_orcpt_is_what_they_wrote() -> None:
    told = built(report(failed("a.lee@new.example", orcpt="rfc822;Ann@old.example")))
    assert "Ann@old.example" in text(told)
    assert fields(told)[1]["Original-Recipient"] == "rfc822; Ann@old.example"


def test_where_mail_is_sent_inside_and_other_recipients_are_not_told() -> None:
    for whole in (True, False):
        octets = built(report(failed(), ret_full=whole))
        for word in (b"secret", b"blind", b"a.lee", b"mhs"):
            assert word not in octets


def test_the_fields_for_programs() -> None:
    per_message, ann, ben = fields(
        built(
            report(
                failed(),
                failed("ben@sales.example", action=Action.DELAYED, status=Status("4.4.1", "x"), retry_until=NOW + 9e5),
                envid="abc+1",
            )
        )
    )
    assert per_message["Original-Envelope-Id"] == "abc+1"
    assert per_message["Reporting-MTA"] == "dns; gw.example"
    assert per_message["Arrival-Date"]
    assert ann["Final-Recipient"] == "rfc822; ann@sales.example"
    assert ann["Original-Recipient"] is None
    assert (ann["Action"], ann["Status"]) == ("failed", "5.1.1")
    assert ann["Remote-MTA"] == "dns; mx.sales.example"
    assert ann["Diagnostic-Code"] == "smtp; 550 5.1.1 unknown user"
    assert ann["Will-Retry-Until"] is None
    assert (ben["Action"], ben["Status"], ben["Diagnostic-Code"]) == ("delayed", "4.4.1", None)
    assert ben["Will-Retry-Until"]


@pytest.mark.parametrize(
    ("action", "whole", "octets", "kind"),
    [
        (Action.FAILED, True, ORIGINAL, "message/rfc822"),
        (Action.FAILED, False, ORIGINAL, "text/rfc822-headers"),
        (Action.DELAYED, True, ORIGINAL, "text/rfc822-headers"),
        (Action.FAILED, True, ORIGINAL + b"x" * 70_000, "text/rfc822-headers"),
    ],
)
def test_what_comes_back(action: Action, whole: bool, octets: bytes, kind: str) -> None:
    """RFC 3461 §4.3: RET concerns failures alone; and a large message comes back as its header."""
    made = built(report(failed(action=action), ret_full=whole), about(octets))
    assert parts(made)[2].get_content_type() == kind
    assert (b"Are you in?" in made) is (kind == "message/rfc822")
    assert b"Subject: lunch" in made
    assert len(made) < 70_000


@pytest.mark.parametrize(
    ("action", "subject", "words"),
    [
        (Action.DELAYED, "Not delivered yet: lunch", "You need not send it again"),
        (Action.RELAYED, "Passed on: lunch", "gives no further reports"),
        (Action.DELIVERED, "Delivered: lunch", "was delivered to"),
    ],
)
def test_the_other_reports(action: Action, subject: str, words: str) -> None:
    octets = built(report(failed(action=action, status=Status("2.0.0", "ok"))))
    assert read(octets)["Subject"] == subject
    assert words in " ".join(text(octets).split())
    assert fields(octets)[1]["Action"] == action.value


def test_recipients_of_several_fates_share_one_report_under_the_gravest() -> None:
    octets = built(report(failed("a@s.example", action=Action.DELIVERED), failed("b@s.example")))
    assert read(octets)["Subject"].startswith("Not delivered")
    assert text(octets).index("b@s.example") < text(octets).index("a@s.example")


def test_utf8_goes_to_a_sender_of_utf8_as_it_is_and_else_in_ascii() -> None:
    """RFC 6533 §3, §4."""
    globally = built(report(failed("jö@s.example"), to="bø@x.example"))
    assert b"Content-Type: message/global-delivery-status" in globally
    assert "Final-Recipient: utf-8; jö@s.example".encode() in globally
    plain = built(report(failed("jö@s.example")))
    assert b"Final-Recipient: utf-8; j\\x{F6}@s.example" in plain
    assert plain.isascii()
    assert "jö@s.example" in text(plain)
    for octets in (globally, plain):
        parsed = dsn.parse(octets)
        assert parsed is not None
        assert parsed.recipients[0].final == ("utf-8", "jö@s.example")


@pytest.mark.parametrize("evil", ["550 x\r\nBcc: a@b", "550 \x00\x1b[2J", "550 " + "y" * 5000, "550 " + "wört " * 500])
def test_what_a_peer_says_stays_in_its_line(evil: str) -> None:
    octets = built(report(failed(status=Status("5.0.0", evil, reply=evil, remote="mx\r\nX: y"), orcpt="rfc822;a\r\nb")))
    read(octets)
    assert b"\r\nBcc:" not in octets
    assert b"\r\nX: y" not in octets
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert octets.count(b"\n") == octets.count(b"\r\n")


def test_a_boundary_in_the_original_does_no_harm() -> None:
    first = built(report(failed(), ret_full=True))
    boundary = read(first).get_boundary()
    assert boundary is not None
    octets = built(report(failed(), ret_full=True), about(ORIGINAL + b"--" + boundary.encode() + b"--\r\n"))
    assert len(parts(octets)) == 3


def test_a_message_without_header_or_with_a_huge_one() -> None:
    assert dsn.parse(built(report(failed()), about(b"no header here\r\n"))) is not None
    huge = b"X: " + b"y" * 900_000 + b"\r\n"
    assert len(built(report(failed()), about(huge + b"Subject: s\r\n\r\nx"))) < 50_000


names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=1, max_size=30
)


@given(
    st.lists(
        st.tuples(names, st.sampled_from([a for a in Action if a is not Action.DISPLAYED]), st.integers(0, 999)),
        min_size=1,
        max_size=8,
    ),
    st.one_of(st.none(), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=100)),
    st.sampled_from(["bob@x.example", "bø@x.example"]),
)
def test_what_is_built_is_read_back(recipients: list[tuple[str, Action, int]], envid: str | None, to: str) -> None:
    told = tuple(
        failed(f"{name}@s.example", action=action, status=Status(f"5.1.{detail}"), orcpt=f"rfc822;{name}@o.example")
        for name, action, detail in recipients
        if "\\x{" not in name and name.strip() == name
    )
    if not told:
        return
    parsed = dsn.parse(built(report(*told, to=to, envid=envid)))
    assert parsed is not None
    assert parsed.envid == envid
    assert parsed.reporting_mta == "gw.example"
    assert parsed.message_id == "<1@x.example>"
    assert [(r.final[1], r.action, r.code) for r in parsed.recipients] == [
        (t.original.value, t.action, t.status.code) for t in told
    ]
    assert [r.original and r.original[1] for r in parsed.recipients] == [t.orcpt and t.orcpt[7:] for t in told]


@given(st.binary(max_size=300))
def test_any_octets_can_be_parsed(octets: bytes) -> None:
    dsn.parse(octets)
    base = built(report(failed()))
    dsn.parse(base[: len(octets) * 5] + octets + base[len(octets) * 5 :])


def test_the_reports_of_others_are_read() -> None:
    corpus = os.environ.get("GATEPOST_CORPUS")
    if corpus is None:
        print("GATEPOST_CORPUS is not set: the bounces of others were not read")
        return
    found = 0
    for path in (Path(corpus) / "flufl-bounce").rglob("*"):
        if path.is_file():
            octets = path.read_bytes()
            parsed = dsn.parse(octets)
            found += parsed is not None
            if parsed is None and b"\nContent-Type: message/delivery-status" in octets.replace(b"\r", b""):
                assert b"\nfinal-recipient:" not in octets.lower(), path
    assert found >= 15


@pytest.mark.parametrize("code", ["5.1.1", "4.4.7", "5.7.999", "5.99.1", "4.0.0", "5.6.7", "5.3.4"])
def test_every_code_has_words(code: str) -> None:
    words = explain(code)
    assert words.why
    assert words.mend.endswith(".")
    assert not words.why.endswith(".")


def test_other_networks_are_named_as_their_own() -> None:
    """RFC 3464 §2.3.2: the address type says how the address is to be read."""
    origin = replace(failed(), original=Address("mhs", "ann@sales", "ann@sales"))
    assert fields(built(report(origin)))[1]["Final-Recipient"] == "x-mhs; ann@sales"
