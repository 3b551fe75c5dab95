"""main.cf and master.cf of Postfix: parameters with their places, expanded, and the services that listen or carry.

Promises: any text gives parameters and mistakes, never a fault; expansion is bounded in depth and size.
Source: postconf(5), master(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_MAX_DEPTH: Final = 20
_MAX_VALUE: Final = 1_000_000
_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
_WORD: Final = re.compile(r"[\s,]+")

DEFAULTS: Final = {
    "mydestination": "$myhostname, localhost.$mydomain, localhost",
    "myorigin": "$myhostname",
    "inet_interfaces": "all",
    "local_recipient_maps": "proxy:unix:passwd.byname $alias_maps",
    "alias_maps": "hash:/etc/aliases",
    "virtual_alias_domains": "$virtual_alias_maps",
    "virtual_mailbox_domains": "$virtual_mailbox_maps",
    "virtual_transport": "virtual",
    "local_transport": "local:$myhostname",
    "default_transport": "smtp",
    "relay_transport": "relay",
    "mail_spool_directory": "/var/mail",
    "mynetworks_style": "host",
    "smtp_tls_security_level": "",
    "smtpd_tls_security_level": "",
    "recipient_delimiter": "",
    "message_size_limit": "10240000",
    "data_directory": "/var/lib/postfix",
    "config_directory": "/etc/postfix",
    "queue_directory": "/var/spool/postfix",
    "lmtp_tcp_port": "24",
    "milter_default_action": "tempfail",
}
"""Defaults of the parameters that are asked for, where they say something."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A parameter as it is written, and the line where it is."""

    line: int
    value: str


class MainCf:
    """The parameters of main.cf."""

    def __init__(self, text: str, hostname: str) -> None:
        self.settings: dict[str, Setting] = {}
        self.mistakes: list[tuple[int, str]] = []
        self.asked = {"mydomain", "myhostname"}
        for line, logical in logical_lines(text):
            name, equals, value = logical.partition("=")
            if equals and _NAME.fullmatch(name.strip()):
                self.settings[name.strip()] = Setting(line, value.strip())
            else:
                self.mistakes.append((line, logical))
        # Postfix makes the one of these of the other.
        domain = self.settings.get("mydomain")
        if "myhostname" not in self.settings:
            whole = hostname if "." in hostname or domain is None else f"{hostname}.{domain.value}"
            self.settings["myhostname"] = Setting(0, whole)
        if domain is None:
            above = self["myhostname"].partition(".")[2]
            self.settings["mydomain"] = Setting(0, above or "localdomain")

    def __contains__(self, name: str) -> bool:
        """Tell whether a parameter is set and says something."""
        self.asked.add(name)
        return name in self.settings and bool(self.settings[name].value)

    def __getitem__(self, name: str) -> str:
        """Return the value of a parameter, expanded; empty where it is not set and has no default."""
        self.asked.add(name)
        return self._value(name, 0)

    def line(self, name: str) -> int:
        return self.settings[name].line if name in self.settings else 0

    def words(self, name: str) -> list[str]:
        """Return the words of a list; what stands in braces is one word."""
        return words(self[name])

    def is_yes(self, name: str) -> bool:
        return self[name].lower() == "yes"

    def expand(self, text: str) -> str:
        return self._expand(text, 0)

    def _value(self, name: str, depth: int) -> str:
        setting = self.settings.get(name)
        return self._expand(setting.value if setting is not None else DEFAULTS.get(name, ""), depth)

    def _expand(self, text: str, depth: int) -> str:
        """Put values in place of $name, ${name}, $(name), ${name?text} and ${name:text}."""
        if "$" not in text or depth > _MAX_DEPTH:
            return text
        made: list[str] = []
        size = at = 0
        while at < len(text) and size < _MAX_VALUE:
            dollar = text.find("$", at)
            if dollar < 0:
                made.append(text[at:])
                break
            made.append(text[at:dollar])
            part, at = self._one(text, dollar + 1, depth + 1)
            made.append(part)
            size += len(part) + dollar - at
        return "".join(made)[:_MAX_VALUE]

    def _one(self, text: str, at: int, depth: int) -> tuple[str, int]:
        """Return what stands for the name at a place behind a $, and where the text goes on."""
        if text[at : at + 1] == "$":
            return "$", at + 1
        if text[at : at + 1] not in ("{", "("):
            found = _NAME.match(text, at)
            return (self._value(found[0], depth), found.end()) if found else ("$", at)
        end = _closed(text, at)
        inner = text[at + 1 : end]
        found = _NAME.match(inner)
        if found is None:
            return "", end + 1  # a comparison of Postfix 3: what it would choose is not guessed
        rest = inner[found.end() :]
        value = self._value(found[0], depth)
        if rest[:1] == "?":
            chosen, _, other = _alternatives(rest[1:])
            return self._expand(chosen if value else other, depth), end + 1
        if rest[:1] == ":":
            return value or self._expand(_alternatives(rest[1:])[0], depth), end + 1
        return value, end + 1


def _alternatives(text: str) -> tuple[str, str, str]:
    """Split `{a}:{b}`; a text without braces is the first alone."""
    text = text.strip()
    if not text.startswith("{"):
        return text, "", ""
    end = _closed(text, 0)
    return text[1:end].strip(), ":", text[end + 1 :].lstrip(" :").strip("{} ")


def _closed(text: str, at: int) -> int:
    """Return the place of the bracket that closes the one at a place, or the end of the text."""
    opening = text[at]
    closing = "}" if opening == "{" else ")"
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == opening) - (text[i] == closing)
        if not depth:
            return i
    return len(text)


def words(text: str) -> list[str]:
    """Split at blanks and commas; what stands in braces is one word, with them."""
    if "{" not in text:
        return [word for word in _WORD.split(text) if word]
    found: list[str] = []
    made = ""
    at = 0
    while at < len(text):
        if text[at] == "{":
            end = _closed(text, at)
            made += text[at : end + 1]
            at = end
        elif text[at].isspace() or text[at] == ",":
            found.append(made)
            made = ""
        else:
            made += text[at]
        at += 1
    return [word for word in (*found, made) if word]


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of its first line, text) of each logical line; one that begins with a blank continues it."""
    start, parts = 0, list[str]()
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip()
        if not line.strip() or line.lstrip()[0] == "#":
            continue
        if line[0] in " \t" and parts:
            parts.append(line.strip())
            continue
        if parts:
            yield start, " ".join(parts)
        start, parts = number, [line.strip()]
    if parts:
        yield start, " ".join(parts)


@dataclass(frozen=True, slots=True)
class Service:
    """A line of master.cf: `options` are those of its `-o`, without those of others."""

    line: int
    name: str
    kind: str
    command: str
    options: dict[str, str]


def services(text: str) -> Iterator[Service]:
    """Yield the services of master.cf."""
    for line, logical in logical_lines(text):
        fields = words(logical)
        if len(fields) < 8:
            continue
        options: dict[str, str] = {}
        for at, word in enumerate(fields[8:], 8):
            given = fields[at + 1] if word == "-o" and at + 1 < len(fields) else word[2:] if word[:2] == "-o" else ""
            name, equals, value = given.strip("{}").partition("=")
            if equals:
                options[name.strip()] = value.strip()
        yield Service(line, fields[0], fields[1], fields[7], options)
