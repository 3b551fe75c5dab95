"""Planner: groups, copies, former addresses, shared domains, and what strangers may reach."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway import learning
from gateway.automatic import is_automatic
from gateway.contract import Batch, Rejected
from gateway.ids import IdSource
from gateway.limiter import Limiter
from gateway.message import Content, Envelope, Message, Notify, Origin, Recipient
from gateway.moved import notice
from gateway.planned import EXPANDED, REFUSALS
from gateway.planner import Planner, PlannerSettings
from gateway.route import Route, Routes
from gateway.spool.api import State, claims_of
from mappings.encapsulation import Encapsulation, Key
from mappings.identity import Held, Identity, Kind, Role, addresses
from mappings.network import Address, parse
from mappings.rule import Rule
from mappings.table import Direction, compile_table

NOW = 1_764_000_000.0
ANN = Identity(
    "Ann Lee",
    addresses(parse("smtp:ann@merged.example"), parse("mhs:ann@sales"), former=(parse("smtp:alee@old.example"),)),
    home="oldmhs",
)
BOB = Identity("Bob Ray", addresses(parse("smtp:bob@merged.example")), home="new", copy_home="old")
CARL = Identity("Carl", addresses(parse("smtp:carl@merged.example")))
STAFF = Identity(
    "Staff",
    addresses(parse("smtp:staff@merged.example")),
    Kind.GROUP,
    members=(parse("smtp:ann@merged.example"), parse("smtp:carl@merged.example"), parse("smtp:all@merged.example")),
    owner=parse("smtp:carl@merged.example"),
)
ALL = Identity(
    "All",
    addresses(parse("smtp:all@merged.example")),
    Kind.GROUP,
    members=(parse("smtp:staff@merged.example"), parse("smtp:x@elsewhere.example"), parse("smtp:carl@merged.example")),
)


class Box:
    def next_hop(self, address: Address) -> str:
        return address.value.rpartition("@")[2]

    async def deliver(self, batch: Batch) -> None:
        raise AssertionError("nothing is sent here")


def planner(*identities: Identity, clock: Callable[[], float] = lambda: NOW, **settings: Any) -> Planner:
    table = compile_table(
        identities or (ANN, BOB, CARL, STAFF, ALL),
        settings.pop("rules", []),
        domains=["merged.example", "old.example"],
        homes={"oldmhs": "mhs", "new": "smtp", "old": "smtp", "internet": "smtp"},
        encapsulation=Encapsulation(["gw.example"], [Key("a", b"secret")]),
        version=1,
        shared=settings.get("shared", {}),
        clock=clock,
    )
    names = ("oldmhs", "new", "old", "internet")
    return Planner(
        PlannerSettings("gw.example", secret=b"k", **settings),
        table,
        Routes([Route("mhs:*", "oldmhs"), Route("smtp:*", "internet")]),
        {name: Box() for name in names},
        {name: ("mhs",) if name == "oldmhs" else ("smtp",) for name in names},
        IdSource(1, lambda: NOW),
        clock,
        Limiter(per_hour=3600, burst=2),
    )


def mail(*to: str, sender: str | None = "smtp:pat@peer.example", origin: str = "internet", **more: Any) -> Message:
    head = more.pop("head", b"")
    envelope = Envelope(
        parse(sender) if sender else None,
        tuple(Recipient(parse(t), more.get("notify", Notify.UNSET)) for t in to),
        Origin(origin, peer="192.0.2.1", helo="peer.example", protocol="ESMTP", trusted=more.get("trusted", False)),
    )
    return Message(envelope, Content(head + b"Subject: hi\r\n\r\ntext\r\n"))


def ways(stored: Any) -> list[tuple[str, str]]:
    return [(d.lane[0], str(d.address)) for d in stored.deliveries]


def test_a_rule_may_ask_where_a_message_comes_from() -> None:
    rules = [
        Rule("smtp:{l}@desk.example", "mhs:{l}@partner", source=("connector:new",)),
        Rule("smtp:{l}@desk.example", "mhs:{l}@front", source=("smtp",)),
    ]
    planned = planner(rules=rules)
    for origin, goes_to in (("new", "mhs:joe@partner"), ("internet", "mhs:joe@front"), ("new", "mhs:joe@partner")):
        stored = planned.plan(mail("smtp:joe@desk.example", origin=origin)).message
        assert ways(stored) == [("oldmhs", goes_to)]
    with pytest.raises(Rejected):
        planned.plan(mail("smtp:joe@desk.example", origin="oldmhs"))


@pytest.mark.parametrize(
    "to", ["ann@merged.example", "bob@merged.example", "x@elsewhere.example", "nobody@merged.example"]
)
@pytest.mark.parametrize("waits", [None, (NOW + 60, "closed")])
@pytest.mark.parametrize("trusted", [True, False])
def test_the_short_way_plans_as_the_long_one(
    monkeypatch: pytest.MonkeyPatch, to: str, waits: tuple[float, str] | None, trusted: bool
) -> None:
    message = mail(f"smtp:{to}", trusted=trusted, notify=Notify.DELAY)
    message = replace(message, envelope=replace(message.envelope, priority=3))

    def plan(straight: bool) -> Any:
        made = planner()
        made.waits = lambda lane, sender: waits
        monkeypatch.setattr(made, "_goes_straight", straight)
        try:
            return made.plan(message)
        except Rejected as refused:
            return refused.status

    assert plan(True) == plan(False)


def test_what_is_to_be_looked_at_waits_for_an_operator() -> None:
    message = mail("smtp:staff@merged.example", "smtp:bob@merged.example")
    held = replace(message, envelope=replace(message.envelope, hold="a filter wants it seen"))
    planned = planner().plan(held)
    for stored in (planned.message, *planned.more):
        assert {(d.state, d.reason) for d in stored.deliveries} == {(State.HELD, "a filter wants it seen")}
        assert all(why.endswith("; held: a filter wants it seen") for why in stored.why)
        assert claims_of(stored) == []


def test_a_group_without_owner_keeps_the_senders_name() -> None:
    planned = planner().plan(mail("smtp:all@merged.example", notify=Notify.SUCCESS))
    assert not planned.more
    # `staff` is within `all` and `all` within `staff`: each member once.
    assert sorted(ways(planned.message)) == [
        ("internet", "smtp:carl@merged.example"),
        ("internet", "smtp:x@elsewhere.example"),
        ("oldmhs", "mhs:ann@sales"),
    ]
    for delivery in planned.message.deliveries:
        assert str(delivery.original) == "smtp:all@merged.example"
        assert delivery.notify is Notify.SUCCESS


def test_a_group_with_an_owner_gets_a_message_of_its_own() -> None:
    planned = planner().plan(mail("smtp:staff@merged.example", "smtp:ann@merged.example", notify=Notify.SUCCESS))
    assert ways(planned.message) == [(EXPANDED, "smtp:staff@merged.example"), ("oldmhs", "mhs:ann@sales")]
    (inner,) = planned.more
    assert str(inner.envelope.reverse_path) == "smtp:carl@merged.example"
    assert {d.notify for d in inner.deliveries} == {Notify.UNSET}
    # A report to the owner names the member, not the list that the sender wrote to.
    assert sorted(str(d.original) for d in inner.deliveries) == [
        "smtp:ann@merged.example",
        "smtp:carl@merged.example",
        "smtp:x@elsewhere.example",
    ]
    assert sorted(ways(inner)) == [
        ("internet", "smtp:carl@merged.example"),
        ("internet", "smtp:x@elsewhere.example"),
        ("oldmhs", "mhs:ann@sales"),
    ]
    assert b"staff" not in inner.prefix


def test_a_report_to_a_group_keeps_the_null_reverse_path() -> None:
    (inner,) = planner().plan(mail("smtp:staff@merged.example", sender=None)).more
    assert inner.envelope.reverse_path is None


def test_a_member_whom_nobody_knows_is_the_owners_report() -> None:
    ghost = replace(STAFF, members=(parse("smtp:ghost@merged.example"), parse("smtp:ann@merged.example")))
    (inner,) = planner(ANN, CARL, ghost).plan(mail("smtp:staff@merged.example")).more
    assert [lane for lane, _ in ways(inner)] == [REFUSALS, "oldmhs"]


def test_a_group_of_its_home_is_left_to_it() -> None:
    planned = planner(replace(STAFF, expand=False, home="old"), CARL).plan(mail("smtp:staff@merged.example"))
    assert ways(planned.message) == [("old", "smtp:staff@merged.example")]


def test_both_mailboxes_get_it_while_they_live() -> None:
    planned = planner().plan(mail("smtp:bob@merged.example", notify=Notify.FAILURE))
    assert ways(planned.message) == [("new", "smtp:bob@merged.example"), ("old", "smtp:bob@merged.example")]
    # That a copy failed is nothing to tell the sender.
    assert [d.notify for d in planned.message.deliveries] == [Notify.FAILURE, Notify.NEVER]


def test_mail_to_a_former_address_goes_on_and_its_sender_may_be_told() -> None:
    message = mail("smtp:alee@old.example")
    assert not planner().plan(message).moved
    planned = planner(tell_moved=True).plan(message)
    assert ways(planned.message) == [("oldmhs", "mhs:ann@sales")]
    (moved,) = planned.moved
    assert (str(moved.sender), str(moved.former), str(moved.now)) == (
        "smtp:pat@peer.example",
        "smtp:alee@old.example",
        "smtp:ann@merged.example",
    )
    told = notice(moved, planned.message, "gw.example", NOW)
    assert told is not None
    assert told.get(b"auto-submitted") == b"auto-replied"
    assert told.get(b"x-auto-response-suppress") == b"All"
    assert b"ann@merged.example" in told.octets()
    assert is_automatic(told)


def test_the_new_address_is_one_that_the_sender_can_write_to() -> None:
    zoe = Identity("Zoe", addresses(parse("mhs:zoe@hq"), former=(parse("smtp:zoe@old.example"),)), home="oldmhs")
    plan = planner(zoe, tell_moved=True)
    (moved,) = plan.plan(mail("smtp:zoe@old.example")).moved
    assert moved.now.network == "smtp"
    assert ways(plan.plan(mail(str(moved.now))).message) == [("oldmhs", "mhs:zoe@hq")]


@pytest.mark.parametrize(
    "head",
    [
        b"Auto-Submitted: auto-generated\r\n",
        b"Precedence: Bulk\r\n",
        b"List-Id: <a.b>\r\n",
        b"Auto-Submitted: x\r\n",
        b"X-Auto-Response-Suppress: OOF, AutoReply\r\n",
    ],
)
def test_no_notice_to_machines(head: bytes) -> None:
    planned = planner(tell_moved=True).plan(mail("smtp:alee@old.example", head=head))
    assert notice(planned.moved[0], planned.message, "gw.example", NOW) is None


def test_no_notice_to_a_list_or_to_nobody() -> None:
    plan = planner(tell_moved=True).plan
    planned = plan(mail("smtp:alee@old.example", sender="smtp:news-bounces+ann=old.example@lists.example"))
    assert notice(planned.moved[0], planned.message, "gw.example", NOW) is None
    assert not plan(mail("smtp:alee@old.example", sender=None)).moved


SHARED: dict[str, Any] = {"shared": {"merged.example": ("new", "old")}}


def test_an_unknown_address_of_a_shared_domain_goes_to_the_first_system() -> None:
    plan = planner(**SHARED)
    assert ways(plan.plan(mail("smtp:new.man@merged.example")).message) == [("new", "smtp:new.man@merged.example")]
    # From one of the systems it goes to the other.
    assert ways(plan.plan(mail("smtp:x@merged.example", origin="new")).message) == [("old", "smtp:x@merged.example")]


def test_systems_that_send_an_address_to_each_other_are_found_at_the_first_turn() -> None:
    plan = planner(**SHARED)
    first = plan.plan(mail("smtp:ghost@merged.example", origin="new")).message
    with pytest.raises(Rejected) as raised:
        plan.plan(mail("smtp:ghost@merged.example", origin="old", head=first.prefix))
    assert raised.value.status.code == "5.4.6"
    assert "new and old" in raised.value.status.text
    # Another recipient of the message that went there is no loop.
    after = plan.plan(mail("smtp:other@merged.example", origin="old", head=first.prefix)).message
    assert ways(after) == [("new", "smtp:other@merged.example")]
    # Nor does one that loops keep the others from arriving; it gets its report.
    both = plan.plan(mail("smtp:ghost@merged.example", "smtp:ann@merged.example", origin="old", head=first.prefix))
    assert [lane for lane, _ in ways(both.message)] == [REFUSALS, "oldmhs"]


def test_a_trace_that_was_kept_under_another_name_counts() -> None:
    """As it comes back from a system that shows no Received; where those are there too, no pass counts twice."""
    plan = planner(**SHARED, max_own_passes=3)
    way = [f"from mbx{n} by gw.example with ESMTP id {n}; Sun, 29 Nov 2026 21:00:0{n} +0000" for n in range(5)]
    kept = [f"X-Gatepost-Pass-{n}: {each}\r\n".encode() for n, each in enumerate(way, 1)]
    received = [f"Received: {each}\r\n".encode() for each in way]
    for head in (kept[:3], received[:3], [*received[:3], *kept[:3]]):
        assert plan.plan(mail("smtp:ann@merged.example", head=b"".join(head))).message.deliveries
    for head in (kept[:4], received[:4], [*received[:1], *kept[:4]]):
        with pytest.raises(Rejected) as raised:
            plan.plan(mail("smtp:ann@merged.example", head=b"".join(head)))
        assert raised.value.status.code == "5.4.6"
    others = b"X-Gatepost-Pass-1: from a by other.example\r\n" * 9 + b"X-Gatepost-Pass-x: by gw.example\r\n" * 9
    assert plan.plan(mail("smtp:ann@merged.example", head=others)).message.deliveries
    prefix = plan.plan(mail("smtp:ghost@merged.example", origin="new")).message.prefix
    mark = b"X-Gatepost-Pass-1" + prefix.removeprefix(b"Received")
    with pytest.raises(Rejected, match="new and old"):
        plan.plan(mail("smtp:ghost@merged.example", origin="old", head=mark))


def test_the_mark_of_a_shared_recipient_names_nobody() -> None:
    prefix = planner(**SHARED).plan(mail("smtp:ghost@merged.example")).message.prefix
    assert b"ghost" not in prefix
    assert re.search(rb"\(tried [a-z2-7]{12}\)", prefix)
    # The mark of somebody else means nothing here.
    forged = b"Received: by other.example (tried aaaaaaaaaaaa)\r\n"
    assert planner(**SHARED).plan(mail("smtp:ghost@merged.example", head=forged)).message.deliveries[0].lane[0] == "new"


def test_a_stranger_reaches_a_signed_address_at_a_limited_rate() -> None:
    now = [NOW]
    plan = planner(clock=lambda: now[0])
    shown = plan.table.translate(parse("mhs:joe@plant"), "smtp", Direction.OUTWARD)
    message = mail(str(shown.address))
    recipient = message.envelope.recipients[0]
    for _ in range(2):
        assert plan.check(message.envelope, recipient) is None
        assert ways(plan.plan(message).message) == [("oldmhs", "mhs:joe@plant")]
    refused = plan.check(message.envelope, recipient)
    assert refused is not None
    assert refused.code == "4.7.1"
    with pytest.raises(Rejected):
        plan.plan(message)
    now[0] += 1.0
    assert plan.check(message.envelope, recipient) is None
    trusted = mail(str(shown.address), trusted=True)
    for _ in range(5):
        plan.plan(trusted)


def test_an_address_holds_for_its_time() -> None:
    now = [NOW]
    guest = Identity("Guest", (Held(parse("smtp:guest@merged.example"), Role.PRIMARY, NOW - 10, NOW + 10),))
    plan = planner(guest, clock=lambda: now[0])
    message = mail("smtp:guest@merged.example")
    assert plan.check(message.envelope, message.envelope.recipients[0]) is None
    now[0] += 20
    refused = plan.check(message.envelope, message.envelope.recipients[0])
    assert refused is not None
    assert refused.code == "5.1.1"


ASTRAY = "smtp:IMCEAEX-_o=Acme_cn=al@merged.example"
LEARNING: dict[str, Any] = {**SHARED, "learn": True}
CAROL = "smtp:carl@merged.example"


def marked(plan: Planner, *to: str, **more: Any) -> bool:
    message = mail(*to, **{"sender": CAROL, "trusted": True, **more})
    stored = plan.plan(message).message
    assert stored.envelope.envid in (None, learning.envid(plan.envid_key, stored.id))
    return stored.envelope.envid is not None


def test_a_directory_name_that_goes_astray_is_marked() -> None:
    plan = planner(**LEARNING)
    assert marked(plan, ASTRAY)
    assert marked(plan, ASTRAY, "smtp:bob@merged.example"), "another of ours may see the mark"
    assert marked(plan, ASTRAY, trusted=False)
    assert marked(plan, ASTRAY, sender="mhs:ann@sales")


@pytest.mark.parametrize(
    ("to", "more"),
    [
        (["smtp:nobody@merged.example"], {}),
        (["smtp:bob@merged.example"], {}),
        ([ASTRAY, "smtp:x@elsewhere.example"], {}),
        ([ASTRAY], {"sender": None}),
        ([ASTRAY], {"sender": "smtp:pat@peer.example"}),
    ],
    ids=["no name", "somebody", "strangers would see it", "no sender", "its bounce would not pass here"],
)
def test_nothing_else_is_marked(to: list[str], more: dict[str, Any]) -> None:
    assert not marked(planner(**LEARNING), *to, **more)


def test_nothing_is_marked_unless_asked_for() -> None:
    assert not marked(planner(**SHARED), ASTRAY)


def test_a_name_that_somebody_has_is_theirs() -> None:
    al = Identity(
        "Al", addresses(parse("smtp:al@merged.example"), former=(parse("x500:/o=ACME/cn=AL"),)), home="internet"
    )
    plan = planner(al, CARL, **LEARNING)
    stored = plan.plan(mail(ASTRAY, sender=CAROL, trusted=True)).message
    assert ways(stored) == [("internet", "smtp:al@merged.example")]
    assert stored.envelope.envid is None


def test_the_senders_own_envelope_identifier_stays() -> None:
    message = mail(ASTRAY, sender=CAROL, trusted=True)
    envelope = replace(message.envelope, envid="QQ314159")
    assert planner(**LEARNING).plan(replace(message, envelope=envelope)).message.envelope.envid == "QQ314159"


def test_a_name_that_goes_out_signed_is_marked_too() -> None:
    """From a network of its own the name comes as it is, and is encapsulated for the next hop."""
    plan = planner(**LEARNING)
    plan.routes = Routes([Route("x500:*", "internet"), Route("smtp:*", "internet")])
    stored = plan.plan(mail("x500:/o=Acme/cn=al", sender=CAROL, trusted=True)).message
    assert stored.deliveries[0].address.value.startswith("GPa")
    assert stored.envelope.envid is not None
