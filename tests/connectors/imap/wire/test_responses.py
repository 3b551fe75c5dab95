"""What responses say."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.imap.wire.responses import Code, Data, Fetched, Go, Response, Said, body, response
from connectors.imap.wire.tokens import Part, WireError

SEEN = frozenset((b"\\Seen",))
TABLE: list[tuple[list[Part], Response]] = [
    ([b"* OK [CAPABILITY IMAP4rev1 ID] ready"], Said("", "OK", Code("CAPABILITY", (b"IMAP4rev1", b"ID")), "ready")),
    ([b"g1 OK done"], Said("g1", "OK", None, "done")),
    ([b"g2 no [TRYCREATE] no such folder"], Said("g2", "NO", Code("TRYCREATE"), "no such folder")),
    ([b"g3 OK [APPENDUID 38505 3955:3957] x"], Said("g3", "OK", Code("APPENDUID", (b"38505", b"3955:3957")), "x")),
    ([b"g3 OK [COPYUID 1 2,4 7:8]"], Said("g3", "OK", Code("COPYUID", (b"1", b"2,4", b"7:8")), "")),
    ([b"* OK [PERMANENTFLAGS (\\Seen \\*)] x"], Said("", "OK", Code("PERMANENTFLAGS", ([b"\\Seen", b"\\*"],)), "x")),
    ([b'* NO [BADCHARSET ("a]b" utf-8)] x'], Said("", "NO", Code("BADCHARSET", ([b"a]b", b"utf-8"],)), "x")),
    ([b"* OK [UNSEEN 12] x [y]"], Said("", "OK", Code("UNSEEN", (b"12",)), "x [y]")),
    ([b"g3 OK [APPENDUID 38505 3955]"], Said("g3", "OK", Code("APPENDUID", (b"38505", b"3955")), "")),
    ([b"g3 OK [APPENDUID 38505 x] y"], Said("g3", "OK", Code("APPENDUID", (b"38505", b"x")), "y")),
    ([b"* OK [HIGHESTMODSEQ 33] Highest"], Said("", "OK", Code("HIGHESTMODSEQ", (b"33",)), "Highest")),
    ([b"* ok [highestmodseq 33] \xff"], Said("", "OK", Code("HIGHESTMODSEQ", (b"33",)), "\ufffd")),
    ([b"* OK [UIDNEXT 5] \xff "], Said("", "OK", Code("UIDNEXT", (b"5",)), "\ufffd")),
    ([b"+ OK [UIDNEXT 5] x"], Go(b"OK [UIDNEXT 5] x")),
    ([b"* OK [broken"], Said("", "OK", None, "[broken")),
    ([b"* BYE"], Said("", "BYE", None, "")),
    ([b"* PREAUTH hello"], Said("", "PREAUTH", None, "hello")),
    ([b"* BAD Command Error. 10"], Said("", "BAD", None, "Command Error. 10")),
    ([b"+ idling"], Go(b"idling")),
    ([b"+"], Go(b"")),
    ([b"* 12 EXISTS"], Data("EXISTS", 12, ())),
    ([b"* 12 expunge"], Data("EXPUNGE", 12, ())),
    ([b"* SEARCH"], Data("SEARCH", None, ())),
    ([b'* ESEARCH (TAG "g1") UID ALL 1:3,5'], Data("ESEARCH", None, ([b"TAG", b"g1"], b"UID", b"ALL", b"1:3,5"))),
    ([b"* VANISHED (EARLIER) 300:310,405"], Data("VANISHED", None, ([b"EARLIER"], b"300:310,405"))),
    ([b"* LIST () ", b"/", b" ", b"a\xff", b""], Data("LIST", None, ([], b"/", b"a\xff"))),
    ([b"* 7 FETCH (FLAGS (\\Seen))"], Fetched(7, None, SEEN)),
    ([b"* 7 FETCH (UID 9 FLAGS (\\Seen) MODSEQ (44))"], Fetched(7, 9, SEEN, 44)),
    ([b"* 7 FETCH (FLAGS (\\Seen) UID 9)"], Fetched(7, 9, SEEN)),
    ([b"* 7 FETCH (MODSEQ (44) uid 9 flags ())"], Fetched(7, 9, frozenset(), 44)),
    (
        [b'* 7 FETCH (UID 9 RFC822.SIZE 5 INTERNALDATE " 1-Jan-1970 00:01:00 +0000" RFC822 ', b"a\r\nbc", b")"],
        Fetched(7, 9, None, None, 5, 60.0, {"RFC822": b"a\r\nbc"}),
    ),
    ([b"* 7 FETCH (UID 9 BODY[] ", b"a\r\nbc", b")"], Fetched(7, 9, more={"BODY[]": b"a\r\nbc"})),
    (
        [
            b'* 7 FETCH (UID 9 FLAGS (\\Seen) INTERNALDATE " 1-Jan-1970 01:01:00 +0100" RFC822.SIZE 5 MODSEQ (44) '
            b"BODY[HEADER.FIELDS (MESSAGE-ID)] ",
            b"Message-ID: <1@x>",
            b")",
        ],
        Fetched(7, 9, SEEN, 44, 5, 60.0, {"BODY[HEADER.FIELDS (MESSAGE-ID)]": b"Message-ID: <1@x>"}),
    ),
    (
        [b"* 7 FETCH (FLAGS (\\Seen) BODY[]<0> ", b"a", b" UID 9)"],
        Fetched(7, 9, SEEN, more={"BODY[]<0>": b"a"}),
    ),
    # What servers say that is not quite IMAP.
    ([b"* 7 FETCH (UID 9 RFC822.SIZE NIL)"], Fetched(7, 9)),
    ([b'* 7 FETCH (UID 9 INTERNALDATE "30-Dec-1899 00:00:00 +0000")'], Fetched(7, 9)),
    ([b"* 7 FETCH (UID 9 BODY[] NIL)"], Fetched(7, 9, more={"BODY[]": None})),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "expected"), TABLE)
def test_responses(parts: list[Part], expected: Response) -> None:
    assert response(parts) == expected


@pytest.mark.parametrize("line", [b"", b"hello", b"*", b"* (a)", b"g1 FETCH 1", b"* 1 FETCH ((a) b)"])
def test_what_is_no_response_is_named(line: bytes) -> None:
    with pytest.raises(WireError):
        response([line])


def test_a_message_is_found_under_each_of_its_names() -> None:
    for name in (b"BODY[]", b"RFC822", b"BINARY[]"):
        found = response([b"* 1 FETCH (" + name + b" ", b"text", b")"])
        assert isinstance(found, Fetched)
        assert body(found) == b"text"
    assert body(Fetched(1)) is None


@given(st.binary(max_size=100))
def test_octets_raise_nothing_but_wire_error(line: bytes) -> None:
    for each in (line, b"* " + line, b"g1 OK [" + line, b"* 1 FETCH (" + line):
        with suppress(WireError):
            response([each.replace(b"\n", b"")])
