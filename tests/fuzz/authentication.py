"""The targets that ask who a message is from: signatures, seals, records of DNS, and fields of results.

Nothing here is refused by an exception: each input has to end in one of the verdicts that RFC 8601 knows.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, TypeVar

from connectors.smtp.authentication import dmarc, results
from connectors.smtp.authentication.arc import Validator
from connectors.smtp.authentication.canonical import Bodies, BodyHash, Fields, Form
from connectors.smtp.authentication.check import without_ours
from connectors.smtp.authentication.dkim import Verifier
from connectors.smtp.authentication.evaluation import Findings, Sender, evaluate, told
from connectors.smtp.authentication.keys import KeyCache, KeyFault, read_record
from connectors.smtp.authentication.lookup import LookupFault
from connectors.smtp.authentication.spf import check_host
from gateway.message import Content
from tests.fuzz.mutate import Octets
from tests.fuzz.octets import MAX_SEED, _pieces
from tests.fuzz.target import Target, same_octets

DATA: Final = Path(__file__).parents[1] / "data"
SIGNED: Final = ("pass", "fail", "neutral", "policy", "temperror", "permerror")
TOKENS: Final = (
    b"\r\n", b"\r\n\t", b"\n", b"\r", b"\0", b";", b":", b"=", b" ", b"\t", b"(", b")", b'"', b"\\", b".", b"/", b"@",
    b"%", b"v=1;", b"v=DKIM1;", b"v=spf1 ", b"v=DMARC1;", b"a=rsa-sha256;", b"a=ed25519-sha256;",
    b"c=relaxed/simple;", b"d=example.com;", b"s=test;", b"h=from:from;", b"bh=", b"b=", b"i=1;", b"i=2;",
    b"cv=none;", b"cv=pass;", b"l=0;", b"t=1;", b"x=99999999999;", b"p=", b"k=ed25519;", b"DKIM-Signature: ",
    b"ARC-Seal: ", b"ARC-Message-Signature: ", b"ARC-Authentication-Results: ",
    b"Authentication-Results: mx.us.example; ", b"From: <a@example.com>\r\n", b"include:example.com",
    b"redirect=a.example.com", b"exists:%{ir}.%{v}.%{d2}", b"ip4:192.0.2.0/24", b"ip6:::/0", b" mx", b" a//64",
    b" ptr", b"exp=%{l}.%{s}", b"-all", b"%{p}", b"%%", b"psd=y;", b"p=reject;", b"\r\n\r\n", b"\xc3\xa9",
)  # fmt: skip
OURS: Final = frozenset({"mx.us.example"})
T = TypeVar("T")


class Answers:
    """A Resolver that gives pieces of the input as records: by the name's length, so that an input tells it all."""

    def __init__(self, octets: bytes) -> None:
        self._lines = octets.split(b"\n")[:50] or [b""]
        self.asked = 0

    def _some(self, name: str) -> list[bytes]:
        self.asked += 1
        if len(name) % 11 == 7:
            raise LookupFault(name)
        at = len(name) % len(self._lines)
        return self._lines[at : at + 1 + len(name) % 2]

    async def txt(self, name: str) -> Sequence[bytes]:
        return self._some(name)

    async def addresses(self, name: str, *, ipv6: bool) -> Sequence[str]:
        return [line.decode("latin-1") for line in self._some(name)] if len(name) % 3 else ["192.0.2.1", "2001:db8::1"]

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        return [(n, line.decode("latin-1")) for n, line in enumerate(self._some(name))]

    async def ptr(self, name: str) -> Sequence[str]:
        return [line.decode("latin-1") for line in self._some(name)]


def _ended(work: Coroutine[Any, Any, T]) -> T:
    """Return what comes of work that awaits nothing but answers that are there, and the marks between its steps."""
    try:
        while work.send(None) is None:
            pass
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # StopIteration has no type for it
    raise AssertionError("it waits")


