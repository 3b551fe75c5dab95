"""Who is refused by Postfix: its restrictions, access tables and milters.

Source: SMTPD_ACCESS_README, access(5), MILTER_README.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Literal, Protocol

from gateway.import_config.main_cf import MainCf, words
from gateway.import_config.outline import Access, Milter, Outline, Table, WhenDown
from gateway.import_config.own_settings import POSTFIX_RESTRICTIONS
from mappings.formats.lines import key_and_value, logical_lines
from mappings.tabular import Problems

_IPV4: Final = re.compile(r"\d+\.\d+\.\d+\.\d+")
TABLE: Final = re.compile(r"(?:proxy:)?([a-z]+):(.*)", re.DOTALL)
_WITH_ARGUMENT: Final = re.compile(
    r"check_.*_access|check_policy_service|(?:reject|permit)_.*(?:rhsbl|dnswl|rhswl).*|permit_mx_backup_networks"
)


class Tables(Protocol):
    """Reads the table that a word of a parameter names, or notes why it cannot."""

    def __call__(self, name: str, word: str) -> Table | None: ...


class Leave(Protocol):
    """Notes that a parameter, or the part of it that is told, is not taken."""

    def __call__(self, name: str, why: str, what: str | None = None) -> None: ...


def read_restrictions(main: MainCf, outline: Outline, table: Tables, leave: Leave) -> None:
    """Take what main.cf says of whom to refuse, and by which filters."""
    reader = _Reader(main, outline, table, leave)
    reader.read()
    reader.milters()


_REFUSING: Final = frozenset(("reject_unauth_destination", "defer_unauth_destination", "reject", "defer"))


def may_relay_by_network(main: MainCf) -> bool:
    """Say whether `mynetworks` may relay: in no list that a recipient has to pass is relaying refused before them."""
    for name in ("smtpd_relay_restrictions", "smtpd_recipient_restrictions"):
        if name not in main.settings:
            continue  # the default of the first permits them, that of the second is empty
        for word in main.words(name):
            if word in ("permit_mynetworks", "permit"):
                break
            if word in _REFUSING:
                return False
    return True


class _Reader:
    def __init__(self, main: MainCf, outline: Outline, table: Tables, leave: Leave) -> None:
        self._main = main
        self._outline = outline
        self._table = table
        self._leave = leave

    def read(self) -> None:
        for name in (
            "smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions",
            "smtpd_relay_restrictions", "smtpd_recipient_restrictions", "smtpd_data_restrictions",
            "smtpd_end_of_data_restrictions",
        ):  # fmt: skip
            listed = self._main.words(name)
            given = iter(listed)
            for number, word in enumerate(given):
                # OK ends one list: those of the others, block lists among them, are asked all the same.
                past_lists = not {"reject_rbl_client", "reject_rbl"}.isdisjoint(listed[number:])
                self._restriction(name, word, given, past_lists=past_lists)

    def _restriction(self, name: str, word: str, rest: Iterator[str], *, past_lists: bool) -> None:
        out = self._outline
        access = re.fullmatch(r"check_(client|helo|sender|recipient)_access", word)
        if word in POSTFIX_RESTRICTIONS:
            return
        if word in ("reject_rbl_client", "reject_rbl"):
            zone = next(rest, "")
            name_, _, answer = zone.partition("=")
            if answer and not _IPV4.fullmatch(answer):
                self._leave(name, "answers are networks here, such as 127.0.0.0/30; add it by hand", f"{word} {zone}")
            elif zone:
                out.dnsbl[name_] = answer or None
        elif access is not None:
            named = next(rest, "")
            table = self._table(name, named)
            if table is not None:
                self._access(table, access[1], past_lists=past_lists)
        elif _WITH_ARGUMENT.fullmatch(word) is not None:
            self._leave(name, "there is no counterpart here", f"{word} {next(rest, '')}")
        elif TABLE.fullmatch(word) is not None:
            self._leave(name, "name what the table is asked of: check_..._access", word)
        else:
            self._leave(name, "there is no counterpart here", word)

    def _access(self, table: Table, who: str, *, past_lists: bool) -> None:
        out = self._outline
        for line, key, value in rows(table.octets):
            place = f"{table.place}:{line}"
            if value.upper() == "DUNNO":
                continue
            row = access_row(place, who, key, value)
            if row is None:
                out.leave(place, f"{key} {value}", "only OK, DUNNO, REJECT, DEFER, 4xx, 5xx and DISCARD are taken")
            elif row.action == "discard":
                out.leave(place, f"{key} {value}", "mail is never thrown away without a word; it is refused or taken")
            else:
                out.access.append(replace(row, past_lists=past_lists))

    def milters(self) -> None:
        """Take the filters of mail that comes in by SMTP; those of other mail are the same ones, or are noted."""
        main, out = self._main, self._outline
        downs: dict[str, WhenDown] = {"accept": "accept", "reject": "reject"}
        for word in main.words("smtpd_milters"):
            inner = words(word.strip("{} ")) if word.startswith("{") else [word]
            socket = main.expand(inner[0]) if inner else ""
            if socket.startswith("unix:") and not socket.startswith("unix:/"):
                socket = f"unix:{main['queue_directory']}/{socket.removeprefix('unix:')}"
            action = next((each.partition("=")[2] for each in inner if each.startswith("default_action")), "")
            down: WhenDown = downs.get(action or main["milter_default_action"], "tempfail")
            if socket:
                out.milters.append(Milter(socket.removeprefix("inet:"), down))
        for word in main.words("non_smtpd_milters"):
            if word not in main.words("smtpd_milters"):
                self._leave("non_smtpd_milters", "filters are asked of mail that comes by SMTP alone", word)


def access_row(place: str, who: str, key: str, value: str) -> Access | None:
    """Return one row of access(5), None where its action is none that is known."""
    word, _, text = value.partition(" ")
    verb = word.upper()
    kinds: dict[str, Literal["client", "helo", "sender", "recipient"]] = {
        "client": "client", "helo": "helo", "sender": "sender", "recipient": "recipient"
    }  # fmt: skip
    action: Literal["accept", "reject", "defer", "discard"]
    if verb in ("OK", "PERMIT", "RELAY") or (verb.isdigit() and verb.startswith("2")):
        action = "accept"
    elif verb == "REJECT" or (verb.isdigit() and verb.startswith("5")):
        action = "reject"
    elif verb in ("DEFER", "DEFER_IF_PERMIT", "DEFER_IF_REJECT") or (verb.isdigit() and verb.startswith("4")):
        action = "defer"
    elif verb == "DISCARD":
        action = "discard"
    else:
        return None
    return Access(place, kinds[who], key.lower(), action, text.strip())


def rows(octets: bytes) -> Iterator[tuple[int, str, str]]:
    """Yield (line, key, value) of each row of a table's text."""
    for line, text in logical_lines(octets.decode("utf-8", "replace"), Problems()):
        key, value = key_and_value(text)
        if key:
            yield line, key, value
