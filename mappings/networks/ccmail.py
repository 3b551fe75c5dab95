"""ccmail: the addresses of Lotus cc:Mail, `Lee, Ann at HQ`: a name and a post office.

Promises: the last `at` parts the two, so a name may hold the word; blanks are folded; compares without case.
An internet address behind a gateway is written as the name at the gateway's post office, `bob@b.example at SMTP`.
Source: the forms that cc:Mail shows and its gateways print; no published grammar was found.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from mappings.network import Address, AddressError, Network, clean
from mappings.networks.smtp import Smtp

_SMTP: Final = Smtp()


class Ccmail(Network):
    """Lotus cc:Mail. `default_post_office` completes a name that stands alone."""

    name = "ccmail"
    imcea_type = "CCMAIL"

    def __init__(self, *, default_post_office: str | None = None) -> None:
        self._default = default_post_office

    def parse(self, text: str) -> Address:
        value = clean(text)
        words = value.split()
        ats = [i for i, word in enumerate(words) if word.lower() == "at"]
        if ats:
            name, office = " ".join(words[: ats[-1]]), " ".join(words[ats[-1] + 1 :])
        else:
            name, office = " ".join(words), " ".join((self._default or "").split())
        if not name:
            raise AddressError("ccmail.no-name", value, 0, "write the name in front, as in Lee, Ann at HQ")
        if not office:
            message = "write the post office behind, as in Lee, Ann at HQ"
            raise AddressError("ccmail.no-post-office", value, len(value), message)
        made = clean(f"{name} at {office}")
        return Address("ccmail", made, unicodedata.normalize("NFC", made.casefold()))

    def through(self, gate: Address, inner: Address) -> Address | None:
        """Return `bob@b.example at OFFICE`, where OFFICE is the gate's post office; the gate's name is not used.

        Users of gateways such as Lotus's own to SMTP are known to write so; that every such gateway reads it is not
        known, and the length that a name may have there is not either.
        """
        if inner.network != "smtp" or gate.network != "ccmail":
            return None
        try:
            made = self.parse(f"{inner.value} at {_parted(gate.value)[1]}")
        except AddressError:
            return None
        return made if self.behind(gate, made) == inner else None

    def behind(self, gate: Address, address: Address) -> Address | None:
        name, office = _parted(address.value)
        if "@" not in name or office.casefold() != _parted(gate.value)[1].casefold():
            return None
        try:
            return _SMTP.parse(name)
        except AddressError:
            return None


def _parted(value: str) -> tuple[str, str]:
    """Return (name, post office) of a normalised address."""
    name, _, office = value.rpartition(" at ")
    return name, office
