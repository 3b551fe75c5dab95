"""domino: persons and groups of a Domino directory, from a view's export to CSV. It is read only.

Such a file has the columns of the view that was exported, so each is named by an option where it differs from these:
FullName, ShortName, InternetAddress, MailDomain, MailServer, MailFile, FirstName, LastName, Type; of groups ListName,
Members and ListDescription. FullName, ShortName and Members hold several values, parted by `;`.

The first FullName is the person's primary name on notes, in its MailDomain where one is given, and without it too;
other names are aliases. Several people may have a short or common name; then it is nobody's, and kept as an attribute.
Source: the fields of the Person and Group documents of the Domino directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mappings.formats import Format, OptionError, Options, Reading
from mappings.formats.columns import Row, columns, header_name
from mappings.formats.people import ENCODING, FIRST_CHOICE, Draft, People, check_options, text_of, unreadable
from mappings.identity import Kind
from mappings.network import Registry
from mappings.tabular import Unreadable

_COLUMNS: Final = (
    "FullName",
    "ShortName",
    "InternetAddress",
    "MailDomain",
    "MailServer",
    "MailFile",
    "FirstName",
    "LastName",
    "Type",
    "ListName",
    "Members",
)
_ATTRIBUTES: Final = (
    ("FirstName", "first"),
    ("LastName", "last"),
    ("MailServer", "mail_server"),
    ("MailFile", "mail_file"),
)


class Domino:
    """A Domino directory as CSV."""

    name = "domino"
    suffixes: tuple[str, ...] = ()
    options: Mapping[str, str] = ENCODING | {
        column.lower(): f"the header of the column that holds {column}" for column in _COLUMNS
    }
    write = None

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        check_options(options, self.options, self.name)
        headers = {column: options.get(column.lower(), column) for column in _COLUMNS}
        if not all(header.strip() for header in headers.values()):
            raise OptionError("an option that names a column holds its header, as in fullname=Name")
        places = {column: header_name(header) for column, header in headers.items()}
        people = People(networks)
        try:
            text = text_of(octets, options)
        except Unreadable as e:
            return unreadable(e)
        for row in columns(text, people.problems, (headers["FullName"], headers["ListName"])):
            _Document(row, headers, places, people.draft(row.line)).read()
        return people.reading()


class _Document:
    """One document of the directory on its way to a draft."""

    def __init__(self, row: Row, headers: Mapping[str, str], places: Mapping[str, str], draft: Draft) -> None:
        self._row = row
        self._headers = headers
        self._places = places
        self._draft = draft

    def read(self) -> None:
        draft = self._draft
        names = self._values("FullName") or self._values("ListName")
        if not names:
            draft.mistake(self._headers["FullName"], "a person has a FullName, and a group a ListName")
            return
        members = self._values("Members")
        if members or not self._values("FullName") or self._text("Type").lower() == "group":
            draft.kind = Kind.GROUP
        draft.name = _common_name(names[0])
        domain = self._text("MailDomain")
        draft.add("notes", f"{names[0]}@{domain}" if domain else names[0], self._headers["FullName"], FIRST_CHOICE)
        if domain:
            draft.add_weak("notes", names[0], "name")
        for name in (*names[1:], *self._values("ShortName")):
            if "@" in name:
                draft.add("smtp", name, self._headers["ShortName"])
            elif domain:
                draft.add_weak("notes", f"{name}@{domain}", "name")
            else:
                draft.add_weak("notes", name, "name")
        draft.add("smtp", self._text("InternetAddress"), self._headers["InternetAddress"], FIRST_CHOICE)
        for member in members:
            self._member(member)
        for column, attribute in _ATTRIBUTES:
            draft.attribute(attribute, self._text(column))
        short = self._values("ShortName")
        draft.attribute("uid", short[0] if short else "")
        draft.attribute("ref", names[0].lower())

    def _member(self, text: str) -> None:
        """Add a member: a name on notes, or an internet address."""
        network = "smtp" if "@" in text and "." in text.rpartition("@")[2] and "/" not in text else "notes"
        self._draft.member(f"{network}:{text}", self._headers["Members"])

    def _text(self, column: str) -> str:
        return self._row.text(self._places[column])

    def _values(self, column: str) -> list[str]:
        return [value for text in self._text(column).split(";") if (value := text.strip())]


def _common_name(name: str) -> str:
    """Return the name of a person or group without the units that it is in."""
    first = name.partition("/")[0]
    return first[3:] if first.upper().startswith("CN=") else first


FORMATS: Final[tuple[Format, ...]] = (Domino(),)
