"""HTML as text a person can read: paragraphs, lists, quotes and tables by line breaks and signs, links as `text <url>`.

Promises: any text is taken, in time linear in it, and memory of a few times its size; nothing nests deeper than
`MAX_DEPTH` here, whatever the HTML says; what is not shown on a screen (scripts, styles, comments, hidden elements) is
left out, but for a hidden element that is never closed. What this is not: a browser. Style sheets are not read, columns
are not laid out. Written here, since the libraries found build a tree of the whole with compiled parsers, or run in
quadratic time on what is not closed.
Source: the WHATWG HTML standard, §13.2.5 (how tags, comments and raw text are told apart), §15.3 (what is a block).
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Final

MAX_DEPTH: Final = 12
"""Quotes and lists inside each other; what is deeper is written like the level above it."""

_SIGNS: Final = re.compile("<+")
_QUOTES: Final = re.compile("(?:> ?)*")
_TAG: Final = re.compile(r"</?([A-Za-z][A-Za-z0-9:-]{0,40})")
_IN_TAG: Final = re.compile(r"[>\"']")
_ATTRIBUTE: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9:-]*+)(?:[ \t\n\f]*+=[ \t\n\f]*+(?:\"([^\"]*+)\"|'([^']*+)'|([^ \t\n\f\"'>]++)))?"
)
_HIDDEN: Final = re.compile(r"display[ \t]*:[ \t]*none|visibility[ \t]*:[ \t]*hidden", re.IGNORECASE)
_LONG_NUMBER: Final = re.compile(r"&#[xX]?[0-9a-fA-F]{9,};?")
_BLANKS: Final = re.compile(r"[ \t\r\n\f]+")
_FILLERS: Final = re.compile("[\u00ad\u034f\u200b\u200c\u2060\ufeff]+")
_UNSEEN: Final = re.compile(r"[\x00-\x20\x7f-\x9f<>\u2028\u2029]+")
_NEWLINE: Final = re.compile(r"\r\n?")
_LINKS: Final = ("http:", "https:", "ftp:", "mailto:", "tel:", "news:", "xmpp:", "sip:")
_MAX_LINK: Final = 2000

_RAW: Final = frozenset({"script", "style", "title", "xmp", "iframe", "noembed", "noframes", "template", "svg", "math"})
_VOID: Final = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
})  # fmt: skip
_BLOCKS: Final = frozenset({
    "address", "article", "aside", "body", "caption", "center", "details", "dialog", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "header", "html", "legend", "main", "nav", "optgroup", "option",
    "section", "summary", "tbody", "tfoot", "thead", "tr",
})  # fmt: skip
_SPACED: Final = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "table"})
_RULE: Final = "-" * 40


@dataclass(slots=True)
class _Level:
    """One open element that matters for what is written in it: what begins its lines."""

    tag: str
    indent: str = ""
    number: int = 0
    """Of the next item of an ordered list, 0 in any other."""


def html_to_text(source: str) -> str:
    """Return the text of an HTML document or of a piece of one; its lines end in LF, the last one too."""
    reader = _Reader(source, show_hidden=False)
    reader.read()
    if reader.hidden:
        reader = _Reader(source, show_hidden=True)
        reader.read()
    return reader.writer.text()


class _Writer:
    """Puts words on lines: blanks collapsed, empty lines counted, every line begun as its quotes and lists ask."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.words: list[str] = []
        self.levels: list[_Level] = []
        self.prefix = ""
        self.marker = ""
        """Stands in place of the last blanks of the prefix, on the next line alone."""
        self.blank_due = False
        self.space_due = False
        self.pre = 0

    def put(self, text: str) -> None:
        if self.pre:
            first, *others = text.split("\n")
            self._append(first)
            for line in others:
                self.end_line(keep_empty=True)
                self._append(line)
            return
        collapsed = _BLANKS.sub(" ", text)
        if not collapsed:
            return
        if collapsed.startswith(" "):
            self.space_due = bool(self.words)
            collapsed = collapsed[1:]
        if not collapsed:
            return
        if self.space_due and self.words:
            self.words.append(" ")
        self.space_due = collapsed.endswith(" ")
        self.words.append(collapsed.rstrip(" "))

    def _append(self, text: str) -> None:
        if text:
            self.words.append(text)

    def end_line(self, *, keep_empty: bool = False) -> None:
        """End the line that is under way, if there is one."""
        self.space_due = False
        text = "".join(self.words).replace("\xa0", " ").rstrip()
        self.words = []
        if not (text.strip() or self.marker or keep_empty):
            return
        if self.blank_due and self.lines and self.lines[-1].strip("> "):
            self.lines.append(self._quote())
        self.blank_due = False
        prefix = self.prefix
        if self.marker:
            prefix = prefix[: -len(self.marker)] + self.marker
            self.marker = ""
        self.lines.append((prefix + text).rstrip())

    def _quote(self) -> str:
        """Return an empty line, as it is inside the quotes that the lines before and after it share."""
        quotes = [text[: text.rfind(">") + 1] for text in (self.prefix, _quotes(self.lines[-1]))]
        return min(quotes, key=len)

    def block(self, *, spaced: bool = False) -> None:
        """Begin a new block, with an empty line before it where `spaced`."""
        if self.words:
            self.end_line()
        self.blank_due = self.blank_due or (spaced and not self.marker)

    def open(self, level: _Level) -> None:
        if len(self.levels) < MAX_DEPTH:
            self.levels.append(level)
            self.prefix += level.indent

    def close(self, *tags: str) -> None:
        """Close the innermost level of one of these tags, and what is still open inside it."""
        for i in range(len(self.levels) - 1, -1, -1):
            if self.levels[i].tag in tags:
                del self.levels[i:]
                self.prefix = "".join(level.indent for level in self.levels)
                return

    def text(self) -> str:
        self.end_line()
        while self.lines and not self.lines[-1].strip("> "):
            self.lines.pop()
        return "".join(line + "\n" for line in self.lines)


