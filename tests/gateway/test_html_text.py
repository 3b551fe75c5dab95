"""HTML as text: how each thing reads, and that no HTML takes long or much."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.html_text import html_to_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("plain", "plain\n"),
        ("<p>one\n  two<p>three</p>four", "one two\n\nthree\n\nfour\n"),
        ("one<br>two<br/><br>three", "one\ntwo\n\nthree\n"),
        ("<div>one<div>two</div></div>three", "one\ntwo\nthree\n"),
        ("<h1>Title</h1>text", "Title\n\ntext\n"),
        ("a<b>b</b> <i>c</i>d", "ab cd\n"),
        ("1 &lt; 2 &amp; x &#8364; &euro; &nosuch; &#99999999999;", "1 < 2 & x € € &nosuch; \ufffd\n"),
        ("2 < 3 and <<< x", "2 < 3 and <<< x\n"),
        ("<ul><li>one<li>two<ul><li>in</ul><li>three</ul>after", "* one\n* two\n  * in\n* three\n\nafter\n"),
        ("<ol><li>one<li>two</ol>", "1. one\n2. two\n"),
        ("<ul><li></li><li>x</ul>", "*\n* x\n"),
        ("<li>without a list", "* without a list\n"),
        ("<dl><dt>term<dd>what it is<dt>next</dl>end", "term\n  what it is\nnext\nend\n"),
        ("he:<blockquote>one<blockquote>two</blockquote></blockquote>me", "he:\n\n> one\n>\n> > two\n\nme\n"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c<td>d</table>", "a | b\nc | d\n"),
        ("<table><tr><td><p>a</p></td><td><p>b</p></td></tr></table>", "a\n\nb\n"),
        ("<pre>\n  a\n\n b &lt;</pre>c", "  a\n\n b <\n\nc\n"),
        ('<a href="https://x.example/a?b=1&amp;c">see</a> it', "see <https://x.example/a?b=1&c> it\n"),
        ('<a href="https://x.example/">x.example</a>', "x.example\n"),
        ('<a href="mailto:ann@x.example?subject=y">Ann</a>.', "Ann <ann@x.example>.\n"),
        ('<a href="mailto:ann@x.example">ann@x.example</a>', "ann@x.example\n"),
        ('<a href="#top">up</a> <a href="javascript:x()">do</a> <a>none</a>', "up do none\n"),
        ('<a href="https://x.example/\n">>y</a>', ">y <https://x.example/>\n"),
        ('<a href="https://a.example">a<a href="https://b.example">b', "a <https://a.example>b <https://b.example>\n"),
        ('<img alt="A &lt;b&gt;" src=x><img src=y>', "[A <b>]\n"),
        ("a<hr>b", "a\n" + "-" * 40 + "\nb\n"),
        ("<q>x</q>", '"x"\n'),
        ("a<script>if (a<b) '</p>'</script>b<style>p{}</style><!-- c --><!doctype x><?php x?>d", "abd\n"),
        ("<title>t</title><textarea>x</textarea>", "x\n"),
        ("a<div style='display: none'>hid<div>den</div></div>b<span hidden>c</span>", "ab\n"),
        ("<div style='display:none'>never closed", "never closed\n"),
        ("a<!-- never closed", "a\n"),
        ("<p title='never closed>text</p> more", "text\n\nmore\n"),
        ("a\u00ad\u200bb\xa0\xa0c", "ab  c\n"),
        ("<p>\xa0</p><p>a", "a\n"),
    ],
)
def test_how_it_reads(html: str, text: str) -> None:
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    "piece",
    ['<a "', "<!--", "<", "<a href='", "<div>", "<ul><li>", "<script>", "&#1", "<td>", "<a href=http://x>", "<li>",
     "<blockquote>x", "<div hidden>", '<p a="', "<a \">x\"", "<pre>\n", "</p>", "<br>", "<table><tr><td>x"],
)  # fmt: skip
def test_time_and_size_are_bounded(piece: str) -> None:
    source = piece * (200_000 // len(piece))
    start = time.process_time()
    text = html_to_text(source)
    assert time.process_time() - start < 3
    assert len(text) < 10 * len(source)


PIECES = ["<", ">", '"', "'", "a", "<p>", "</p>", "<ul><li>", "</ul>", "<blockquote>", "<pre>", " ", "\n", "<a href=x>",
          "<!--", "-->", "&", "<td>", "<div hidden>", "</div>", "<script>"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES)))
def test_anything_is_taken(pieces: list[str]) -> None:
    text = html_to_text("".join(pieces))
    assert text == "" or text.endswith("\n")
    assert not text.endswith("\n\n")
