"""Postfix's own tools, and its order of look-ups over what they say, for tests of maps."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mappings.address import Address
from mappings.formats import Reading
from mappings.identity import Kind
from mappings.network import registry
from mappings.table import Table, compile_table

_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


class Tool:
    """A map made by `postmap` or `postalias`; `warnings` is what the tool said of the text."""

    def __init__(self, folder: Path, text: bytes, program: str = "postmap", kind: str = "hash") -> None:
        self.program = program
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "map"
        path.write_bytes(text)
        self.map = f"{kind}:{path}"
        made = self._run(self.map) if kind == "hash" else ""
        self.warnings = made

    def _run(self, *args: str, standard_input: bytes = b"") -> str:
        ran = subprocess.run(
            [self.program, "-o", *args], input=standard_input, capture_output=True, env={**os.environ, "PATH": _PATH}
        )
        assert ran.returncode in (0, 1), ran.stderr
        return ran.stderr.decode()

    def query(self, key: str) -> str | None:
        """Return what `-q key` prints, None where it finds nothing."""
        ran = subprocess.run(
            [self.program, "-q", key, self.map], capture_output=True, env={**os.environ, "PATH": _PATH}
        )
        return ran.stdout.decode().rstrip("\n") if ran.returncode == 0 else None

    def rows(self) -> dict[str, str]:
        """Return all that is in the map, by `-s`."""
        ran = subprocess.run([self.program, "-s", self.map], capture_output=True, env={**os.environ, "PATH": _PATH})
        rows = (line.partition("\t") for line in ran.stdout.decode().splitlines())
        return {key.rstrip(":") if self.program == "postalias" else key: value for key, _, value in rows}


class Lookup:
    """Postfix's order of look-ups (virtual(5), "TABLE SEARCH ORDER" and "ADDRESS EXTENSION")."""

    def __init__(self, rows: Mapping[str, str], origin: str, destinations: Sequence[str]) -> None:
        self.rows = rows
        self.origin = origin
        self.destinations = {origin, *destinations}

    def once(self, address: str, *, propagates: bool = True) -> list[str] | None:
        """Return the results for an address, None where there is no row."""
        local, _, domain = address.rpartition("@")
        base, plus, tag = local.partition("+")
        keys = [(local, ""), (base, tag)] if plus else [(local, "")]
        tries = [(f"{key}@{domain}", tag) for key, tag in keys]
        if domain.lower() in self.destinations:
            tries += keys
        tries.append((f"@{domain}", ""))
        for key, tag in tries:
            value = self.rows.get(key.lower())
            if value is not None:
                return list(self._results(value, base if tag else local, tag if propagates else ""))
        return None

    def _results(self, value: str, user: str, tag: str) -> Iterator[str]:
        for text in value.replace(",", " ").split():
            local, _, domain = text.rpartition("@")
            if not local:
                local, domain = (user, domain) if text.startswith("@") else (text, self.origin)
            yield f"{local}{f'+{tag}' if tag else ''}@{domain}"

    def ends(self, address: str, *, propagates: bool = True) -> set[str]:
        """Return all that an address comes to, looked up until nothing changes."""
        found: set[str] = set()
        waiting, seen = [address], {address.lower()}
        while waiting:
            one = waiting.pop()
            results = self.once(one, propagates=propagates)
            if results is None or [each.lower() for each in results] == [one.lower()]:
                found.add(one)
                continue
            for each in results:
                if each.lower() == one.lower():
                    found.add(one)
                elif each.lower() not in seen:
                    seen.add(each.lower())
                    waiting.append(each)
        return found


def table_of(reading: Reading) -> Table:
    identities = [entry.identity for entry in reading.entries]
    return compile_table(identities, reading.rules, domains=[], homes={}, encapsulation=None, version=1)


def ends(table: Table, address: Address | str) -> set[str]:
    """Return all that an address comes to by the table, groups expanded."""
    start = registry().parse_in("smtp", address) if isinstance(address, str) else address
    found: set[str] = set()
    waiting, seen = [start], {start}
    while waiting:
        one = waiting.pop()
        resolution = table.resolve(one)
        person = table.directory.find("smtp", resolution.address.key, 0.0)
        if person is not None and person.kind is Kind.GROUP and person.identity.expand:
            members = person.identity.members
        elif resolution.address == one:
            members = ()
        else:
            found.add(resolution.address.value)
            continue
        if not members:
            found.add(resolution.address.value)
        for member in members:
            if member not in seen:
                seen.add(member)
                waiting.append(member)
    return found
