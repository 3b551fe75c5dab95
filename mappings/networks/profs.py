"""profs: the addresses of IBM's PROFS and OfficeVision/VM, `NODE/USER`.

Promises: written in upper case, compares without case; node and user have one to eight characters each. Read are
also `NODE(USER)` and `USER AT NODE`, as people write, and the free-form text of Microsoft Mail gateways,
`[PROFS:gateway/node/userid]`. The gateway's name there is a way to the address and no part of it, so it is left out.
Eight characters have no room for an internet address, and no custom of writing one is known; what lies behind a
gateway has a number there, as the name of a user.
Source: the free-form address formats of Microsoft Mail gateways; MAPI, "Professional Office System" (lengths).
"""

from __future__ import annotations

import re
from typing import Final

from mappings.network import Address, AddressError, Network
from mappings.networks.bitnet import rscs_node, rscs_user, words_at
from mappings.networks.msmail import number_in, numbered_name, one_off

_IN_BRACKETS: Final = re.compile(r"([^()/]*)\(([^()/]*)\)")


class Profs(Network):
    """PROFS and OfficeVision/VM."""

    name = "profs"
    imcea_type = "PROFS"
    aliases = ("officevision",)

    def parse(self, text: str) -> Address:
        value = one_off(self, text)
        node, user = _parted(value)
        user = rscs_user(user, value)
        return _address(f"{rscs_node(node, value)}/{user}")

    def numbered(self, gate: Address, number: int) -> Address | None:
        """Return a user at the gate's node; every user there is this gateway's."""
        if gate.network != "profs":
            return None
        return _address(f"{gate.value.partition('/')[0]}/{numbered_name(number)}")

    def number_of(self, gate: Address, address: Address) -> int | None:
        node, _, user = address.value.partition("/")
        return number_in(user) if node == gate.value.partition("/")[0] else None


def _parted(value: str) -> tuple[str, str]:
    """Return (node, user) of any form."""
    at = words_at(value)
    if at is not None:
        return at[1], at[0]
    brackets = _IN_BRACKETS.fullmatch(value)
    if brackets is not None:
        return brackets[1].strip(), brackets[2].strip()
    parts = [part.strip() for part in value.split("/")]
    if len(parts) == 1:
        return "", parts[0]
    if len(parts) > 3:
        raise AddressError("profs.parts", value, 0, "write node/userid, or gateway/node/userid")
    if len(parts) == 3 and not parts[0]:
        raise AddressError("profs.no-gateway", value, 0, "leave the first / out, or write gateway/node/userid")
    return parts[-2], parts[-1]


def _address(value: str) -> Address:
    return Address("profs", value, value.lower())
