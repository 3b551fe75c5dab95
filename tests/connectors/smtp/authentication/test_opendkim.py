"""OpenDKIM judges what we sign, and what was changed on the way, as we do: over messages that others test with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.smtp.authentication.canonical import Bodies, BodyHash, Fields, Form
from connectors.smtp.authentication.dkim import Verifier, sign, signed_names
from connectors.smtp.authentication.keys import KeyCache, load_private_key, public_record
from gateway.contract import Content
from tests.connectors.smtp.authentication.dns_double import Zone

CORPUS = Path(os.environ.get("GATEPOST_CORPUS", "/nonexistent"))
DATA = Path(__file__).parents[3] / "data" / "dkimpy"
FOLDERS = ("dkimpy", "authheaders", "cpython-test-email", "mailbits", "apache-james-mime4j", "spamscope-mail-parser")
KEY = load_private_key((DATA / "test.private").read_bytes())
RECORDS = {
    "test._domainkey.s.example": public_record(KEY),
    "test._domainkey.football.example.com": (DATA / "test.txt").read_text().strip(),
}
FORMS: list[tuple[Form, Form]] = [(h, b) for h in ("simple", "relaxed") for b in ("simple", "relaxed")]
NAMES = (b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"mime-version", b"content-type", b"reply-to")
MOST = 150
PROGRAM = shutil.which("opendkim", path="/usr/sbin:/usr/bin")
_LINE = re.compile(r"opendkim: (\S+): verification \(.*\) (succeeded|failed)")


def messages() -> Iterator[bytes]:
    """Yield the corpus's messages that could come by DATA and have what both of us ask of a header."""
    number = 0
    for path in sorted(p for folder in FOLDERS for p in (CORPUS / folder).rglob("*") if p.is_file()):
        if number == MOST or path.stat().st_size > 100_000:
            continue
        octets = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        head, _, body = octets.partition(b"\r\n\r\n")
        fields = Fields(head + b"\r\n")
        # What stands between the colon and the value OpenDKIM does not see of a file that it tests.
        plain = all(re.match(rb"[!-9;-~]+: [^ \t]|[ \t]", line) for line in head.split(b"\r\n"))
        if not plain or b"\0" in octets or b"\r" in octets.replace(b"\r\n", b"") or fields.count(b"from") != 1:
            continue
        # Its own signatures would be judged too, and OpenDKIM ends at one whose d= is no domain.
        if b"@" not in fields.all(b"from")[0] or fields.count(b"dkim-signature"):
            continue
        number += 1
        yield head + b"\r\n\r\n" + body + (b"" if body.endswith(b"\r\n") or not body else b"\r\n")


def signed(octets: bytes, form: tuple[Form, Form]) -> bytes:
    content, hashed = Content(octets), BodyHash(form[1])
    hashed.update(content.body())
    fields = Fields(content.head)
    names = signed_names(fields, NAMES, oversign=(b"from", b"subject"))
    return sign(fields, hashed.digest(), key=KEY, domain="s.example", selector="test", names=names, form=form) + octets


def changed(octets: bytes, how: int) -> bytes:
    """Return a message as a hop may have left it: as it was, or changed in what some forms forgive and none do."""
    head, _, body = octets.partition(b"\r\n\r\n")
    match how:
        case 1:
            body += b"\r\n\r\n"
        case 2:
            body = body.replace(b"\r\n", b" \r\n", 1)
        case 3:
            head = head.replace(b"\r\nSubject: ", b"\r\nSUBJECT: ", 1).replace(b" <", b"\r\n\t <", 1)
        case 4:
            body = b"x" + body
        case 5:
            head += b"\r\nSubject: another"
        case 6:
            head = head.replace(b"\r\nFrom: ", b"\r\nFrom: x", 1)
    return head + b"\r\n\r\n" + body


async def ours(octets: bytes) -> list[str]:
    content, bodies = Content(octets), Bodies()
    verifier = Verifier(Fields(content.head), bodies)
    bodies.update(content.body())
    zone = Zone({(name, "TXT"): [record.encode()] for name, record in RECORDS.items()})
    return [each.verdict for each in await verifier.verify(zone, KeyCache(), 1_600_000_000.0)]


def opendkim(folder: Path, names: list[str]) -> dict[str, bool]:
    assert PROGRAM is not None, "opendkim is missing: see tests/bootstrap.sh"
    (folder / "keys").write_text("".join(f"{name} {record}\n" for name, record in RECORDS.items()))
    (folder / "opendkim.conf").write_text(
        f"Mode v\nTestDNSData file:{folder / 'keys'}\nAuthservID gw.example\nBackground no\nSyslog no\nSendReports no\n"
    )
    command = [PROGRAM, "-t", ",".join(names), "-x", "opendkim.conf", "-v"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    return {match[1]: match[2] == "succeeded" for match in _LINE.finditer(said.stdout + said.stderr)}


@pytest.mark.skipif(not CORPUS.is_dir() and "CI" not in os.environ, reason="GATEPOST_CORPUS is not there")
async def test_opendkim_agrees(tmp_path: Path) -> None:
    wanted: dict[str, bool] = {}
    for number, octets in enumerate(messages()):
        made = changed(signed(octets, FORMS[number % 4]), number // 4 % 7)
        name = f"m{number}"
        (tmp_path / name).write_bytes(made)
        verdicts = await ours(made)
        assert verdicts[0] in ("pass", "fail")
        wanted[name] = verdicts[0] == "pass"
    assert len(wanted) > 120
    assert 40 < sum(wanted.values()) < len(wanted) - 40
    assert opendkim(tmp_path, list(wanted)) == wanted


async def test_opendkim_agrees_on_the_example_of_the_rfc(tmp_path: Path) -> None:
    octets = (DATA / "rfc6376.signed.rsa.msg").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    (tmp_path / "as-it-is").write_bytes(octets)
    (tmp_path / "changed").write_bytes(octets.replace(b"hungry", b"thirsty"))
    assert await ours(octets) == ["pass"]
    assert opendkim(tmp_path, ["as-it-is", "changed"]) == {"as-it-is": True, "changed": False}
