"""google: users of Google Workspace, the CSV that the Admin console downloads. It is read only.

Read are Email Address, Work Secondary Email, First Name, Last Name, Work Phone, Mobile Phone, Employee ID, Employee
Title, Department and Status; remarks in brackets such as `[Required]` are no part of the names.
Not in this file: aliases and groups, which Google exports by themselves. Left aside: recovery and home addresses,
which are not of the organisation.
Source: Google Workspace Admin help, "Add or update multiple users from a CSV file".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mappings.formats import Format, Options, Reading
from mappings.formats.columns import columns
from mappings.formats.people import (
    ENCODING,
    FIRST_CHOICE,
    PHONES,
    People,
    check_options,
    text_of,
    unreadable,
    yes_or_no,
)
from mappings.network import Registry
from mappings.tabular import Unreadable

_PRIMARY: Final = "Email Address"
_SECONDARY: Final = "Work Secondary Email"


class Google:
    """Google users as CSV."""

    name = "google"
    suffixes: tuple[str, ...] = ()
    options: Mapping[str, str] = ENCODING | PHONES
    write = None

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        check_options(options, self.options, self.name)
        people = People(networks, phones=yes_or_no(options, "phones", True))
        try:
            text = text_of(octets, options)
        except Unreadable as e:
            return unreadable(e)
        found = False
        for row in columns(text, people.problems, (_PRIMARY,)):
            found = True
            draft = people.draft(row.line)
            first, last = row.text("first name"), row.text("last name")
            draft.name = f"{first} {last}"
            draft.add("smtp", row.text(_PRIMARY.lower()), _PRIMARY, FIRST_CHOICE)
            draft.add("smtp", row.text(_SECONDARY.lower()), _SECONDARY)
            for phone in ("work phone", "mobile phone"):
                draft.add_weak("tel", row.text(phone), "tel")
            draft.attribute("first", first)
            draft.attribute("last", last)
            draft.attribute("title", row.text("employee title"))
            draft.attribute("department", row.text("department"))
            draft.attribute("status", row.text("status"))
            # Google's own number of a user is not in the file.
            draft.attribute("ref", row.text("employee id"))
        reading = people.reading()
        if found:
            reading.notes.append("Google keeps aliases and groups in files of their own; import them too")
        return reading


FORMATS: Final[tuple[Format, ...]] = (Google(),)
