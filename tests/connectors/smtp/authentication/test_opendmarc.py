"""OpenDMARC judges by DMARC as we do, though it finds organisational domains by a list and we by walking up."""

from __future__ import annotations

import random
import re
from pathlib import Path

from connectors.smtp.authentication.dmarc import Proof, evaluate
from tests.connectors.smtp.authentication.dns_double import Zone
from tests.peers import opendmarc

COUNT = 60
_SAID = re.compile(r"dmarc=(\w+)(?: \(p=(\w+))?")


async def test_opendmarc_agrees(tmp_path: Path) -> None:
    chance = random.Random(6)
    records: dict[str, str] = {}
    cases: list[tuple[str, tuple[str, ...]]] = []
    for number in range(COUNT):
        organisation = f"d{number}.com" if number % 3 else f"d{number}.co.uk"
        author = chance.choice([organisation, f"m.{organisation}", f"a.m.{organisation}"])
        text = f"v=DMARC1; p={chance.choice(['none', 'quarantine', 'reject'])}"
        # It heeds adkim=s of a domain's own record alone, and passes a subdomain's mail where RFC 7489 §3.1.1 does not.
        strict = "; adkim=s" if author == organisation else ""
        text += chance.choice(["", "; sp=reject", "; sp=none"]) + chance.choice(["", strict, "; adkim=r"])
        if chance.random() < 0.9:
            records[f"_dmarc.{organisation}"] = text
        if chance.random() < 0.2:
            records[f"_dmarc.m.{organisation}"] = "v=DMARC1; p=quarantine"
        signers = [organisation, f"m.{organisation}", f"other.{organisation}", "else.com", f"x{organisation}"]
        cases.append((author, tuple(chance.sample(signers, chance.randint(0, 2)))))
    messages = [
        b"Authentication-Results: gw.example;\r\n\t"
        + (b";\r\n\t".join(b"dkim=pass header.d=%s" % each.encode() for each in signers) or b"dkim=none")
        + b"\r\nFrom: Ann <ann@%s>\r\nTo: bob@acme.com\r\nSubject: x\r\n\r\nHello\r\n" % author.encode()
        for author, signers in cases
    ]
    said = [_SAID.search(each) for each in opendmarc.judge(tmp_path, messages, records)]
    zone = Zone({(name, "TXT"): [text.encode()] for name, text in records.items()})
    seen = set()
    for (author, signers), match in zip(cases, said, strict=True):
        mine = await evaluate([author], Proof(dkim=signers), zone)
        assert match is not None
        assert (author, signers, mine.verdict) == (author, signers, match[1])
        if mine.verdict == "fail":
            assert mine.policy == match[2]
        seen.add((mine.verdict, mine.policy))
    assert len(seen) == 5
