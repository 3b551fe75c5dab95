"""csv: identities as CSV in the form of `mappings.interchange`, or with columns of any names.

Without options the file has that form, in which nothing is lost. An option by the name of one of its columns tells
which of the file's own columns to take for it, several parted by `|`:

    name = First name|Last name      smtp = E-mail|Second e-mail      attribute.department = Dept

Then the other columns are ignored. Names and texts of several columns are joined by a blank, addresses are all taken.
The column `ref` is the person's key in the directory that the file comes from. With `whole = yes` each row states its
person whole: what a column of the file says nothing of is taken away, as after an export was edited by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mappings.formats import Format, OptionError, Options, Reading, Written
from mappings.formats.people import ENCODING, check_options, text_of, unreadable, yes_or_no
from mappings.identity import Identity
from mappings.interchange import ATTRIBUTE, FIXED, read_table, write_table
from mappings.network import Registry
from mappings.rule import Rule
from mappings.tabular import Problem, Unreadable

_WHOLE: Final = {"whole": "yes takes away what a row does not say, in the columns that the file has"}
_NETWORK: Final = "NETWORK"
_MAPPED: Final = {column: f"the file's columns for {column}, parted by |" for column in (*FIXED, "ref")} | {
    f"{ATTRIBUTE}*": "the file's columns for an attribute, parted by |",
    _NETWORK: "the file's columns for a network, by its name, parted by |",
}


class Csv:
    """Identities as CSV."""

    name = "csv"
    suffixes = (".csv", ".tsv")
    options: Mapping[str, str] = (
        ENCODING | _WHOLE | _MAPPED | {"NETWORK": "the file's columns for a network, parted by |"}
    )

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        wanted = self._wanted(options, networks)
        whole = yes_or_no(options, "whole", False)
        try:
            text = text_of(octets, options)
        except Unreadable as e:
            return unreadable(e)
        table = read_table(text, networks, wanted or None)
        notes = [f"these columns were ignored: {', '.join(table.ignored)}"] if table.ignored else []
        # What the column `other` holds is of networks that are not installed: a row without it says nothing of them.
        states = table.columns - {"other"} if whole else frozenset()
        return Reading(table.entries, problems=table.problems, notes=notes, states=states)

    def write(
        self, identities: Iterable[Identity], options: Options, networks: Registry, rules: Sequence[Rule] = ()
    ) -> Written:
        self._wanted(options, networks)
        text, problems = write_table(identities, networks)
        lost = [Problem(1, "", f"the rule {rule} is not carried by this form") for rule in rules]
        return Written(text.encode(), lost + problems)

    def _wanted(self, options: Options, networks: Registry) -> dict[str, list[str]]:
        """Return the file's headers by this form's columns. Raises: OptionError."""
        known = {name: text for name, text in self.options.items() if name != _NETWORK}
        check_options(options, known | dict.fromkeys(networks.names, ""), self.name)
        wanted: dict[str, list[str]] = {}
        for option, value in options.items():
            if option in ENCODING or option in _WHOLE:
                continue
            headers = [header for text in value.split("|") if (header := text.strip())]
            if not headers:
                raise OptionError(f"the option {option} names a column of the file, as in {option}=E-mail")
            wanted[f"{ATTRIBUTE}ref" if option == "ref" else option] = headers
        if wanted and "name" not in wanted:
            raise OptionError("where columns are named by options, name is needed too, as in name=First name|Last name")
        return wanted


FORMATS: Final[tuple[Format, ...]] = (Csv(),)
