"""Whom an address belongs to, as connectors are told."""

from __future__ import annotations

from gateway.person import Person, person_of
from mappings.identity import Held, Identity, Role
from mappings.network import network
from mappings.table import compile_table


def test_a_person_has_the_addresses_of_today() -> None:
    parse = network("smtp").parse
    ann = Identity(
        "Ann Lee",
        (
            Held(parse("lee@acme.example"), Role.ALIAS),
            Held(parse("ann@acme.example"), Role.PRIMARY),
            Held(parse("ann@old.example"), Role.FORMER),
            Held(parse("soon@acme.example"), Role.ALIAS, since=2000.0),
        ),
        attributes=(("login_password", "$x"),),
    )
    table = compile_table([ann], (), domains=("acme.example",), homes={}, encapsulation=None, version=1)
    ours = (parse("ann@acme.example"), parse("lee@acme.example"))
    assert person_of(table, parse("LEE@acme.example"), 1000.0) == Person("Ann Lee", ours, {"login_password": "$x"})
    assert person_of(table, parse("ann@old.example"), 1000.0) is None, "nobody is who they were"
    assert person_of(table, parse("soon@acme.example"), 1000.0) is None
    later = person_of(table, parse("soon@acme.example"), 3000.0)
    assert later is not None
    assert len(later.addresses) == 3
    assert person_of(table, parse("zoe@far.example"), 1000.0) is None
    assert "login_password" not in repr(later), "what is stored of a password is shown nowhere"
