"""The usual open-relay probes: none of them opens a way for strangers to anyone but ours."""

from __future__ import annotations

import pytest

from mappings.network import AddressError, parse
from mappings.table import Verdict
from tests.mappings.company import ENCAPSULATION, company

TABLE = company()
VICTIM = "victim@far.example"
OUTSIDE = ("far.example", "relay.example")

PROBES = {
    "plain": VICTIM,
    "percent": "victim%far.example@acme.example",
    "percent at the encapsulation domain": "victim%far.example@gw.merged.example",
    "percent at a rule's domain": "victim%far.example@sales.mhs.acme.example",
    "double percent": "victim%far.example%acme.example@merged.example",
    "quoted percent": '"victim%far.example"@acme.example',
    "bang": "far.example!victim@acme.example",
    "bang at a rule's domain": "far.example!victim@sales.mhs.acme.example",
    "bang and percent": "acme.example!victim%far.example@acme.example",
    "quoted sign": '"victim@far.example"@acme.example',
    "quoted sign at a rule's domain": '"victim@far.example"@sales.mhs.acme.example',
    "quoted sign with a tag": '"ann+victim@far.example"@acme.example',
    "tag that is an address": "ann+victim=far.example@acme.example",
    "two signs": "victim@far.example@acme.example",
    "whole address quoted": '"victim@far.example"',
    "literal": "victim@[192.0.2.25]",
    "percent at a literal": "victim%far.example@[127.0.0.1]",
    "source route": "@acme.example:victim@far.example",
    "long source route": "@acme.example,@merged.example:victim@far.example",
    "source route of ours to ours": "@far.example:ann@acme.example",
    "route in quotes": '"@acme.example:victim"@acme.example',
    "colon": "victim:far.example@acme.example",
    "comment": "victim@far.example(@acme.example)",
    "comment before": "(ann@acme.example)victim@far.example",
    "ours as a host of theirs": "ann@acme.example.far.example",
    "ours with a final dot and more": "ann@acme.example..far.example",
    "unsigned smtp": "IMCEASMTP-victim+40far+2Eexample@gw.merged.example",
    "unsigned stranger": "IMCEAMHS-victim+40far@gw.merged.example",
    "unsigned, an internet address behind our gate": (
        "IMCEAMHS-GATE+40GP+20+7BSMTP+3Avictim+40far+2Eexample+7D@gw.merged.example"
    ),
    "unsigned, another network": "IMCEAFAX-+2B15551234@gw.merged.example",
    "wrong mac": "GPaaaaaaaaaaaaa-MHS-victim+40far@gw.merged.example",
    "unknown key": "GPzaaaaaaaaaaaa-MHS-victim+40far@gw.merged.example",
    "signed smtp": "GPaaaaaaaaaaaaa-SMTP-victim+40far.example@gw.merged.example",
    "token form": "GPT-aaaaaaaaaaaaaaaaaaaaaaaaaa@gw.merged.example",
    "encapsulated elsewhere": "IMCEAMHS-ann+40sales@far.example",
}


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES.keys())
def test_a_probe_reaches_nobody_outside(probe: str) -> None:
    try:
        found = TABLE.resolve(parse(f"smtp:{probe}"))
    except AddressError:
        return  # refused as ill-formed
    if found.verdict is Verdict.KNOWN:
        assert not any(name in found.address.value.rpartition("@")[2] for name in OUTSIDE)
        # What a rule makes stays in the network that the rule names, or is one of ours.
        assert found.address.network == "mhs" or found.identity is not None
        assert found.address.value.rpartition("@")[2] in ("sales", "merged.example")
    elif found.verdict is not Verdict.FOREIGN:
        assert found.code.startswith("5.")


def test_what_is_foreign_is_so_by_its_own_domain() -> None:
    """FOREIGN is open to clients that may relay alone, and nothing that hides an address of ours gets that far."""
    foreign = []
    for name, probe in PROBES.items():
        try:
            if TABLE.resolve(parse(f"smtp:{probe}")).verdict is Verdict.FOREIGN:
                foreign.append(name)
        except AddressError:
            continue
    assert foreign == [
        "plain",
        "literal",
        "percent at a literal",
        "comment",
        "comment before",
        "ours as a host of theirs",
        # A peer of ours that may send anywhere may also write its own kind of encapsulated address.
        "unsigned stranger",
        "unsigned, an internet address behind our gate",
        "unsigned, another network",
        "encapsulated elsewhere",
    ]


def test_a_signed_address_opens_itself_and_no_other() -> None:
    local = ENCAPSULATION.encapsulate(parse("mhs:joe@far")).value
    assert TABLE.resolve(parse(f"smtp:{local}")).verdict is Verdict.KNOWN
    for other in (local.replace("joe", "jo"), local.replace("far", "faraway"), local.replace("MHS", "FTN")):
        assert TABLE.resolve(parse(f"smtp:{other}")).verdict is Verdict.REFUSED


def test_even_a_signed_address_opens_no_internet_address_behind_our_gate() -> None:
    """Such an address is never issued; should one get out, only those who may relay can use it."""
    signed = ENCAPSULATION.encapsulate(parse(f"mhs:GATE@GP {{SMTP:{VICTIM}}}"))
    found = TABLE.resolve(signed)
    assert (found.verdict, str(found.address)) == (Verdict.FOREIGN, f"smtp:{VICTIM}")
