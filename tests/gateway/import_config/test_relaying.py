"""Who may relay by their address: never anybody whom the other server would have refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.import_config import exim, postfix, sendmail
from gateway.import_config.files import Files

LOCAL = ["127.0.0.0/8"]
TEN = "mynetworks = 10.0.0.0/8\n"
WITHOUT = "smtpd_{}_restrictions = permit_sasl_authenticated, reject_unauth_destination\n"


def files(root: Path, **texts: str) -> Files:
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("_cf", ".cf").replace("_mc", ".mc")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Files(root)


@pytest.mark.parametrize(
    ("main", "relaying"),
    [
        (TEN, ["10.0.0.0/8"]),
        ("mynetworks =\n", []),
        ("mynetworks = 127.0.0.0/8\n" + WITHOUT.format("relay"), []),
        (TEN + WITHOUT.format("recipient"), []),
        (TEN + "smtpd_relay_restrictions = reject_unauth_destination, permit_mynetworks\n", []),
        (TEN + "smtpd_relay_restrictions = permit_mynetworks, defer_unauth_destination\n", ["10.0.0.0/8"]),
        (TEN + "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks reject\n", ["10.0.0.0/8"]),
        (TEN + "smtpd_recipient_restrictions = reject_unlisted_recipient\n", ["10.0.0.0/8"]),
        # Exceptions, in the list, in a file of it, and as a file.
        ("mynetworks = !10.128.0.0/9 10.0.0.0/8\n", ["10.0.0.0/9"]),
        ("mynetworks = /etc/postfix/nets\n", ["10.0.0.0/9", "192.0.2.0/24"]),
        ("mynetworks = !/etc/postfix/out, 10.0.0.0/8\n", ["10.0.0.0/9"]),
        ("mynetworks = !/etc/postfix/none, 10.0.0.0/8\n", []),
        ("mynetworks = !hash:/etc/postfix/nets, 10.0.0.0/8\n", []),
        ("mynetworks = hash:/etc/postfix/nets, 10.0.0.0/8\n", ["10.0.0.0/8"]),
    ],
)
def test_postfix(main: str, relaying: list[str], tmp_path: Path) -> None:
    nets = "# those of ours\n192.0.2.0/24, !10.128.0.0/9 10.0.0.0/8\n"
    found = files(tmp_path, etc__postfix__main_cf=main, etc__postfix__nets=nets, etc__postfix__out="10.128.0.0/9\n")
    outline = postfix.read(found, "/etc/postfix", "mx.acme.example")
    assert sorted(outline.relaying()) == relaying
    if not relaying and main != "mynetworks =\n":
        assert any("relay" in left.why for left in outline.left)


@pytest.mark.parametrize(
    ("hosts", "relaying"),
    [
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        ("!10.128.0.0/9 : 10.0.0.0/8", ["10.0.0.0/9"]),
        ("! /etc/exim4/out : 10.0.0.0/8", ["10.0.0.0/9"]),
        ("!net-lsearch;/etc/exim4/out : 10.0.0.0/8", ["10.0.0.0/9"]),
        ("!/etc/exim4/none : 10.0.0.0/8", []),
        ("!+banned : 10.0.0.0/8", []),
    ],
)
def test_exim(hosts: str, relaying: list[str], tmp_path: Path) -> None:
    conf = f"primary_hostname = mx.acme.example\nhostlist relay_from_hosts = {hosts}\n"
    found = files(tmp_path, etc__exim4__configure=conf, etc__exim4__out="10.128.0.0/9:\n")
    assert exim.read(found, "/etc/exim4", "mx.acme.example").relaying() == relaying


@pytest.mark.parametrize("row", ["10.128\tOK", "Connect:10.128\tDISCARD", "Connect:10.128\tREJECT"])
def test_sendmail_takes_the_row_for_less(row: str, tmp_path: Path) -> None:
    access = f"Connect:10.129\tRELAY\nConnect:10\tRELAY\n{row}\nClientRate:10.130\t5\n"
    found = files(tmp_path, etc__mail__sendmail_mc="FEATURE(`access_db')dnl\n", etc__mail__access=access)
    relaying = sendmail.read(found, "/etc/mail", "mx.acme.example").relaying()
    assert "10.0.0.0/9" in relaying
    assert "10.128.0.0/16" not in relaying
    assert "10.130.0.0/15" in relaying
