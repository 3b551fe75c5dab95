"""SPF: the test suite of openspf.org for RFC 7208, every case of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.smtp.authentication.spf import SpfResult, check_host
from tests.connectors.smtp.authentication.dns_double import Zone

SUITE = Path(__file__).parents[3] / "data" / "openspf" / "rfc7208-tests.yml"
DEFAULT = "DEFAULT"


def zone(data: Mapping[str, list[Any]]) -> Zone:
    """Build a zone as the suite's schema says: SPF stands for TXT too where there is no TXT, CNAMEs are followed."""
    records: dict[tuple[str, str], Any] = {}
    late = set()
    for name, entries in data.items():
        has_txt = any(isinstance(entry, dict) and "TXT" in entry for entry in entries)
        for entry in entries:
            if entry == "TIMEOUT":
                late.add(name)
                continue
            for kind, value in entry.items():
                kinds = ["TXT"] if kind == "SPF" and not has_txt else [kind]
                for each in kinds:
                    if value == "TIMEOUT":
                        records[name, each] = None
                    elif value != "NONE" and value != ["NONE"]:
                        records.setdefault((name, each), []).append(_value(each, value))
    for name in late:
        for kind in ("TXT", "A", "AAAA", "MX", "PTR"):
            records.setdefault((name, kind), None)
    for name, entries in data.items():
        for entry in entries:
            if isinstance(entry, dict) and "CNAME" in entry:
                for kind in ("TXT", "A", "AAAA", "MX", "PTR"):
                    found = [v for (n, k), v in records.items() if n.lower() == entry["CNAME"].lower() and k == kind]
                    if found:
                        records[name, kind] = found[0]
    return Zone(records)


def _value(kind: str, value: Any) -> Any:
    if kind == "TXT":
        return (value if isinstance(value, str) else "".join(value)).encode()
    return tuple(value) if kind == "MX" else value


def cases() -> Iterator[Any]:
    for scenario in yaml.safe_load_all(SUITE.read_text()):
        for name, case in scenario["tests"].items():
            yield pytest.param(scenario["zonedata"], case, id=name)


async def judged(data: Mapping[str, list[Any]], case: Mapping[str, Any]) -> SpfResult:
    sender, helo = case.get("mailfrom", ""), case.get("helo", "")
    domain = sender.rpartition("@")[2] if sender else helo
    return await check_host(case["host"], domain, sender or f"postmaster@{helo}", helo, zone(data), receiver="unknown")


@pytest.mark.parametrize(("data", "case"), cases())
async def test_case(data: Mapping[str, list[Any]], case: Mapping[str, Any]) -> None:
    result = await judged(data, case)
    allowed = [case["result"]] if isinstance(case["result"], str) else case["result"]
    assert result.verdict in allowed, result
    wanted = case.get("explanation")
    if wanted is not None and result.verdict == "fail":
        assert result.explanation == ("" if wanted == DEFAULT else wanted)


def test_the_whole_suite_was_run() -> None:
    assert len(list(cases())) == 203
