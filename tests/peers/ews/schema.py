"""Microsoft's own schema of Exchange Web Services: what is valid, and in which order an element's children come.

It is read in place from the folder that GATEPOST_EWS_SCHEMA names, and never copied. Without it nothing is validated
and children come in any order; the peer then says so, and in continuous integration (CI is set) does not start.
"""

from __future__ import annotations

import functools
import os
import threading
from pathlib import Path
from typing import Final

from lxml import etree

from tests.peers.ews.soap import Element, T, parse

_XS: Final = "{http://www.w3.org/2001/XMLSchema}"


class NoSchema(RuntimeError):
    """Continuous integration has no schema."""


def folder() -> Path | None:
    """Return where the schema's files are. Raises: NoSchema where it has to be there and is not."""
    named = os.environ.get("GATEPOST_EWS_SCHEMA")
    if named and (Path(named) / "ms-interop-mit" / "messages.xsd").is_file():
        return Path(named) / "ms-interop-mit"
    if os.environ.get("CI"):
        raise NoSchema("GATEPOST_EWS_SCHEMA names no folder with Microsoft's schema, and CI is set")
    return None


@functools.cache
def _types() -> dict[str, Element]:
    found = folder()
    if found is None:
        return {}
    return {
        each.get("name", ""): each
        for path in sorted(found.glob("*-types.xsd"))
        for each in etree.parse(path).getroot().findall(f"{_XS}complexType")
    }


@functools.cache
def order(type_name: str) -> tuple[str, ...]:
    """Return the names of a complex type's children in the schema's order, those of its bases first."""
    made = _types().get(type_name)
    if made is None:
        return ()
    base = made.find(f".//{_XS}extension")
    inherited = order(base.get("base", "").split(":")[1]) if base is not None else ()
    return inherited + tuple(each.get("name", "") for each in made.iter(f"{_XS}element") if each.get("name"))


class Validator:
    """The check of bodies; one for all threads, as libxml2 keeps an answer's errors with the schema."""

    def __init__(self) -> None:
        found = folder()
        self.is_on = found is not None
        self._schema = etree.XMLSchema(etree.parse(found / "messages.xsd")) if found is not None else None
        self._lock = threading.Lock()

    def errors(self, body: Element) -> list[str]:
        """Return what the schema says against a body: `line: message`, nothing where it is valid.

        `body`: detached from any envelope, so that the prefixes in xsi:type have their namespaces.
        """
        if self._schema is None:
            return []
        with self._lock:
            if self._schema.validate(body):
                return []
            return [f"{each.line}: {each.message}" for each in self._schema.error_log][:5]

    def header_errors(self, header: Element | None) -> list[str]:
        """Return what the schema says against the elements of a SOAP header that it knows.

        It fixes RequestServerVersion to its own version, while every server takes the older ones that it lists.
        """
        known = header.iterchildren(f"{T}*") if header is not None else ()
        return [text for each in known for text in self.errors(each) if "fixed value constraint" not in text]


def detached(body: Element, octets: bytes) -> Element:
    """Return an envelope's body fit for the check: a copy where a type is named by a prefix of the envelope's."""
    return parse(etree.tostring(body)) if b":type=" in octets else body