class _Reader:
    """Walks through the source once."""

    def __init__(self, source: str, *, show_hidden: bool) -> None:
        self.source = _NEWLINE.sub("\n", source)
        self.writer = _Writer()
        self.show_hidden = show_hidden
        self.hidden = 0
        self._hidden_tag = ""
        self._link = ""
        self._link_start = 0
        self._gone: set[str] = set()
        self._cell_due = False
        self._lines_at_cell = 0
        self._at_pre = False
        self._loose = False

    def read(self) -> None:
        source = self.source
        at, size = 0, len(source)
        while at < size:
            sign = source.find("<", at)
            if sign < 0:
                sign = size
            if sign > at:
                self._text(source[at:sign])
            at = self._markup(sign) if sign < size else size
        self._end_link()

    def _find(self, what: str, start: int) -> int:
        """Return where a text stands from `start` on; looks no more for what was not found once."""
        if what in self._gone:
            return -1
        found = self.source.find(what, start)
        if found < 0:
            self._gone.add(what)
        return found

    def _markup(self, at: int) -> int:
        """Take what begins at a `<`; return where it ends."""
        source = self.source
        if source.startswith("<!--", at):
            end = self._find("-->", at + 4)
            if end >= 0:
                return end + 3
        if source.startswith(("<!", "<?"), at):
            end = self._find(">", at)
            return end + 1 if end >= 0 else len(source)
        tag = _TAG.match(source, at)
        if tag is None:
            signs = _SIGNS.match(source, at)
            end = max(at + 1, signs.end() - 1 if signs is not None else 0)
            self._text(source[at:end])
            return end
        end = self._tag_end(tag.end())
        name = tag[1].lower()
        if source[at + 1] == "/":
            self._close(name)
            return end
        attributes = source[tag.end() : end]
        if name in _RAW:
            return self._raw_end(name, end) if not attributes.endswith("/>") else end
        self._open(name, attributes)
        return end

    def _tag_end(self, at: int) -> int:
        """Return where a tag ends: behind the next `>` that is in no quotes."""
        source = self.source
        start = at
        while not self._loose and (sign := _IN_TAG.search(source, at)) is not None:
            at = sign.end()
            if sign[0] == ">":
                return at
            closing = self._find(sign[0], at)
            if closing >= 0:
                at = closing + 1
        self._loose = True  # a quote that is open to the end: from here on quotes count for nothing
        end = self._find(">", start)
        return end + 1 if end >= 0 else len(source)

    def _raw_end(self, name: str, at: int) -> int:
        """Return where an element ends whose inside is no HTML, or is not shown."""
        what = f"</{name}"
        if what in self._gone:
            return at
        found = re.compile(re.escape(what) + r"[ \t\n\f/>]", re.IGNORECASE).search(self.source, at)
        if found is None:
            self._gone.add(what)
            return at
        return self._tag_end(found.end() - 1)

    # -- what is read

    def _text(self, text: str) -> None:
        if self.hidden:
            return
        if "&" in text:
            text = html.unescape(_LONG_NUMBER.sub("\ufffd", text))
        text = _FILLERS.sub("", text)
        if self._at_pre:
            self._at_pre = False
            text = text.removeprefix("\n")  # §13.2.6.4.7: the line end behind the tag is none of its text
        if self._cell_due and not text.isspace() and text:
            writer = self.writer
            self._cell_due = False
            if writer.words and len(writer.lines) == self._lines_at_cell:
                writer.space_due = False
                writer.words.append(" | ")
                text = text.lstrip()
        self.writer.put(text)

    def _open(self, name: str, attributes: str) -> None:
        if self.hidden:
            self.hidden += name == self._hidden_tag
            return
        if not self.show_hidden and name not in _VOID and attributes.strip("/> ") and _is_hidden(attributes):
            self.hidden, self._hidden_tag = 1, name
            return
        writer = self.writer
        if name == "br":
            if writer.words or writer.marker:
                writer.end_line()
            else:
                writer.blank_due = True
        elif name in _SPACED:
            writer.block(spaced=True)
        elif name in ("td", "th"):
            self._cell_due = bool(writer.words)
            self._lines_at_cell = len(writer.lines)
        elif name == "li":
            self._item()
        elif name in ("ul", "ol", "menu", "dir"):
            writer.block(spaced=not any(level.tag in _LISTS for level in writer.levels))
            writer.open(_Level(name, number=int(name == "ol")))
        elif name in ("dt", "dd"):
            writer.block()
            writer.close("dd")
            if name == "dd":
                writer.open(_Level(name, "  "))
        elif name == "blockquote":
            writer.block(spaced=True)
            writer.open(_Level(name, "> "))
        elif name in _PRE:
            writer.block(spaced=True)
            writer.pre += 1
            self._at_pre = True
        elif name == "hr":
            writer.block()
            writer.put(_RULE)
            writer.block()
        elif name == "img":
            alt = _attribute(attributes, "alt").strip()
            if alt:
                self._text(f"[{html.escape(alt, quote=False)}]")
        elif name == "a":
            self._end_link()
            self._link = _shown_link(_attribute(attributes, "href"))
            self._link_start = len(writer.words)
        elif name in _BLOCKS:
            writer.block()
            self._cell_due = False
        elif name == "q":
            self._text('"')

    def _item(self) -> None:
        writer = self.writer
        inner = next((i for i in range(len(writer.levels) - 1, -1, -1) if writer.levels[i].tag in (*_LISTS, "li")), -1)
        if inner >= 0 and writer.levels[inner].tag == "li":
            writer.close("li")
        writer.block()
        if writer.marker:
            writer.end_line()
        holder = next((level for level in reversed(writer.levels) if level.tag in _LISTS), None)
        marker = "* "
        if holder is not None and holder.number:
            marker = f"{holder.number}. "
            holder.number += 1
        if len(writer.levels) < MAX_DEPTH:
            writer.open(_Level("li", " " * len(marker)))
            writer.marker = marker

    def _close(self, name: str) -> None:
        if self.hidden:
            self.hidden -= name == self._hidden_tag
            return
        writer = self.writer
        if name == "a":
            self._end_link()
        elif name in _SPACED or name == "blockquote":
            writer.block(spaced=True)
            if name == "blockquote":
                writer.close(name)
        elif name in (*_LISTS, "li", "dd", "dl"):
            writer.block(spaced=name in _LISTS and sum(level.tag in _LISTS for level in writer.levels) <= 1)
            if writer.marker:
                writer.end_line()
            writer.close("dd" if name == "dl" else name)
        elif name in _BLOCKS:
            writer.block()
            self._cell_due = False
        elif name in _PRE:
            writer.block(spaced=True)
            writer.pre = max(writer.pre - 1, 0)
        elif name == "q":
            self._text('"')

    def _end_link(self) -> None:
        """Write the address of a link behind its text, where the text is not the address itself."""
        link, self._link = self._link, ""
        if not link or self.hidden:
            return
        writer = self.writer
        said = "".join(writer.words[min(self._link_start, len(writer.words)) :]).strip()
        if _bare(said) == _bare(link):
            return
        space_after = writer.space_due
        writer.space_due = True
        writer.put(f"<{link}>")
        writer.space_due = space_after


