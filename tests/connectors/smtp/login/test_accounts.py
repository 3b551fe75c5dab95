"""Where accounts are: the password file, what writes it, and the mapping's identities."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from connectors.smtp.login.account_file import AccountFault, remove_account, set_account
from connectors.smtp.login.accounts import Account, PasswordFile, TableAccounts, Unready, read_accounts
from connectors.smtp.login.cli import app
from connectors.smtp.login.passwords import scram_keys, store
from connectors.smtp.login.submission import Quota, owns
from gateway.contract import Address, Context, Person
from gateway.log import get_log
from mappings.network import network
from tests.connectors.smtp.server_kit import context as smtp_context

LOG = get_log("test")


def parse(text: str) -> Address:
    return network("smtp").parse(text)


async def test_a_file_is_read_and_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    set_account(path, "Ann", "secret", ("ann@acme.example", "*@lists.example"), "scram")
    accounts = PasswordFile(path, LOG)
    await accounts.start()
    ann = Account("Ann", ("ann@acme.example", "*@lists.example"))
    assert await accounts.check("ann", "secret") == ann, "in any capitals"
    assert await accounts.check("ann", "Secret") is None
    assert await accounts.check("nobody", "secret") is None
    assert await accounts.find("ANN") == ann
    found = await accounts.keys("ann")
    assert found is not None
    assert found[1] == ann
    set_account(path, "bob", "other", None, "scrypt")
    assert await accounts.check("bob", "other") == Account("bob")
    assert await accounts.keys("bob") is None, "scrypt serves no SCRAM"
    remove_account(path, "ann")
    assert await accounts.check("ann", "secret") is None


async def test_a_file_that_breaks_while_it_is_used_lets_in_whom_it_knew(tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    set_account(path, "ann", "secret", None, "scrypt")
    accounts = PasswordFile(path, LOG)
    await accounts.start()
    path.write_text("ann\n")
    assert await accounts.check("ann", "secret") is not None
    path.unlink()
    assert await accounts.check("ann", "secret") is not None
    never = PasswordFile(path, LOG)
    with pytest.raises(OSError, match="accounts"):
        await never.start()
    with pytest.raises(Unready):
        await never.check("ann", "secret")


def test_each_wrong_line_is_named_and_no_password_shown(tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    good = store("x", "scrypt")
    path.write_text(f"# people\n\nann:hunter2\nbob:{good}:no address\nbob2:{good}\nBOB2:{good}\nnothing\n")
    with pytest.raises(ValueError, match="line 3: it is no form") as caught:
        read_accounts(path)
    text = str(caught.value)
    assert "line 4: 'no address' is no address" in text
    assert "line 6: the name stands twice" in text
    assert "line 7: it is to be" in text
    assert "hunter2" not in text
    assert good not in text


def test_writing_leaves_everything_else_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    assert set_account(path, "ann", "secret", ("ann@acme.example",), "scrypt")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    path.write_text("# people\n" + path.read_text() + "\n# the end\n")
    before = path.read_text()
    assert set_account(path, "bob", "secret", None, "scrypt")
    assert path.read_text().startswith(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not set_account(path, "ANN", None, (), "scrypt"), "the addresses alone"
    entry = read_accounts(path)["ann"]
    assert entry.account == Account("ANN")
    remove_account(path, "bob")
    assert path.read_text().splitlines()[0] == "# people"
    assert [each for each in os.listdir(tmp_path) if each != "accounts"] == []


@pytest.mark.parametrize(
    ("name", "password", "address"),
    [("a:b", "x", "a@b.example"), ("", "x", "a@b.example"), ("#a", "x", "a@b.example"), ("a\nb", "x", "a@b.example"),
     ("new", None, "a@b.example"), ("a", "", "a@b.example"), ("a", "x\ny", "a@b.example"), ("a", "x", "b")],
)  # fmt: skip
def test_what_cannot_be_written(tmp_path: Path, name: str, password: str | None, address: str) -> None:
    path = tmp_path / "accounts"
    with pytest.raises(AccountFault):
        set_account(path, name, password, (address,), "scrypt")
    assert not path.exists()


def test_a_file_that_is_not_understood_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    path.write_text("ann:hunter2\n")
    with pytest.raises(AccountFault, match="line 1"):
        set_account(path, "bob", "x", None, "scrypt")
    assert path.read_text() == "ann:hunter2\n"


def test_the_commands(tmp_path: Path) -> None:
    path = str(tmp_path / "accounts")
    run = CliRunner()
    done = run.invoke(app, ["set", path, "ann", "--address", "ann@acme.example"], input="secret\n")
    assert (done.exit_code, done.output) == (0, "ann: added\n")
    done = run.invoke(app, ["set", path, "ann", "--keep-password", "--address", "*"])
    assert (done.exit_code, done.output) == (0, "ann: changed\n")
    assert run.invoke(app, ["list", path]).output == "ann  *\n"
    assert run.invoke(app, ["set", path, "bob", "--form", "md5"], input="x\n").exit_code == 1
    assert run.invoke(app, ["remove", path, "ann"]).exit_code == 0
    assert run.invoke(app, ["remove", path, "ann"]).exit_code == 1
    stored = run.invoke(app, ["store"], input="secret\n").output
    assert stored.startswith("{SCRAM-SHA-256}65536,")


def context(tmp_path: Path, people: dict[str, Person]) -> Context:
    return Context("gw", tmp_path, tmp_path, LOG, lambda: 0.0, person=lambda address: people.get(address.key))


async def test_identities_as_accounts(tmp_path: Path) -> None:
    ann = Person("Ann", (parse("ann@acme.example"), parse("lee@acme.example")), {"login_password": store("x", "scram")})
    bob = Person("Bob", (parse("bob@acme.example"),))
    accounts = TableAccounts(
        context(tmp_path, {"ann@acme.example": ann, "lee@acme.example": ann, "bob@acme.example": bob})
    )
    assert await accounts.check("ann@acme.example", "x") == Account("ann@acme.example")
    # However it is written and whichever of its addresses it is: nobody has the quota of several.
    for login in ("lee@acme.example", "LEE@acme.example", "lee (1)@acme.example", "ann@acme.example."):
        assert await accounts.check(login, "x") == Account("ann@acme.example"), login
        assert accounts.counted_as(login) == "ann@acme.example"
        assert await accounts.find(login) == Account("ann@acme.example")
        stored = scram_keys(ann.attributes["login_password"])
        assert await accounts.keys(login) == (stored, Account("ann@acme.example"))
    assert await accounts.check("ann@acme.example", "y") is None
    assert await accounts.keys("ann@acme.example") is not None
    assert await accounts.check("bob@acme.example", "x") is None, "no password stored"
    assert await accounts.check("zoe@far.example", "x") is None
    assert await accounts.check("no address", "x") is None
    assert await accounts.find("bob@acme.example") is None


OWNS = [
    (Account("ann@acme.example"), "ann@acme.example", True),
    (Account("ann@acme.example"), "ANN@ACME.EXAMPLE", True),
    (Account("ann@acme.example"), "lee@acme.example", True),  # the same identity's
    (Account("ann@acme.example"), "bob@acme.example", False),
    (Account("ann"), "ann@acme.example", False),
    (Account("ann", ("ann@acme.example",)), "ann@acme.example", True),
    (Account("ann", ("ann@acme.example",)), "lee@acme.example", True),
    (Account("ann", ("*@lists.example",)), "any@LISTS.example", True),
    (Account("ann", ("*@lists.example",)), "any@sub.lists.example", False),
    (Account("ann", ("*",)), "any@where.example", True),
    (Account("ann", ("*",)), "no address", False),
    (Account("ann"), "", False),
]


@pytest.mark.parametrize(("account", "spec", "expected"), OWNS)
def test_who_may_send_as_whom(account: Account, spec: str, expected: bool) -> None:
    ours = (parse("ann@acme.example"), parse("lee@acme.example"))
    assert owns(account, spec, lambda address: ours if address in ours else ()) is expected


async def test_the_quota_is_of_an_hour_and_of_one_account(tmp_path: Path) -> None:
    now = 0.0
    made = replace(smtp_context(tmp_path, Counter()), clock=lambda: now)
    quota = Quota(2, 10, made)
    assert await quota.take("ann", 3)
    assert quota.has_room("ann", 7)
    assert not quota.has_room("ann", 8)
    assert not await quota.take("ann", 8)
    assert await quota.take("ann", 1), "what was refused is not counted"
    assert not quota.has_room("ann", 1), "two messages"
    quota.give_back("ann", 1)
    assert quota.has_room("ann", 7)
    assert not quota.has_room("ann", 8)
    assert await quota.take("ann", 1)
    assert quota.has_room("bob", 10)
    now = 3600.0
    assert quota.has_room("ann", 10)
    assert Quota(None, None, made).has_room("ann", 10**6)
