"""Who may relay by their address, and who is let past block lists: never anybody whom the other server refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.import_config import exim, postfix, sendmail
from gateway.import_config.files import Files
from gateway.import_config.writer import make
from mappings.network import registry

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


SENDERS = "check_sender_access hash:/etc/postfix/senders"
LISTS = "reject_rbl_client zen.example"


@pytest.mark.parametrize(
    ("main", "kept"),
    [
        (f"smtpd_recipient_restrictions = {SENDERS}, {LISTS}\n", True),
        (f"smtpd_sender_restrictions = {SENDERS}\n", True),
        (f"smtpd_sender_restrictions = {SENDERS}\nsmtpd_recipient_restrictions = {LISTS}\n", False),
        (f"smtpd_recipient_restrictions = {LISTS}, {SENDERS}\n", False),
    ],
)
def test_an_accepted_sender_comes_past_no_block_list_that_was_asked(main: str, kept: bool, tmp_path: Path) -> None:
    senders = "pal@far.example OK\nfoe@far.example REJECT\n"
    found = files(tmp_path, etc__postfix__main_cf=main, etc__postfix__senders=senders)
    outline = postfix.read(found, "/etc/postfix", "mx.acme.example")
    rules = make(outline, registry()).files["access-rules"].decode()
    assert ("sender pal@far.example accept" in rules) is kept
    assert "sender foe@far.example reject" in rules
    assert any("block lists" in left.why for left in outline.left) is not kept


def test_an_accepted_sender_comes_past_no_block_list_of_sendmail(tmp_path: Path) -> None:
    mc = "FEATURE(`access_db')dnl\nFEATURE(`dnsbl', `zen.example')dnl\n"
    access = "From:pal@far.example\tOK\nConnect:192.0.2.1\tOK\n"
    found = files(tmp_path, etc__mail__sendmail_mc=mc, etc__mail__access=access)
    made = make(sendmail.read(found, "/etc/mail", "mx.acme.example"), registry())
    assert made.files["access-rules"].decode() == "client 192.0.2.1/32 accept\n"


@pytest.mark.parametrize(
    "setting",
    [
        "smtp_sasl_password_maps = static:bob:hunter2",
        "smtp_sasl_password_maps = inline:{{ [mx.isp.example] = bob:hunter2 }}",
        "ldapmaps_bind_pw = hunter2",
        "mysqlmaps_password = a hunter2",
        "tls_secret=hunter2",
    ],
)
def test_no_secret_is_in_the_list_of_what_was_not_taken(setting: str, tmp_path: Path) -> None:
    found = files(
        tmp_path, etc__postfix__main_cf=f"smtp_sasl_auth_enable = yes\nrelayhost = [mx.isp.example]\n{setting}\n"
    )
    made = make(postfix.read(found, "/etc/postfix", "mx.acme.example"), registry())
    assert not [name for name, octets in made.files.items() if b"hunter2" in octets and name not in made.secret]


def test_what_exim_hides_is_in_no_list(tmp_path: Path) -> None:
    conf = "primary_hostname = mx.acme.example\nhide mysql_servers = localhost/mail/exim/hunter2\n"
    made = make(exim.read(files(tmp_path, etc__exim4__configure=conf), "/etc/exim4", "mx.acme.example"), registry())
    assert not [name for name, octets in made.files.items() if b"hunter2" in octets]
