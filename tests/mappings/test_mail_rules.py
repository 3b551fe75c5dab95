"""What an identity's attributes say of its mail, and what is no such thing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mappings.checks import mistakes_of
from mappings.directory import Person, person_of
from mappings.identity import Identity, addresses
from mappings.mail_rules import MailTarget, RuleMistake, Vacation, forwards_of, rules_of
from mappings.network import parse, registry
from mappings.record import TAB, encode


def who(**attributes: str) -> Identity:
    pairs = sorted((f"mail.{name.replace('_', '.')}", value) for name, value in attributes.items())
    return Identity(
        "Ann Lee", addresses(parse("mhs:ann@sales"), parse("smtp:ann@acme.example")), attributes=tuple(pairs)
    )


def test_nothing_is_said() -> None:
    rules = rules_of(who())
    assert (rules.name, rules.mailbox, rules.deliver, rules.vacation) == ("Ann Lee", "", (), None)
    assert parse("smtp:ann@acme.example") in rules.addresses


def test_where_mail_is_put() -> None:
    rules = rules_of(who(deliver="mailbox; folder:Lists/2026;program:archive", mailbox="alee"))
    assert rules.deliver == (
        MailTarget("mailbox"),
        MailTarget("folder", "Lists/2026"),
        MailTarget("program", "archive"),
    )
    assert rules.mailbox == "alee"


def test_a_vacation_has_its_time() -> None:
    until = datetime(2026, 5, 1, tzinfo=UTC).timestamp()
    rules = rules_of(who(vacation="Away.", vacation_until="2026-05-01", vacation_days="3", vacation_subject="Away"))
    assert rules.vacation == Vacation("Away.", "Away", None, until, 3)
    assert rules.vacation.holds_at(until - 1)
    assert not rules.vacation.holds_at(until)


def test_addresses_are_of_any_network_and_each_once() -> None:
    found = forwards_of(" bob@acme.example;mhs:bob@hq\nsmtp:BOB@acme.example ", registry())
    assert [str(each) for each in found] == ["smtp:bob@acme.example", "mhs:bob@hq"]


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"forward": "bob@acme.example, carl@acme.example"}, "part several addresses by ;"),
        ({"forward": " ; "}, "names no address"),
        ({"forward": ";".join(f"a{n}@acme.example" for n in range(101))}, "make a group of them"),
        ({"deliver": "file:/etc/passwd"}, "none of mailbox, folder:NAME and program:NAME"),
        ({"deliver": "folder:../../etc"}, "no folder's name"),
        ({"deliver": "program:a;program:b"}, "one message goes to one at most"),
        ({"mailbox": "../bob"}, "no mailbox's name"),
        ({"mailbox": ".bob"}, "no mailbox's name"),
        ({"vacation": "x", "vacation_days": "0"}, "a number of days from 1 to 366"),
        ({"vacation": "x", "vacation_until": "May"}, "write 2026-07-01"),
        ({"vacation": "x", "vacation_subject": "a\nBcc: b"}, "one line"),
        ({"vacations": "x"}, "did you mean mail.vacation?"),
    ],
)
def test_a_mistake_is_named_with_its_mend(attributes: dict[str, str], says: str) -> None:
    (mistake,) = mistakes_of(who(**attributes))
    assert mistake.startswith("'Ann Lee': ")
    assert says in mistake


def test_other_attributes_are_nobodys_business() -> None:
    assert not mistakes_of(Identity("Ann", addresses(parse("smtp:a@b.example")), attributes=(("forward", "?"),)))


def test_a_record_tells_the_forwarding_alone() -> None:
    for identity in (who(forward="bob@acme.example"), who(deliver="mailbox"), who()):
        fields = encode(identity, 7).encode().split(TAB)
        person = person_of(fields, b"smtp", b"ann@acme.example", 0.0)
        assert person is not None
        assert person.forward == Person(identity).forward == identity.attribute("mail.forward")


def test_what_cannot_be_read_is_raised() -> None:
    with pytest.raises(RuleMistake):
        rules_of(who(deliver="elsewhere"))
