"""The form of TNEF in both directions: what is written is read back equal, and any octets are taken."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tnef import names
from gateway.tnef.properties import (
    BINARY,
    BOOLEAN,
    GUID,
    LONG,
    LONGLONG,
    OBJECT,
    SHORT,
    TEXT8,
    TEXT16,
    TIME,
    Key,
    Name,
    Property,
    binary,
    boolean,
    number,
    number_of,
    octets_of,
    read_list,
    text,
    text_of,
    time,
    time_of,
    write_list,
)
from gateway.tnef.stream import CODE_PAGE, PROPERTIES, RECIPIENTS, TNEF_VERSION, Held, Stream, read, write

SIZES = {SHORT: 4, LONG: 4, BOOLEAN: 4, LONGLONG: 8, TIME: 8, GUID: 16, 0x5: 8, 0xA: 4}


@st.composite
def values(draw: st.DrawFn) -> Property:
    kind = draw(st.sampled_from([*SIZES, TEXT8, TEXT16, BINARY, OBJECT]))
    size = SIZES.get(kind)
    octets = st.binary(max_size=40) if size is None else st.binary(min_size=size, max_size=size)
    multiple = draw(st.booleans())
    many = st.lists(octets, max_size=4) if multiple else st.lists(octets, min_size=1, max_size=1)
    return Property(kind, tuple(draw(many)), multiple)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
keys: st.SearchStrategy[Key] = st.integers(1, 0x7FFF) | st.builds(Name, st.uuids(), st.integers(0, 0xFFFFFFFF) | texts)
lists = st.dictionaries(keys, values(), max_size=8)
attributes = st.tuples(st.integers(1, 0xFFFFFFFF), st.binary(max_size=30)).filter(
    lambda a: a[0] not in (TNEF_VERSION, CODE_PAGE, PROPERTIES, RECIPIENTS, 0x00069002, 0x00069005)
)
streams = st.builds(
    Stream,
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.lists(attributes, max_size=4).map(tuple),
    lists,
    st.lists(lists.filter(bool), max_size=3).map(tuple),
    st.lists(
        st.builds(Held, st.binary(max_size=14), st.lists(attributes, max_size=3).map(tuple), lists), max_size=3
    ).map(tuple),
)


@given(lists)
def test_a_list_of_properties_comes_back(properties: dict[Key, Property]) -> None:
    octets = write_list(properties)
    assert read_list(octets) == (properties, len(octets))
    assert len(octets) % 4 == 0


@given(streams)
def test_a_stream_comes_back(stream: Stream) -> None:
    assert read(write(stream)) == stream


@given(streams, st.data())
def test_what_is_cut_off_is_read_as_far_as_it_goes(stream: Stream, data: st.DataObject) -> None:
    octets = write(stream)
    cut = octets[: data.draw(st.integers(0, len(octets)))]
    found = read(cut)
    assert (found is None) == (len(cut) < 6)
    if found is not None:
        assert len(found.attachments) <= len(stream.attachments)
        assert found.attributes == stream.attributes[: len(found.attributes)] or found.attributes[-1][1] != b""


@given(st.binary(max_size=300))
def test_any_octets_are_a_list(octets: bytes) -> None:
    found, end = read_list(octets)
    assert -1 <= end <= len(octets) + 3
    assert len(found) <= len(octets) // 8 + 1


def test_a_count_of_billions_costs_nothing() -> None:
    """MS-OXTNEF §2.1.3.4: the counts are the sender's word alone."""
    many = b"\xff\xff\xff\xff"
    assert read_list(many) == ({}, -1)
    assert read_list(b"\1\0\0\0" + b"\3\x10\1\0" + many) == ({}, -1)


@pytest.mark.parametrize(
    ("value", "read_by", "expected"),
    [
        (text("häl\U0001f600"), text_of, "häl\U0001f600"),
        (Property(TEXT8, (b"h\xe4l\0rest",)), text_of, "häl"),
        (number(-3), number_of, -3),
        (boolean(True), number_of, 1),
        (Property(SHORT, (b"\xff\xff\0\0",)), number_of, -1),
        (Property(LONGLONG, (b"\0\0\0\0\1\0\0\0",)), number_of, 2**32),
        (binary(b"\0\1"), octets_of, b"\0\1"),
        (time(1_700_000_000), time_of, 1_700_000_000),
        (time(-5), time_of, -5),
        (Property(TIME, (b"\xff" * 8,)), time_of, None),
        (number(1), text_of, ""),
        (text("1"), number_of, None),
        (text("1"), octets_of, b""),
        (number(1), time_of, None),
    ],
)
def test_values(value: Property, read_by: object, expected: object) -> None:
    assert callable(read_by)
    assert read_by({names.SUBJECT: value}, names.SUBJECT) == expected
    assert not read_by({}, names.SUBJECT)


def test_names_that_share_a_number_are_told_apart() -> None:
    """Newer writers give every named property the number 8000: only its name tells it."""
    one, two = Name(names.APPOINTMENT, 0x820D), Name(UUID(int=1), "x")
    octets = write_list({one: number(1), two: number(2)}).replace(b"\3\0\1\x80", b"\3\0\0\x80")
    assert read_list(octets)[0] == {one: number(1), two: number(2)}
