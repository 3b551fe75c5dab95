"""Hypothesis strategies: well-formed addresses of each network, and text that parsers meet."""

from __future__ import annotations

from hypothesis import strategies as st

from mappings.address import Address
from mappings.network import parse
from mappings.networks.smtp import quote

ATEXT = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~"
LABEL = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True).filter(lambda t: t[2:4] != "--")

nasty = st.text(
    st.one_of(
        st.sampled_from('@.,;:<>()[]{}"\\+%!/_- \t\r\n\0aAüéÉ日\u00ad\u3002\ud800'),
        st.characters(exclude_categories=()),
    ),
    max_size=60,
)

_atoms = st.lists(st.text(ATEXT + "üÉ日", min_size=1, max_size=8), min_size=1, max_size=3).map(".".join)
_quoted = st.text(ATEXT + ' @,;:<>()[]\\"', min_size=1, max_size=12).map(quote)
_domains = st.one_of(
    st.lists(LABEL, min_size=1, max_size=4).map(".".join),
    st.sampled_from(["bücher.example", "例え.example", "[192.0.2.1]", "[IPv6:2001:db8::1]", "a_b.example"]),
)
smtp_texts = st.builds(lambda local, domain: f"smtp:{local}@{domain}", st.one_of(_atoms, _quoted), _domains)
smtp = smtp_texts.map(parse)

_name = st.text("abcXYZ0189-_.'&é", min_size=1, max_size=10)
_user = st.lists(_name, min_size=1, max_size=2).map(" ".join)
_behind = st.text("abcXYZ/:+-_{}. @é", min_size=1, max_size=20).map(str.strip).filter(bool)
mhs = st.one_of(
    st.builds(lambda u, w: parse(f"mhs:{u}@{w}"), _user, _name),
    st.builds(lambda u, w, b: parse(f"mhs:{u}@{w} {{{b}}}"), _user, _name, _behind),
)

any_address: st.SearchStrategy[Address] = st.one_of(smtp, mhs)
