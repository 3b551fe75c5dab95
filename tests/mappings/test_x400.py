"""The x400 network: every spelling of an O/R address, its form at a gateway, and the internet behind ours."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import Encapsulation, Key, decode, encode
from mappings.network import GROUP, Address, AddressError, Registry, parse
from mappings.networks.x400 import X400, decode_printable, encode_printable
from tests.mappings.strategies import nasty, smtp

NET = X400()
GATE = NET.parse("C=gb;A=gold;P=gw;RFC-822=postmaster(a)gw.example")
INSTALLED = Registry(
    EntryPoint(name, f"mappings.networks.{name}:{kind}", GROUP) for name, kind in (("smtp", "Smtp"), ("x400", "X400"))
)

_PS = "abXYZ019 '()+,-./:=?"


def _values(size: int, more: str = "") -> st.SearchStrategy[str]:
    return st.text(_PS + more, min_size=1, max_size=size).filter(lambda t: t.strip())


def _quoted(text: str) -> str:
    return "".join(f"${c}" if c in "/=$" else c for c in text)


_teletex = st.one_of(
    _values(4, "éÜ_@&"),
    st.lists(st.integers(33, 255).map(lambda n: f"{{{n:03}}}"), min_size=1, max_size=4).map("".join),
    st.just("{027040065}{165}"),
    st.just("{165233}a{066}"),
)
_texts = st.one_of(
    _values(9).map(_quoted),
    _values(4, "éÜß_&;,@").map(lambda t: _quoted(t).replace(";", "$;")),
    _teletex.map(lambda t: "*" + _quoted(t).replace("*", "")),
    st.builds(lambda p, t: f"{_quoted(p)}*{_quoted(t)}", _values(6), _teletex),
)
_single = st.dictionaries(
    st.sampled_from(["O", "S", "G", "CN", "Pd-S", "PD-PN", "PD-U"]), st.one_of(_texts, _values(9).map(_quoted))
)
_numbers = st.dictionaries(st.sampled_from(["X.121", "N-ID", "E.164", "NET-SUB"]), st.just("4 71 1"))
_several = st.lists(st.one_of(_texts, _values(9).map(_quoted)), max_size=4)
_types = st.sampled_from(["FAX", "a.b", "x:y", "T y p"])
_internet = st.sampled_from(["", "ann(a)x.example", "ann_lee@x.example", "(032) (l)*"])


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    """Make an address in any order and with any signs between its attributes."""
    pairs = [("c", draw(st.sampled_from(["us", "FI", "246"]))), ("Q", "3"), ("PD-LOCAL", "x"), ("PD-O", "y")]
    pairs += [("A", draw(st.sampled_from(["", " ", "att", "GOLD 400"])))]
    pairs += [*draw(_numbers).items(), *draw(_single).items()]
    pairs += [("ou", text) for text in draw(_several)]
    pairs += [(f"DDA:{draw(_types)}", text) for text in draw(_several)[:3]]
    pairs += [("RFC-822", text) for text in [draw(_internet)] if text]
    written = draw(st.permutations([f"{name} = {text} " for name, text in pairs]))
    sign = draw(st.sampled_from("/;"))
    return NET.parse(sign + sign.join(written) + sign)


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        (
            "/G=Ann/S=Lee/O=Acme/PRMD=acme/ADMD=att/C=us/",
            "C=us;ADMD=att;PRMD=acme;O=Acme;S=Lee;G=Ann",
            "/G=Ann/S=Lee/O=Acme/PRMD=acme/ADMD=att/C=us/",
        ),
        (
            "c=US;a= ;p=Acme Corp;o=HQ;s=Lee;g=Ann;",
            "C=US;ADMD= ;PRMD=Acme Corp;O=HQ;S=Lee;G=Ann",
            '"/G=Ann/S=Lee/O=HQ/PRMD=Acme Corp/ADMD= /C=US/"',
        ),
        (
            "/CN=R$/D desk/OU=Lab/O=Acme/C=fi/",
            "C=fi;ADMD= ;O=Acme;OU1=Lab;CN=R/D desk",
            '"/CN=R$/D desk/OU=Lab/O=Acme/ADMD= /C=fi/"',
        ),
        (
            "C=us;A=att;O=Acme;OU1=Top;OU2=Low;S=Lee",
            "C=us;ADMD=att;O=Acme;OU1=Top;OU2=Low;S=Lee",
            "/S=Lee/OU=Low/OU=Top/O=Acme/ADMD=att/C=us/",
        ),
        (
            "/DD.FAX=+358 9 1/O=x/ADMD=y/C=fi/",
            "C=fi;ADMD=y;O=x;DD.FAX=+358 9 1",
            '"/DD.FAX=+358 9 1/O=x/ADMD=y/C=fi/"',
        ),
        (
            "S=Rossi; DD.cap=20100; DD.ph1=Via Larga 11; DDA.city=Milano; A=PtPostel; C=it;",
            "C=it;ADMD=PtPostel;S=Rossi;DD.city=Milano;DD.ph1=Via Larga 11;DD.cap=20100",
            '"/DD.cap=20100/DD.ph1=Via Larga 11/DD.city=Milano/S=Rossi/ADMD=PtPostel/C=it/"',
        ),
        ("/CN=yen*{165}/C=us/", "C=us;ADMD= ;CN=yen*{165}", '"/CN=yen*{165}/ADMD= /C=us/"'),
        ("/I=J/S=Lin/GQ=5/O=x/A=BTT/C=TC/", "C=TC;ADMD=BTT;O=x;S=Lin;I=J;GQ=5", "/I=J/S=Lin/GQ=5/O=x/ADMD=BTT/C=TC/"),
        ("S=O..K;O=x;A=y;C=us", "C=us;ADMD=y;O=x;S=O..K", '"/S=O..K/O=x/ADMD=y/C=us/"'),
        ("/PD-ADDRESS=The Dome|Richmond/C=gb/A=x/", None, '"/PD-ADDRESS=The Dome|Richmond/ADMD=x/C=gb/"'),
    ],
)
def test_normal_form_and_the_form_at_a_gateway(text: str, value: str | None, shown: str) -> None:
    address = NET.parse(text)
    assert value is None or address.value == value
    assert NET.at_gateway(address, "gw.example") == f"{shown}@gw.example"
    assert NET.from_gateway(shown, "") == address
    assert NET.from_gateway(shown, "x") is None


def test_the_type_that_exchange_carries_is_read_too() -> None:
    ours = Encapsulation(["gw.example"], [Key("a", b"test")], networks=INSTALLED)
    address = NET.parse("C=us;A=att;S=Lee")
    carried = INSTALLED.parse(f"smtp:IMCEAX400-{encode(address.value)}@gw.example")
    assert carried.value == "IMCEAX400-C=us+3BADMD=att+3BS=Lee@gw.example"
    assert ours.decapsulate(carried, unsigned=lambda _: True) == address
    assert ours.by_custom(INSTALLED.parse("smtp:/S=Lee/ADMD=att/C=us/@gw.example")) == address
    assert ours.by_custom(INSTALLED.parse("smtp:/S=Lee/ADMD=att/C=us/@other.example")) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("G=Ann; S=Lee/ O=Acme ;C=us", "C=us;ADMD= ;O=Acme;S=Lee;G=Ann"),
        (";C=us;O=Acme/S=Lee;", "C=us;ADMD= ;O=Acme;S=Lee"),
        ("C=us/O=Acme/S=Lee/", "C=us;ADMD= ;O=Acme;S=Lee"),
        ("/X.121=4711/N-ID=1/E.164=358/Psap=x/C=us", "C=us;ADMD= ;UA-ID=1;X121=4711;NET-NUM=358;NET-PSAP=x"),
        ("/PN=Marshall.M.T.Rose/C=us/", "C=us;ADMD= ;S=Rose;G=Marshall;I=MT"),
        ("/PN=M.T.Rose/C=us/", "C=us;ADMD= ;S=Rose;I=MT"),
        ("/PN=Marshall.Rose/C=us/", "C=us;ADMD= ;S=Rose;G=Marshall"),
        ("/PN=Rose/Q=Jr/C=us/", "C=us;ADMD= ;S=Rose;GQ=Jr"),
        ("/OU=Low/OU=Top/O=Acme/C=us/", "C=us;ADMD= ;O=Acme;OU1=Top;OU2=Low"),
        ("O=Acme;OU=Top;OU=Low;C=us", "C=us;ADMD= ;O=Acme;OU1=Top;OU2=Low"),
        ("C=us;OU=Top;OU=Low", "C=us;ADMD= ;OU1=Top;OU2=Low"),
        ("OU2=Low;OU1=Top;C=us", "C=us;ADMD= ;OU1=Top;OU2=Low"),
        ("C=us;DD2.b=2;DD1:a=1", "C=us;ADMD= ;DD.a=1;DD.b=2"),
        ("C=us;RFC-822=Ann(A)x.example", "C=us;ADMD= ;DD.RFC-822=Ann(A)x.example"),
        ("C=us;dda:rfc-822=ann_lee@x.example", "C=us;ADMD= ;DD.RFC-822=ann(u)lee(a)x.example"),
        ("C=gb;PD-A2=Richmond;PD-A1=The Dome", "C=gb;ADMD= ;PD-ADDRESS=The Dome|Richmond"),
        ("C=gb;PD-A=The Dome*{084}he {068}ome", "C=gb;ADMD= ;PD-ADDRESS=The Dome*The Dome"),
        ("C=de;S=Müller", "C=de;ADMD= ;S=*M{252}ller"),
        ("C=de;S=Mueller*Müller", "C=de;ADMD= ;S=Mueller*M{252}ller"),
        ("C=de;S=*M{252}ll{101114}", "C=de;ADMD= ;S=*M{252}ller"),
        ("C=us;S=Lee*Lee", "C=us;ADMD= ;S=Lee"),
        ("C=us;S=*Lee", "C=us;ADMD= ;S=Lee"),
        ("C=us;S=Lee*", "C=us;ADMD= ;S=Lee"),
        ("C=us;S=*{165}{165}", "C=us;ADMD= ;S=*{165165}"),
        ("C=us;S=*{027040065}{165}{066}", "C=us;ADMD= ;S=*{027040065}{165}B"),
        ("C=us;CN=a$/b=c", "C=us;ADMD= ;CN=a$/b=c"),
        ("C=us;CN=a$/$/b$/", "C=us;ADMD= ;CN=a$//b$/"),
        ("C=us;CN=/a/b", "C=us;ADMD= ;CN=/a/b"),
        ("/C=us/CN=a$=b$$/", "C=us;ADMD= ;CN=*a=b{036}"),
        ("C=us;S= van  der   Lee ", "C=us;ADMD= ;S=van der Lee"),
        ("C=246;A=0;T-TY=g3fax;X121=1", "C=246;ADMD=0;X121=1;T-TY=g3fax"),
    ],
)
def test_other_spellings(text: str, value: str) -> None:
    address = NET.parse(text)
    assert address.value == value
    assert NET.parse(value).value == value


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("G=Ann;S=Lee", "x400.no-country"),
        ("C=us;O=x;OU=a;OU1=b", "x400.ou-mixed"),
        ("C=us;DD.a=a;DD1.b=b", "x400.dd-mixed"),
        ("C=us;PD-A=a;PD-A1=b", "x400.pd-address-mixed"),
        ("C=us;S=Lee;X=1", "x400.unknown-attribute"),
        ("C=us;DD=1", "x400.unknown-attribute"),
        ("C=us;=1", "x400.unknown-attribute"),
        ("C=us;CN=R/D=x", "x400.unknown-attribute"),
        ("C=us;A=" + "a" * 17 + ";O=x", "x400.too-long:ADMD"),
        ("C=us;P=" + "a" * 17 + ";O=x", "x400.too-long:PRMD"),
        ("C=us;O=" + "a" * 65, "x400.too-long:O"),
        ("C=us;OU1=" + "a" * 33, "x400.too-long:OU"),
        ("C=us;S=" + "a" * 41, "x400.too-long:S"),
        ("C=us;S=x;G=" + "a" * 17, "x400.too-long:G"),
        ("C=us;S=x;I=abcdef", "x400.too-long:I"),
        ("C=us;S=x;Q=III1", "x400.too-long:GQ"),
        ("C=us;S=x;Q=*{165165165165}", "x400.too-long:GQ"),
        ("C=us;CN=" + "a" * 65, "x400.too-long:CN"),
        ("C=us;DD.a=" + "a" * 129, "x400.too-long:DD"),
        ("C=us;DD.abcdefghi=a", "x400.too-long:DD"),
        ("C=us;PD-A=" + "a" * 31, "x400.too-long:PD-ADDRESS"),
        ("C=us;PD-A=a|b|c|d|e|f|g", "x400.too-long:PD-ADDRESS"),
        ("C=us;O=x;OU5=a", "x400.too-many-ou"),
        ("/OU=a/OU=b/OU=c/OU=d/OU=e/O=x/C=us/", "x400.too-many-ou"),
        ("C=us;DD.a=1;DD.b=1;DD.c=1;DD.d=1;DD.e=1", "x400.too-many-dd"),
        ("C=us;DD5.a=1", "x400.too-many-dd"),
        ("C=us;PD-A7=1", "x400.too-many-pd-address"),
        ("C=us;A=att;P=acme", "x400.incomplete"),
        ("C=us;G=Ann", "x400.incomplete"),
        ("C=us;C=fi;O=x", "x400.twice"),
        ("C=us;A=a;ADMD=a;O=x", "x400.twice"),
        ("C=us;OU1=a;OU1=b", "x400.twice"),
        ("C=us;PD-A=a;PD-ADDRESS=b", "x400.twice"),
        ("C=us;PN=Ann.Lee;S=Lee", "x400.twice"),
        ("C=us;O=", "x400.no-value"),
        ("C=us;O=*", "x400.no-value"),
        ("C=us;O= ", "x400.no-value"),
        ("C=usa;O=x", "x400.bad-char"),
        ("C=us;A=ätt;O=x", "x400.bad-char"),
        ("C=us;A=a*b;O=x", "x400.bad-char"),
        ("C=us;X121=4a", "x400.bad-char"),
        ("C=us;O=日本", "x400.bad-char"),
        ("C=us;O=a{165}", "x400.bad-char"),
        ("C=us;O=*{16}", "x400.bad-char"),
        ("C=us;O=*{256}", "x400.bad-char"),
        ("C=us;O=ä*b", "x400.bad-char"),
        ("C=us;RFC-822=jörg(a)x.example", "x400.bad-char"),
        ("C=us;DD.=1", "x400.bad-type"),
        ("C=us;DD.a$/b=1", "x400.bad-type"),
        ("C=us;PN=Smith.J.", "x400.bad-name"),
        ("C=us;PN=ä", "x400.bad-name"),
        ("C=us;CN=a//b", "x400.empty-attribute"),
        ("/C=us//O=x/", "x400.empty-attribute"),
        ("/C=us/Lee/O=x/", "x400.no-equals"),
        ("Ann.M.T.Lee", "x400.no-equals"),
        ("C=us;Lee;O=x", "x400.no-equals"),
        ("/", "x400.no-country"),
        ("C=us;O=x$", "x400.open-escape"),
        (" ", "addr.empty"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        NET.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_a_refusal_names_the_place() -> None:
    with pytest.raises(AddressError) as raised:
        NET.parse("C=us;S=Lee;X=1")
    assert raised.value.position == 11


def test_compares_without_case_blanks_and_an_empty_admd() -> None:
    assert NET.parse("C=US;S=LEE;O=ACME  CORP") == NET.parse("/S=Lee/O=Acme Corp/ADMD= /C=us/")
    assert NET.parse("C=de;S=MÜLLER") == NET.parse("C=de;S=*M{252}ller")
    assert NET.parse("C=us;S=Lee;A=att") != NET.parse("C=us;S=Lee")
    assert NET.parse("C=us;S=Lee*lEE") == NET.parse("C=US;S=LEE*LEE") == NET.parse("C=us;S=Lee")
    assert NET.parse("C=us;OU1=a;OU2=b") != NET.parse("C=us;OU1=b;OU2=a")


@pytest.mark.parametrize(
    "local",
    [
        "Ann.Lee",
        '"/S=Lee/O=Acme  Corp/C=us/"',
        '"/S=Lee/O=Acme/C=us/ "',
        '" /S=Lee/O=Acme/C=us/"',
        '"/S=Lee/RFC-822=ann@x.example/C=us/"',
        "/S=Müller/C=de/",
        "/S=Lee/O=Acme/",
        "/FAX=+3585551234/",
        "S=Lee/C=us",
    ],
)
def test_what_is_an_ordinary_mailbox_is_no_address_of_x400(local: str) -> None:
    assert NET.from_gateway(local, "") is None


def test_an_address_too_long_for_a_mailbox_has_no_form_at_a_gateway() -> None:
    address = NET.parse("C=us;" + ";".join(f"DD.{kind}={'=' * 128}" for kind in "abcd"))
    assert NET.at_gateway(address, "gw.example") is None


def test_a_name_without_a_surname_is_warned_of() -> None:
    assert "surname" in NET.warnings(NET.parse("C=us;O=x;G=Ann"))[0]
    assert not NET.warnings(NET.parse("C=us;O=x;S=Lee;G=Ann"))


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("a demo.", "a demo."),
        ("foo@bar", "foo(a)bar"),
        ('"_%"', "(q)(u)(p)(q)"),
        ("@", "(a)"),
        ("(a)", "(l)a(r)"),
        ("~", "(126)"),
        ("!", "(b)"),
        ("(", "(l)"),
        ("", ""),
    ],
)
def test_ascii_as_a_printable_string(text: str, encoded: str) -> None:
    assert encode_printable(text) == encoded
    assert decode_printable(encoded) == text
    assert decode_printable(encoded.upper()).lower() == text


def test_what_encodes_nothing_stays() -> None:
    assert decode_printable("(") == "("
    assert decode_printable("(xy)") == "(xy)"
    for wrong in ("(128)", "(999)"):
        with pytest.raises(AddressError) as raised:
            decode_printable(wrong)
        assert raised.value.rule == "x400.not-ascii"
    with pytest.raises(AddressError):
        encode_printable("jörg")


@given(st.text(st.characters(max_codepoint=127)))
def test_any_ascii_is_read_back_from_a_printable_string(text: str) -> None:
    assert decode_printable(encode_printable(text)) == text


def test_the_internet_lies_behind_our_own_gate() -> None:
    shown = NET.through(NET.parse("c=us; a=MCI; P=relay; O=gw"), parse("smtp:Tom_Harris@cs.widget.com"))
    assert shown is not None
    assert shown.value == "C=us;ADMD=MCI;PRMD=relay;O=gw;DD.RFC-822=Tom(u)Harris(a)cs.widget.com"
    found = NET.parse("C=gb;A=gold;P=gw;DDA:RFC-822=ann(a)acme.example")
    assert found.value == "C=gb;ADMD=gold;PRMD=gw;DD.RFC-822=ann(a)acme.example"
    assert NET.behind(GATE, found) == parse("smtp:ann@acme.example")
    assert NET.behind(GATE, NET.parse("/rfc-822=ANN(A)acme.example/P=GW/A=Gold/C=GB/")) == NET.behind(GATE, found)
    assert INSTALLED.parse(f"X400:{found.value}") == found


@pytest.mark.parametrize(
    "text",
    [
        "C=gb;A=gold;P=gw;S=Lee",
        "C=gb;A=gold;P=other;RFC-822=ann(a)acme.example",
        "C=gb;A=gold;P=gw;S=Lee;RFC-822=ann(a)acme.example",
        "C=gb;A=gold;P=gw;DD.FAX=1;RFC-822=ann(a)acme.example",
        "C=gb;A=gold;P=gw;RFC-822=ann(a)acme.example;RFC-822=bob(a)acme.example",
        "C=gb;A=gold;P=gw;RFC-822=ann(a)acme;DD.RFC822C2=.example",
        "C=gb;A=gold;P=gw;DD.RFC822C1=ann(a)acme.example;CN=dd.rfc-822=",
        "C=gb;A=gold;P=gw;RFC-822=ann",
        "C=gb;A=gold;P=gw;RFC-822=(200)(a)acme.example",
        "C=gb;A=gold;P=gw;RFC-822=ann(010)x(a)acme.example",
    ],
)
def test_what_is_not_behind_our_own_gate(text: str) -> None:
    assert NET.behind(GATE, NET.parse(text)) is None


def test_a_long_address_is_continued() -> None:
    inner = parse(f"smtp:{'a' * 100}@{'b' * 60}.{'c' * 60}.{'d' * 60}.example")
    shown = NET.through(GATE, inner)
    assert shown is not None
    head, *rest = shown.value.split(";DD.")
    assert head == "C=gb;ADMD=gold;PRMD=gw"
    assert [(part.partition("=")[0], len(part.partition("=")[2])) for part in rest] == [
        ("RFC-822", 128),
        ("RFC822C1", 128),
        ("RFC822C2", len(inner.value) + 2 - 256),
    ]
    assert NET.behind(GATE, shown) == inner
    assert NET.through(GATE, parse(f'smtp:"{"( " * 80}"@acme.example')) is None
    assert NET.through(NET.parse("C=us;DD.a=1;DD.b=1;DD.c=1;DD.d=1"), inner) is None


def test_what_the_gate_cannot_name_has_no_form() -> None:
    assert NET.through(GATE, parse("mhs:ann@sales")) is None
    assert NET.through(GATE, parse("smtp:jörg@acme.example")) is None
    assert NET.through(parse("mhs:gate@gw"), parse("smtp:ann@acme.example")) is None
    assert NET.behind(parse("mhs:gate@gw"), GATE) is None


@given(smtp)
def test_what_lies_behind_our_gate_is_read_back(inner: Address) -> None:
    shown = NET.through(GATE, inner)
    if shown is None:
        assert not inner.value.rpartition("@")[0].isascii()
        return
    assert NET.parse(shown.value).value == shown.value
    for peer in (str, str.lower, str.upper):
        assert NET.behind(GATE, NET.parse(peer(shown.value))) == inner


@given(addresses())
def test_what_is_printed_is_read_back(address: Address) -> None:
    again = NET.parse(NET.format(address, "ascii"))
    assert (again, again.value) == (address, address.value)
    assert NET.parse(address.key).key == address.key


@given(addresses())
def test_what_is_carried_is_read_back(address: Address) -> None:
    encoded = encode(address.value)
    for peer in (str, str.lower, str.upper):
        assert NET.parse(decode(peer(encoded))) == address


@given(addresses())
def test_what_is_shown_at_a_gateway_is_read_back(address: Address) -> None:
    shown = NET.at_gateway(address, "gw.example")
    assert shown is not None
    read = parse(f"smtp:{shown}")
    for peer in (str, str.lower, str.upper):
        assert NET.from_gateway(peer(read.value.rpartition("@")[0]), "") == address


@given(nasty)
def test_text_raises_nothing_but_address_error(text: str) -> None:
    for tried in (
        text,
        f"C=us;O={text}",
        f"/O={text}/C=us/",
        f"C=us;DD.{text}=x",
        f"C=us;CN=*{text}",
        f"C=us/{text}=x",
    ):
        try:
            found = NET.parse(tried)
        except AddressError:
            continue
        assert NET.parse(found.value).value == found.value
        NET.behind(GATE, found)
    NET.from_gateway(text, "")
    NET.from_gateway(f"/{text}/C=us/", "")