def auth_body(octets: bytes) -> str:
    forms: tuple[Form, Form] = ("simple", "relaxed")
    for form in forms:
        for limit in (None, 7):
            whole, cut = BodyHash(form, limit=limit), BodyHash(form, limit=limit)
            whole.update(octets)
            for piece in _pieces(octets):
                cut.update(piece)
            assert (whole.digest(), whole.size) == (cut.digest(), cut.size)
    return ""


def auth_message(octets: bytes) -> str:
    content, resolver = Content(octets), Answers(octets)
    sender = Sender("192.0.2.1", "helo.example", "ann@example.com")
    findings: Findings = _ended(
        evaluate(
            content,
            sender,
            None,
            resolver,
            KeyCache(),
            trusted_sealers=frozenset({"example.com"}),
            receiver="mx.us.example",
            now=1e9,
        )
    )
    assert all(each.verdict in SIGNED for each in findings.dkim)
    assert resolver.asked < 500
    field = results.field_of("mx.us.example", told(findings, sender, "none"))
    assert field.count(b"\n") == field.count(b"\r\n\t") + 1
    assert results.is_ours(field.partition(b":")[2], OURS)
    kept = without_ours(content, OURS).with_prefix(field)
    mine = [value for value in kept.get_all(results.FIELD) if results.is_ours(value, OURS)]
    assert len(mine) == 1
    return f"{findings.spf.verdict} {[d.verdict for d in findings.dkim]} {findings.arc.status} {findings.dmarc.verdict}"


def auth_signatures(octets: bytes) -> str:
    """Verify with the right keys, so that what is past the look-up is met too."""
    content, bodies = Content(octets), Bodies()
    fields = Fields(content.head)
    verifier, validator = Verifier(fields, bodies), Validator(fields, bodies)
    bodies.update(content.body())
    zone, keys = _Published(), KeyCache()
    verdicts = [each.verdict for each in _ended(verifier.verify(zone, keys, 1.5e9))]
    return f"{verdicts} {_ended(validator.validate(zone, keys, 1.5e9)).status}"


class _Published(Answers):
    def __init__(self) -> None:
        super().__init__(b"")
        self._record = (DATA / "dkimpy" / "test.txt").read_bytes()

    async def txt(self, name: str) -> Sequence[bytes]:
        return [self._record]


def auth_spf(octets: bytes) -> str:
    said = ""
    for ip in ("192.0.2.1", "2001:db8::1"):
        resolver = Answers(octets)
        result = _ended(
            check_host(ip, "example.com", "ann@example.com", "helo.example", resolver, receiver="us", now=1e9)
        )
        assert resolver.asked < 250
        assert result.explanation.isascii()
        assert result.explanation.isprintable() or not result.explanation
        said += result.verdict
    return said


def auth_records(octets: bytes) -> str:
    said = ""
    for line in octets.split(b"\n")[:50]:
        try:
            said += str(read_record(line).bits)
        except KeyFault:
            said += "!"
        record = dmarc.parse(line, "example.com")
        said += "" if record is None else record.policy
        found = results.read(line)
        said += "" if found is None else str(len(found.results))
        dmarc.authors([line])
    return said[:60]


@cache
def _seeds() -> tuple[bytes, ...]:
    paths = [p for name in ("dkimpy", "authheaders") for p in sorted((DATA / name).iterdir()) if p.is_file()]
    made = [path.read_bytes() for path in paths if path.suffix != ".private" and path.stat().st_size < MAX_SEED]
    made += [each.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for each in made]
    suite = (DATA / "openspf" / "rfc7208-tests.yml").read_bytes()
    made += [line.strip() for line in suite.split(b"\n") if b"v=spf1" in line][:150]
    return (
        *made,
        b"v=spf1 include:a.example.com -all\nv=spf1 mx a ptr exists:%{i}.example.com exp=x.example.com\n%{c}\n",
    )


def _target(check: Callable[[bytes], str]) -> Target[bytes]:
    name = check.__name__.replace("_", "-")
    return Target(name, partial(check), _seeds, Octets(TOKENS), same_octets, same_octets, 5.0, MAX_SEED)


TARGETS: Final = tuple(_target(each) for each in (auth_body, auth_message, auth_signatures, auth_spf, auth_records))