_LISTS: Final = ("ul", "ol", "menu", "dir")
_PRE: Final = ("pre", "listing", "plaintext")


def _quotes(line: str) -> str:
    found = _QUOTES.match(line)
    return "" if found is None else found[0]


def _attribute(attributes: str, name: str) -> str:
    for found in _ATTRIBUTE.finditer(attributes):
        if found[1].lower() == name:
            return html.unescape(_LONG_NUMBER.sub("", found[2] or found[3] or found[4] or ""))
    return ""


def _is_hidden(attributes: str) -> bool:
    lower = attributes.lower()
    if "hidden" not in lower and "none" not in lower:
        return False
    return any(
        found[1].lower() == "hidden"
        or (found[1].lower() == "style" and _HIDDEN.search(found[2] or found[3] or found[4] or "") is not None)
        for found in _ATTRIBUTE.finditer(attributes)
    )


def _shown_link(href: str) -> str:
    """Return a link's address as it is written in text, empty where it leads nowhere from there."""
    link = _UNSEEN.sub("", href)
    if not link.lower().startswith(_LINKS) or len(link) > _MAX_LINK:
        return ""
    if link.lower().startswith("mailto:"):
        return link[7:].partition("?")[0]
    return link


def _bare(link: str) -> str:
    """Return what two ways to write one address have in common."""
    scheme, sign, rest = link.lower().partition("://")
    return (rest if sign else scheme).removesuffix("/").removeprefix("www.")
