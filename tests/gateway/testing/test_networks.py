"""Every network of ours keeps the contract of networks, by the suite that anyone's is tested with."""

from __future__ import annotations

from importlib.metadata import distribution
from typing import Final

import pytest

from gateway.testing import NetworkSuite

ADDRESSES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "smtp": (
        (
            "ann@acme.example",
            "Ann.Lee+tag@ACME.example",
            '"two words"@acme.example',
            "jürgen@bücher.example",
            "postmaster",
        ),
        ("ann@", "@acme.example", "ann lee@acme.example", "ann@acme..example"),
    ),
    "x500": (("/o=Acme/ou=Sales/cn=Recipients/cn=ann", "/o=Acme/cn=Ann Lee"), ("Acme", "/o=")),
    "x400": (("/G=Ann/S=Lee/O=Acme/P=acme/A=400net/C=DE/", "/S=Lee/P=acme/C=FI/"), ("Ann Lee",)),
    "ldap": (("cn=Ann Lee,ou=Sales,o=Acme", "uid=ann,dc=acme,dc=example"), ("Ann Lee",)),
    "notes": (("CN=Ann Lee/OU=Sales/O=Acme@Acme", "Ann Lee/Sales/Acme"), ()),
    "gwise": (("Dom.PO.ann", "Dom.PO.Ann_Lee"), ()),
    "mhs": (("ann@sales", "Ann Lee@Sales", "ann@sales {SMTP:bob@b.example}"), ("ann", "@sales", "ann@")),
    "ccmail": (("Ann Lee at HQ",), ()),
    "msmail": (("ACME/SALES/ANN",), ("ANN",)),
    "profs": (("VM1(ANN)",), ("VM1",)),
    "snads": (("ACME.ANN",), ()),
    "bitnet": (("ANN@VM1",), ("ANN",)),
    "decnet": (("VAX1::ANN",), ("ANN",)),
    "uucp": (("hub!acme!ann",), ("ann",)),
    "ftn": (("Ann Lee@2:280/464.1", "Ann Lee@2:280/464"), ("Ann Lee",)),
    "tel": (("+358401234567",), ("ann",)),
    "fax": (("+358401234567",), ("ann",)),
    "sms": (("+358401234567",), ("ann",)),
    "xmpp": (("ann@acme.example", "ann@acme.example/desk", "acme.example"), ("@acme.example",)),
    "sip": (("ann@acme.example", "+358401234567@acme.example"), ()),
    "mqtt": (("alerts/plant7/boiler", "mail/bob@b.example"), ("alerts/#", "a/+/b", "$SYS/x")),
}
OURS: Final = sorted(p.name for p in distribution("gatepost").entry_points if p.group == "gatepost.networks")
TESTS: Final = sorted(name for name in dir(NetworkSuite) if name.startswith("test_"))


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("name", OURS)
def test_ours_keep_the_contract(name: str, test: str) -> None:
    class Suite(NetworkSuite):
        network = name
        addresses, no_addresses = ADDRESSES[name]

    getattr(Suite(), test)()
