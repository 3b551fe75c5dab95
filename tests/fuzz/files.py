"""Targets for files of the mapping: each format of directories, and the sheet of a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from mappings import plan_sheet
from mappings.formats import FORMATS, guess
from mappings.identity import Held, Identity, Kind, Role, Stage, addresses
from mappings.network import parse, registry
from mappings.plan import Company, Policy, propose
from mappings.rule import Rule, Way
from tests.fuzz.mutate import Texts, examples_in
from tests.fuzz.target import REFUSED, Target, octets_of, text_of
from tests.mappings.matrix import company

_TESTS: Final = Path(__file__).parents[1] / "mappings"
_MODULES: Final = {
    "csv": "interchange",
    "virtusertable": "formats_sendmail",
    "genericstable": "formats_sendmail",
    "mailertable": "formats_sendmail",
}
_OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    name: {"origin": "acme.example", "destinations": "alt.example"}
    for name in FORMATS
    if "origin" in FORMATS[name].options
}
_ANN: Final = Identity(
    "Ann Lee",
    addresses(
        parse("smtp:ann@acme.example"),
        parse("smtp:ann.lee@acme.example"),
        parse("x500:/o=Acme/ou=HQ/cn=Recipients/cn=ann"),
        parse("tel:+3585551234"),
        former=(parse("smtp:al@old.example"),),
    ),
    home="exchange",
    attributes=(("department", "Sales; north"), ("ref", "17")),
)
PEOPLE: Final = (
    _ANN,
    Identity(
        "Bob Räy",
        (Held(parse("smtp:bob@acme.example"), Role.PRIMARY, 1_767_225_600.0), *addresses(parse("mhs:bob@hq"))),
        stage=Stage.MOVED,
        copy_home="old",
    ),
    Identity("Carl", addresses(parse("smtp:carl@far.example")), Kind.CONTACT),
    Identity(
        "Staff",
        addresses(parse("smtp:staff@acme.example")),
        Kind.GROUP,
        members=(parse("smtp:ann@acme.example"), parse("smtp:bob@far.example"), parse("mhs:carla@plant")),
        owner=parse("smtp:bob@acme.example"),
    ),
)
RULES: Final = (
    Rule("smtp:{local}@old.example", "smtp:{local}@acme.example", Way.INWARD),
    Rule("smtp:{any}@catch.example", "smtp:ann@acme.example", Way.INWARD),
)
_WHOLE: Final = {
    "google": "First Name,Last Name,Email Address,Org Unit Path,Work Phone\nA,A,a@a.example,/,+358555123\n",
    "entra": "userPrincipalName,displayName,mail,Proxy addresses\na@b.example,A,a@b.example,SMTP:a@b.example\n",
    "domino": "FullName,ShortName,InternetAddress,ListName,Members\nCN=Ann/O=Acme;Ann,ann,ann@acme.example,,\n"
    ",,all@acme.example,All,CN=Ann/O=Acme;bob@acme.example\n",
    "ldif": "version: 1\n\ndn: cn=Ann,ou=people,o=acme\nobjectClass: person\ncn: Ann\nmail: ann@acme.example\n"
    "proxyAddresses: SMTP:ann@acme.example\nproxyAddresses:: c210cDphQGIuZXhhbXBsZQ==\n",
    "vcard": "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ann\r\nN:Lee;Ann;;;\r\nEMAIL;TYPE=pref:ann@acme.example\r\n"
    "TEL;TYPE=fax:+358 555 1234\r\nEND:VCARD\r\n",
    "postfix-transport": "acme.example smtp:[mx.acme.example]:25\nann@acme.example relay:[old]\n.b.example error:no\n",
    "postfix-relocated": "al@old.example ann@acme.example\n@gone.example other.example\n",
    "mailertable": "acme.example\tesmtp:[mx.acme.example]\n.b.example\trelay:old\n",
}


def check_format(name: str, text: str) -> str:
    """Check a file of one format: read, written again where that can be, and what was written read."""
    octets, options, networks = octets_of(text), _OPTIONS.get(name, {}), registry()
    guess("file", octets)
    reading = FORMATS[name].read(octets, options, networks)
    for problem in reading.problems:
        assert problem.line >= 1
        assert problem.message
    write = FORMATS[name].write
    if write is not None:
        written = write([entry.identity for entry in reading.entries], options, networks, reading.rules)
        FORMATS[name].read(written.octets, options, networks)
    outcome = f"{len(reading.entries)} {len(reading.rules)} {len(reading.notes)} "
    outcome += " ".join(sorted({problem.message.rpartition("[")[2][:20] for problem in reading.problems})[:4])
    return outcome if reading.entries or reading.rules else REFUSED + outcome


def seeds_of_format(name: str) -> list[str]:
    """Return files: the form's own of some people, one as others write it, and all that its tests have."""
    whole = [_WHOLE[name]] if name in _WHOLE else []
    write = FORMATS[name].write
    if write is not None:
        for people in ([_ANN], PEOPLE, [*PEOPLE, *company().identities()]):
            whole.append(text_of(write(people, _OPTIONS.get(name, {}), registry(), RULES).octets))
    tests = _MODULES.get(name, f"formats_{name.partition('-')[0]}")
    pieces: list[str] = []
    for path in (_TESTS / f"test_{tests}.py", _TESTS / "test_formats.py"):
        if path.exists():
            pieces += [text_of(octets) for octets in examples_in(path)[1] if len(octets) > 8]
    # Most inputs begin with a whole file: pieces alone are seldom one.
    return whole * (1 + len(pieces) // len(whole)) + pieces


COMPANIES: Final = (Company("acme", PEOPLE), Company("bolt", tuple(company().identities())))
POLICY: Final = Policy("merged.example")


def check_plan(text: str) -> str:
    """Check the sheet of a plan: read, applied, and written again with what it decides unchanged."""
    sheet = plan_sheet.read(octets_of(text))
    _, problems = plan_sheet.apply(octets_of(text), COMPANIES, POLICY)
    for problem in problems:
        assert problem.line >= 1
        assert problem.message
    again = plan_sheet.read(plan_sheet.write(sheet.rows).encode())
    assert not again.problems, again.problems[0]
    assert list(again.rows) == list(sheet.rows)
    outcome = f"{len(sheet.rows)} {len(problems)} {problems[0].column if problems else ''}"
    return outcome if sheet.rows else REFUSED + outcome


def seeds_of_plan() -> list[str]:
    rows = propose(COMPANIES, POLICY).rows
    texts, _ = examples_in(_TESTS / "test_plan.py")
    whole = [plan_sheet.write(rows), plan_sheet.write(rows[:1]), plan_sheet.write(rows[2:4])]
    return whole * (1 + len(texts) // len(whole)) + texts


def _formats() -> Iterator[Target[str]]:
    for name in FORMATS:
        seeds = seeds_of_format(name)
        yield Target(
            f"format-{name}",
            partial(check_format, name),
            partial(seeds_of_format, name),
            Texts(seeds),
            text_of,
            octets_of,
            longest=2000,
        )


TARGETS: Final = (
    *_formats(),
    Target("plan", check_plan, seeds_of_plan, Texts(seeds_of_plan()), text_of, octets_of, longest=2000),
)
