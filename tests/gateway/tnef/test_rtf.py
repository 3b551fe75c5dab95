"""RTF: packed and unpacked, and brought to the HTML or the text in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tnef.rtf import Body, body_of, packed_rtf, unpacked_rtf

HTML = (
    rb"{\rtf1\ANSI\ansicpg1251\fromhtml1 \deff0{\fonttbl {\f0\fmodern Courier New;}{\f1\fswiss Arial;}"
    rb"{\f2\fswiss\fcharset0 Arial;}}{\colortbl\red0\green0\blue0;\red0\green0\blue255;}" + b"\r\n"
    rb"{\*\htmltag64}" + b"\r\n"
    rb"\uc1\pard\plain\deftab360 \f0\fs24" + b"\r\n"
    rb"{\*\htmltag <HTML><head>\par \tab <style>\par \tab <!--\par \tab p \{margin:0\}}"
    rb"{\*\htmltag -->\par \tab </style></head>}"
    rb"{\*\htmltag <p>}\htmlrtf {\htmlrtf0 Hello, a < b & c: \'ef\'f0\'e8\u8364?{\*\mhtmltag <x>}"
    rb"{\*\htmltag </p>}\htmlrtf\par}\htmlrtf0" + b"\r\n"
    rb"{\*\htmltag </HTML>}}"
)


def test_the_html_that_it_was_made_of() -> None:
    """MS-OXRTFEX §3.2: tags come out as they were, what is for readers of RTF alone is left out."""
    said = body_of(HTML)
    assert said.html == (
        "<HTML><head>\n\t<style>\n\t<!--\n\tp {margin:0}-->\n\t</style></head>"
        "<p>Hello, a &lt; b &amp; c: при€</p></HTML>"
    )
    assert (said.text, said.native) == ("", False)


@pytest.mark.parametrize(
    ("rtf", "text"),
    [
        (rb"{\rtf1\ansi\ansicpg1252\pard hello world\par}", "hello world\n"),
        (rb"{\rtf1\ansi\ansicpg1252 caf\'e9 \{x\} \\ a\~b}", "café {x} \\ a\u00a0b"),
        (rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}{\f1\fcharset204 Arial;}}\f1 \'ef\f0 \'ef}", "пï"),
        (rb"{\rtf1\ansi{\fonttbl{\f0\fcharset128 MS;}}\f0 \'93\'fa\'96\'7b}", "日本"),
        (rb"{\rtf1\uc1 \u8364?\u-10179?\u-8704?.}", "€\U0001f600."),
        (rb"{\rtf1\uc2\u8364 ab{\uc0\u8364 }c}", "€€c"),
        (rb"{\rtf1{\*\generator Riched20;}{\info{\author X}}{\pict\bin3 {}}x}shown}", "shown"),
        (rb"{\rtf1 a\tab b\line c\emdash d\lquote e}", "a\tb\nc—d‘e"),
        (rb"{\rtf1 a" + b"\r\n" + rb"b}" + b"\0", "ab"),
    ],
)
def test_its_text(rtf: bytes, text: str) -> None:
    assert body_of(rtf) == Body(text=text, native=True)


def test_text_that_was_no_rtf_before() -> None:
    assert body_of(rb"{\rtf1\ansi\fromtext \pard one\par two}") == Body(text="one\ntwo")
    assert body_of(b"no rtf") == Body()


@given(st.binary(max_size=200))
def test_packed_and_unpacked(rtf: bytes) -> None:
    assert unpacked_rtf(packed_rtf(rtf)) == rtf


@given(st.binary(max_size=200), st.booleans())
def test_any_octets_are_taken(octets: bytes, of_html: bool) -> None:
    body_of((rb"{\rtf1\fromhtml1 " if of_html else rb"{\rtf1 ") + octets)


def test_depth_is_bounded() -> None:
    assert body_of(b"{\\rtf1 " + b"{" * 100_000 + b"x" + b"}" * 100_000 + b"y}").text == "xy"
