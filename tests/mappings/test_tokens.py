"""Tokens: numbers for correspondents, and the smtp form for addresses that are too long to be carried."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import Encapsulation, EncapsulationError, Key
from mappings.network import Address, parse
from mappings.table import Direction, Verdict, compile_table
from mappings.tokens import SPACE, TokenBook

ANN, BOB = parse("smtp:ann@far.example"), parse("smtp:bob@far.example")


def test_an_address_keeps_its_number() -> None:
    book = TokenBook(b"s")
    number = book.number(ANN)
    assert 0 <= number < SPACE
    assert book.number(parse("smtp:ANN@far.example")) == number
    assert book.address(number) == ANN
    assert book.pending == ((number, ANN),)
    book.learn(number, ANN)
    assert not book.pending
    # Another node that shares the secret gives the same one.
    assert TokenBook(b"s").number(ANN) == number
    assert TokenBook(b"t").number(ANN) != number


def test_a_number_that_is_taken_is_not_given_again() -> None:
    wanted = TokenBook(b"s").number(ANN)
    book = TokenBook(b"s", [(wanted, BOB)])
    assert book.number(ANN) == (wanted + 1) % SPACE
    # Another node was first with this one: what we gave is void, and the next look gives a new one.
    book.learn((wanted + 1) % SPACE, parse("smtp:carl@far.example"))
    assert book.number(ANN) == (wanted + 2) % SPACE
    book.forget(wanted)
    assert book.address(wanted) is None


@given(st.integers(0, SPACE - 1))
def test_the_smtp_form_is_read_back(number: int) -> None:
    signs = Encapsulation(["gw.example"], [Key("a", b"secret")])
    shown = signs.numbered(number)
    assert parse(str(shown)) == shown
    assert signs.number_of(parse(str(shown).upper().replace("SMTP:", "smtp:"))) == number
    later = Encapsulation(["gw.example"], [Key("b", b"new"), Key("a", b"secret", retired=True)])
    assert later.number_of(shown) == number
    with pytest.raises(EncapsulationError) as raised:
        Encapsulation(["gw.example"], [Key("a", b"other")]).number_of(shown)
    assert raised.value.code == "5.1.6"


def test_a_long_address_is_shown_by_its_number_and_answered() -> None:
    long = parse("mhs:joe@plant {" + "x" * 300 + "}")
    book = TokenBook(b"s")
    table = compile_table(
        [],
        [],
        domains=[],
        homes={},
        encapsulation=Encapsulation(["gw.example"], [Key("a", b"k")]),
        version=1,
        tokens=book,
    )
    shown = table.translate(long, "smtp", Direction.OUTWARD)
    assert shown.how == "encapsulated"
    found = table.resolve(shown.address)
    assert (found.verdict, found.address, found.is_carried) == (Verdict.KNOWN, long, True)
    book.forget(book.number(long))
    gone = table.resolve(shown.address)
    assert (gone.verdict, gone.code) == (Verdict.REFUSED, "5.1.6")


def test_an_address_that_only_looks_like_a_token_is_nobody() -> None:
    signs = Encapsulation(["gw.example"], [Key("a", b"k")])
    assert signs.number_of(Address("smtp", "gpt-short@gw.example", "gpt-short@gw.example")) is None
    assert signs.number_of(Address("smtp", f"gpt-{'a' * 26}@far.example", f"gpt-{'a' * 26}@far.example")) is None


def test_what_was_used_is_told_once() -> None:
    book = TokenBook(b"s")
    number = book.number(ANN)
    book.number(ANN)
    assert book.take_used() == {number}
    assert not book.take_used()
    book.address(number)
    book.address((number + 1) % SPACE)
    assert book.take_used() == {number}
