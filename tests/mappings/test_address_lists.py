"""docs/address-lists.md: other projects' verdicts on addresses, and every one that differs from ours."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from mappings.network import AddressError
from mappings.networks.smtp import Smtp
from tests.mappings.corpus import corpus

PAGE = Path(__file__).parents[2] / "docs" / "address-lists.md"
READ, REFUSED = "read", "refused"
SMTP = Smtp()
Case = tuple[str, str, str]
"""(what names it on the page, address, their verdict)"""


def _isemail(file: str) -> Iterator[Case]:
    control = {0x2400 + i: chr(i) for i in range(32)} | {0x2421: "\x7f"}  # how the files write what XML cannot hold
    for case in ElementTree.parse(corpus("isemail") / "test" / file).getroot().iter("test"):
        text = (case.findtext("address") or "").translate(control)
        refused = case.findtext("category") in ("ISEMAIL_ERR", "ISEMAIL_RFC5322")
        yield case.attrib["id"], text, REFUSED if refused else READ


def _flanker(file: str, verdict: str, domain: str = "") -> Iterator[Case]:
    lines = (corpus("mailgun-flanker") / "tests" / "fixtures" / file).read_text().split("\n")
    for number, line in enumerate(lines, 1):
        text = re.sub(r"\s{2,}# .*", "", line)
        if text.strip() and not re.match(r"\s*#(?: |$)", text):
            yield str(number), text + domain, verdict


def _email_validator() -> Iterator[Case]:
    by_test = {
        "test_email_valid": READ,
        "test_email_valid_intl_local_part": READ,
        "test_email_valid_only_if_quoted_local_part": READ,
        "test_email_invalid_syntax": REFUSED,
        "test_email_invalid_reserved_domain": REFUSED,
    }
    tree = ast.parse((corpus("email-validator-addresses") / "tests" / "test_syntax.py").read_bytes())
    for test in tree.body:
        if not isinstance(test, ast.FunctionDef):
            continue
        if test.name == "test_domain_literal":
            for call in ast.walk(test):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "validate_email":
                    yield str(call.lineno), ast.literal_eval(call.args[0]), READ
        for row in _rows(test):
            cells = row.elts if isinstance(row, ast.Tuple | ast.List) else [row]
            line, text = str(cells[0].lineno), ast.literal_eval(cells[0])
            if test.name in by_test:
                yield line, text, by_test[test.name]
            elif test.name == "test_email_unsafe_character":
                yield line, f"{text}@test", REFUSED
                yield f"{line}d", f"test@{text}", REFUSED
            elif test.name == "test_pyisemail_tests":
                status = ast.literal_eval(cells[1]).removeprefix("ISEMAIL_")
                fits = ("VALID", "RFC5321_QUOTEDSTRING", "RFC5321_ADDRESSLITERAL", "RFC5321_IPV6DEPRECATED")
                yield line, text, READ if status in fits else REFUSED


def _rows(test: ast.FunctionDef) -> list[ast.expr]:
    """Return the rows of a parametrised test's table."""
    tables = [d.args[1] for d in test.decorator_list if isinstance(d, ast.Call)]
    return [row for table in tables if isinstance(table, ast.List) for row in table.elts]


def _cases(name: str) -> list[Case]:
    made = {
        "isemail": lambda: _isemail("tests.xml"),
        "isemail-original": lambda: _isemail("tests-original.xml"),
        "flanker-valid": lambda: _flanker("mailbox_valid.txt", READ),
        "flanker-invalid": lambda: _flanker("mailbox_invalid.txt", REFUSED),
        "flanker-local-valid": lambda: _flanker("abridged_localpart_valid.txt", READ, "@acme.example"),
        "flanker-local-invalid": lambda: _flanker("abridged_localpart_invalid.txt", REFUSED, "@acme.example"),
        "email-validator": _email_validator,
    }
    return list(made[name]())


def verdict(text: str) -> str:
    try:
        SMTP.parse(text)
    except AddressError:
        return REFUSED
    return READ


def table(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading of the page, without its head."""
    section = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


LISTS = [(name, int(count)) for name, _, count in table("The lists")]
DISAGREEMENTS = table("Where they and Gatepost do not agree")


def numbers(text: str) -> list[str]:
    """Return the cases that `35, 407-409, 481d` names."""
    made = []
    for part in text.split(", "):
        first, dash, last = part.partition("-")
        made += [str(n) for n in range(int(first), int(last) + 1)] if dash else [part]
    return made


@pytest.mark.parametrize(("name", "count"), LISTS)
def test_a_list_disagrees_where_the_page_says_and_nowhere_else(name: str, count: int) -> None:
    cases = _cases(name)
    assert len(cases) == count
    told = {
        (number, theirs, ours)
        for _, theirs, ours, _, places in DISAGREEMENTS
        for place in places.split("; ")
        if place.partition(" ")[0] == name
        for number in numbers(place.partition(" ")[2])
    }
    found = {(id, theirs, ours) for id, text, theirs in cases if (ours := verdict(text)) != theirs}
    assert found == told


@pytest.mark.parametrize("row", DISAGREEMENTS, ids=lambda row: row[0])
def test_the_page_names_a_reason_and_its_example_is_true(row: list[str]) -> None:
    what, theirs, ours, why, places = row
    assert {theirs, ours} == {READ, REFUSED}
    assert why.endswith(".")
    assert {place.partition(" ")[0] for place in places.split("; ")} <= {name for name, _ in LISTS}
    example = re.search(r"`([^`]*@[^`]*)`", what)
    if example is not None:
        assert verdict(example[1]) == ours
