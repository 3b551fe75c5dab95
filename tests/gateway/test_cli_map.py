"""`gatepost map` as an operator types it, beside a mapping that no gateway has open."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.config import load
from gateway.mapping_desk import edit, history, transfer
from gateway.mapping_desk.desk import Desk, DeskError
from tests.gateway.spool.conftest import postgres, postgres_url
from tests.peers.slapd import ADMIN, PASSWORD, SUFFIX, Slapd

__all__ = ["postgres", "postgres_url"]  # fixtures

CONFIG = """\
[gateway]
name = "gw.merged.example"

[mapping]
domains = ["merged.example", "acme.example", "shared.example"]
import = ["people.csv"]

[mapping.gates]
mhs = "mhs:MAIL@GATE"

[[mapping.rule]]
match = "smtp:{local}@{wg}.mhs.acme.example"
to = "mhs:{local}@{wg}"

[[mapping.rule]]
match = "smtp:{local}@partner.example"
to = "smtp:{local}@bolt.example"
direction = "inward"
source = ["connector:oldmhs"]

[[mapping.shared]]
domain = "shared.example"
systems = ["internet", "oldmhs"]

[connector.internet]
type = "smtp"
listen = ["127.0.0.1:2525"]
smart_host = "127.0.0.1:2626"

[connector.oldmhs]
type = "filedrop"
network = "mhs"
inbox = "in"
outbox = "out"
create_folders = true

[[route]]
match = "mhs:*"
to = "oldmhs"

[[route]]
match = "smtp:*"
to = "internet"
"""

PEOPLE = """\
name,home,kind,smtp,mhs
Ann Lee,oldmhs,person,ann.lee@merged.example;ann@acme.example;former:al@acme.example,ann@sales
Bob Ray,,person,bob@merged.example;bob.ray@acme.example,
"""

EXCHANGE = """\
"DisplayName","RecipientType","PrimarySmtpAddress","EmailAddresses","LegacyExchangeDN","Guid"
"Ann Lee","UserMailbox","ann@acme.example","SMTP:ann@acme.example;smtp:a.lee@acme.example",\
"/o=Acme/ou=HQ/cn=Recipients/cn=alee","3f2b1c9e-0d4a-4c1e-9f30-000000000001"
"Carl Fox","UserMailbox","carl@acme.example","SMTP:carl@acme.example","/o=Acme/ou=HQ/cn=Recipients/cn=cfox",\
"3f2b1c9e-0d4a-4c1e-9f30-000000000002"
"Dan Orr","UserMailbox","dan..orr@acme.example","","","3f2b1c9e-0d4a-4c1e-9f30-000000000003"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "gatepost.toml").write_text(CONFIG)
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "acme.csv").write_text(EXCHANGE)
    for name in ("GATEPOST_CONFIG", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gatepost(*words: str) -> Result:
    return CliRunner().invoke(app, ["map", *words])


def said(*words: str) -> str:
    result = gatepost(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def told(*words: str) -> Any:
    return json.loads(said(*words, "--json"))


def refused(*words: str) -> str:
    result = gatepost(*words)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    return result.stderr


def addresses_of(which: str) -> dict[str, str]:
    (who,) = told("find", which)["identities"]
    return {held["address"]: held["role"] for held in who["addresses"]}


# -- before anything is stored


def test_questions_are_answered_from_the_files_and_store_nothing(folder: Path) -> None:
    explained = told("explain", "smtp:ann@acme.example")
    assert explained["ends"][0]["to"] == "mhs:ann@sales"
    assert "nothing is stored yet" in explained["notes"][-1]
    assert told("find", "bob")["identities"][0]["name"] == "Bob Ray"
    assert [r["who"] for r in told("log")["revisions"]] == ["configuration"]
    assert said("check").startswith("gatepost.toml:15: note: rule 2")
    assert "Ann Lee" in said("export")
    assert not (folder / "spool").exists()


def test_the_first_change_takes_the_files_over(folder: Path) -> None:
    assert told("add", "Zoe", "smtp:zoe@merged.example")["revision"] == 2
    assert [r["who"] for r in told("log")["revisions"]][1:] == ["configuration"]
    assert told("find", "ann@sales")["identities"][0]["id"] == 1
    (folder / "people.csv").write_text("nonsense")
    assert told("find", "bob")["identities"]


def test_a_mistake_in_the_files_is_told(folder: Path) -> None:
    (folder / "people.csv").write_text("name,smtp\nAnn,ann@\n")
    assert re.search(r"people.csv:2: smtp: 'ann@'", refused("add", "Zoe", "smtp:zoe@merged.example"))


# -- explain


def test_explain_names_the_sources(folder: Path) -> None:
    said("set", "smtp:ann@acme.example", "attribute.room=7", "--who", "kim", "--why", "she moved")
    explained = told("explain", "smtp:al@acme.example")
    first = explained["steps"][0]
    assert first["text"] == "smtp:al@acme.example is an address of Ann Lee"
    assert (first["source"]["identity"], first["source"]["revision"]) == (1, 2)
    assert "by kim: she moved" in first["source"]["text"]
    assert "the one to use now is smtp:ann.lee@merged.example" in explained["steps"][1]["text"]
    (end,) = explained["ends"]
    assert (end["to"], end["connector"], end["next_hop"]) == ("mhs:ann@sales", "oldmhs", "out")
    assert end["source"]["line"] == CONFIG.split("\n").index("[connector.oldmhs]") + 1
    assert {s["network"]: s["address"] for s in explained["shown"]} == {
        "mhs": "mhs:ann@sales",
        "smtp": "smtp:ann.lee@merged.example",
    }


def test_explain_names_rule_and_route_with_their_lines(folder: Path) -> None:
    explained = told("explain", "smtp:joe@stores.mhs.acme.example")
    source = explained["steps"][0]["source"]
    lines = CONFIG.split("\n")
    assert (source["rule"], source["file"]) == (1, "gatepost.toml")
    assert lines[source["line"] - 1] == "[[mapping.rule]]"
    route = explained["ends"][0]["source"]
    assert (route["route"], lines[route["line"]]) == (1, 'match = "mhs:*"')
    shown = said("explain", "mhs:joe@stores", "--to", "smtp")
    assert shown.startswith("mhs:joe@stores is shown\n  on smtp  as smtp:joe@stores.mhs.acme.example\n")
    assert "(rule 1, gatepost.toml:11)" in shown


def test_explain_by_direction_and_by_where_it_comes_from(folder: Path) -> None:
    assert told("explain", "smtp:x@far.example", "--direction", "inward")["shown"] == []
    outward = told("explain", "smtp:x@far.example", "--direction", "outward")
    assert outward["steps"] == outward["ends"] == []
    assert outward["shown"][0]["address"] == "mhs:MAIL@GATE {SMTP:x@far.example}"
    plain = told("explain", "smtp:x@partner.example", "--direction", "inward")
    assert plain["ends"][0]["to"] == "smtp:x@partner.example"
    ruled = told("explain", "smtp:x@partner.example", "--direction", "inward", "--from", "oldmhs")
    assert (ruled["ends"][0]["to"], ruled["steps"][0]["source"]["rule"]) == ("smtp:x@bolt.example", 2)


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("smtp:nobody@acme.example", "  is refused: smtp:nobody@acme.example: 5.1.1 nobody has this address here"),
        ("smtp:x@far.example", "  only clients that may relay reach it"),
        ("smtp:zoe@shared.example", "  goes to smtp:zoe@shared.example: offered to the system behind internet"),
        ("smtp:gpa234567234567-MHS-x@gw.merged.example", "  is refused: .*5.7.1"),
        ("mhs:joe@stores", "Note: |mhs:joe@stores is nobody's here"),
    ],
)
def test_explain_in_words(folder: Path, address: str, line: str) -> None:
    assert re.search(line, said("explain", address))


def test_explain_a_group(folder: Path) -> None:
    said(
        "add", "All", "smtp:all@merged.example", "--kind", "group", "--owner", "smtp:bob@merged.example",
        "--member", "mhs:ann@sales", "--member", "smtp:x@far.example",
    )  # fmt: skip
    explained = told("explain", "smtp:all@merged.example", "--direction", "inward")
    assert (explained["members"], [end["to"] for end in explained["ends"]]) == (
        2,
        ["mhs:ann@sales", "smtp:x@far.example"],
    )
    assert explained["steps"][1]["source"]["identity"] == 3
    assert "reports about its members go to smtp:bob@merged.example" in explained["steps"][-1]["text"]


def test_explain_tells_of_other_times_and_of_the_key(folder: Path) -> None:
    said("set", "2", "+alias until 2001-01-01: smtp:b@merged.example")
    assert "has smtp:b@merged.example (alias until 2001-01-01), and not at this time" in said(
        "explain", "smtp:b@merged.example"
    )
    assert "key that signs" in said("explain", "notes:Kim Oh/HQ/Acme")


# -- changes


def test_add_and_find(folder: Path) -> None:
    done = told(
        "add", "Zoe Poe", "smtp:zoe@merged.example", "alias: smtp:z@merged.example", "former:smtp:zp@acme.example",
        "mhs:zoe@hq", "--home", "oldmhs", "--stage", "coexisting", "--copy-home", "internet",
        "--attribute", "room=7", "--who", "kim", "--why", "new here",
    )  # fmt: skip
    assert done["ok"]
    (change,) = done["changes"]
    assert change["before"] is None
    assert change["after"] == {
        "id": 3,
        "name": "Zoe Poe",
        "kind": "person",
        "home": "oldmhs",
        "stage": "coexisting",
        "copy_home": "internet",
        "addresses": [
            {"address": "smtp:zoe@merged.example", "role": "primary", "since": None, "until": None},
            {"address": "smtp:z@merged.example", "role": "alias", "since": None, "until": None},
            {"address": "smtp:zp@acme.example", "role": "former", "since": None, "until": None},
            {"address": "mhs:zoe@hq", "role": "primary", "since": None, "until": None},
        ],
        "attributes": {"room": ["7"]},
        "members": [],
        "owner": None,
        "expand": True,
    }
    newest = told("log", "--limit", "1")["revisions"][0]
    assert (newest["who"], newest["why"], newest["added"]) == ("kim", "new here", 1)
    for text in ("Zoe", "3", "smtp:ZOE@merged.example", "zp@acme", "smtp:zoe+tag@merged.example"):
        assert [who["id"] for who in told("find", text)["identities"]] == [3]
    assert said("find", "zoe").splitlines()[0] == "Zoe Poe (identity 3)"
    assert said("find", "merged").splitlines()[1:] == [
        "1   Ann Lee  person  oldmhs  smtp:ann.lee@merged.example, mhs:ann@sales",
        "2   Bob Ray  person          smtp:bob@merged.example",
        "3   Zoe Poe  person  oldmhs  smtp:zoe@merged.example, mhs:zoe@hq",
    ]
    assert "there are more than 1" in said("find", "merged", "--limit", "1")


def test_set(folder: Path) -> None:
    said("set", "2", "+primary:smtp:robert@merged.example", "+former:smtp:bob.ray@acme.example", "name=Robert Ray")
    assert addresses_of("Robert") == {
        "smtp:bob@merged.example": "alias",
        "smtp:bob.ray@acme.example": "former",
        "smtp:robert@merged.example": "primary",
    }
    said("set", "smtp:robert@merged.example", "-smtp:bob@merged.example", "+mhs:bob@hq", "home=oldmhs")
    assert addresses_of("2") == {
        "smtp:bob.ray@acme.example": "former",
        "smtp:robert@merged.example": "primary",
        "mhs:bob@hq": "primary",
    }
    assert said("set", "2", "home=", "attribute.desk=4") == (
        "changed Robert Ray (identity 2)\n  home: oldmhs -> none\n  + desk = 4\nrevision 4\n"
    )
    assert said("set", "2", "home=") == "nothing was changed\n"
    assert [r["number"] for r in told("log", "2")["revisions"]] == [4, 3, 2, 1]


def test_set_a_group(folder: Path) -> None:
    said("add", "All", "smtp:all@merged.example", "--kind", "group", "--member", "mhs:ann@sales", "--no-expand")
    said("set", "3", "-member:mhs:ann@sales", "+member:smtp:x@far.example", "expand=yes", "owner=mhs:ann@sales")
    (who,) = told("find", "3")["identities"]
    assert (who["members"], who["expand"], who["owner"]) == (["smtp:x@far.example"], True, "mhs:ann@sales")
    assert said("set", "3", "owner=").splitlines()[1] == "  owner: mhs:ann@sales -> none"


def test_rm_is_one_revision_that_can_be_undone(folder: Path) -> None:
    assert said("rm", "1", "smtp:bob@merged.example").endswith("\nrevision 2\n")
    assert gatepost("find", "ann").exit_code == 1
    assert said("rollback", "2").splitlines()[-1] == "revision 3: 2 added, 0 changed, 0 removed"
    assert told("find", "ann")["identities"][0]["id"] == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("add", "X", "ann@acme.example"), "'ann@acme.example' is no address: write the network in front"),
        (("add", "X", "smtp:ann@acme.example"), "claimed by both 'Ann Lee' .identity 1. and 'X'"),
        (("add", "X", "smtp:x@merged.example", "--home", "oldmsh"), "no configured connector; there are: internet"),
        (("add", "X", "smtp:x@merged.example", "--home", "oldmhs"), "takes mhs addresses, and no mhs address"),
        (("add", "X", "former:smtp:x@merged.example"), "'X' has no current address"),
        (("add", "X", "smtp:x@merged.example", "--kind", "robot"), "'robot' is no kind; there are: person, group"),
        (("add", "X", "smtp:x@merged.example", "--attribute", "room"), "'attribute.room' is no change"),
        (("add", "", "smtp:x@merged.example"), "a name is needed"),
        (("add", "X", "until tomorrow: smtp:x@merged.example"), "is no address|is no time"),
        (("set", "99", "home="), "there is no identity 99"),
        (("set", "smtp:x@far.example", "home="), "nobody has smtp:x@far.example"),
        (("set", "1", "hoome=x"), "there is no field 'hoome' .'hoome=x'.; did you mean home"),
        (("set", "1", "what"), "'what' is no change; write field=value, .ADDRESS or -ADDRESS"),
        (("set", "1", "+smtp:ann@acme.example"), "has smtp:ann@acme.example already; to change how"),
        (("set", "1", "-smtp:x@acme.example"), "'Ann Lee' has no address smtp:x@acme.example"),
        (("set", "1", "-smtp:ann.lee@merged.example"), "has 0 primary addresses on smtp"),
        (("set", "1", "+member:smtp:x@far.example"), "has members or an owner, and is no group"),
        (("set", "1", "-member:smtp:x@far.example"), "is no member of 'Ann Lee'"),
        (("set", "1", "expand=maybe"), "expand is yes or no"),
        (("set", "1", "stage=late"), "'late' is no stage; there are: before"),
        (("rm", "99"), "there is no identity 99"),
        (("find", "nobody at all"), "nobody matches nobody at all"),
        (("diff", "7"), "not older|there is no revision 7"),
        (("diff", "2", "1"), "revision 2 is not older than 1"),
        (("rollback", "7"), "there is no revision 7"),
        (("rollback",), "name either the revision to undo"),
        (("explain", "smtp:ann@"), "is no address"),
        (("explain", "smtp:ann@acme.example", "--to", "telex"), "there is no network 'telex'; there are: "),
        (("explain", "smtp:ann@acme.example", "--from", "telex"), "there is no connector 'telex'; there are: "),
        (("import", "nothing.csv"), "nothing.csv cannot be read: No such file"),
        (("import", "gatepost.toml"), "its form cannot be told; name it by --format, one of: csv"),
        (("import", "acme.csv", "--format", "xls"), "there is no format 'xls'"),
        (("import", "acme.csv", "--home", "oldmsh"), "there is no connector 'oldmsh'"),
        (("import", "acme.csv", "people.csv", "--source", "x"), "import the files one by one"),
        (("import", "acme.csv", "--map", "x"), "--map x: write COLUMN=FIELD"),
        (("import", "acme.csv", "--option", "x=1"), "takes no option 'x'"),
        (("import", "ldap://127.0.0.1:1"), "names no entry to begin at"),
        (("import", "ldap://127.0.0.1:1/dc=acme"), "no connection to 127.0.0.1:1"),
        (("export", "--format", "domino"), "the form domino is read only"),
        (("export", "--home", "oldmsh"), "there is no connector 'oldmsh'"),
        (("export", "--out", "no/such/folder.csv"), "no/such/folder.csv cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_and_exits_with_1(folder: Path, words: tuple[str, ...], reason: str) -> None:
    said("set", "2", "attribute.room=7")
    assert re.search(reason, refused(*words))
    answer = gatepost(*words, "--json")
    if words[0] not in ("find", "export"):
        assert json.loads(answer.stdout)["ok"] is False
    assert len(told("log")["revisions"]) == 2


def test_a_wrong_call_exits_with_2(folder: Path) -> None:
    assert gatepost("set", "1").exit_code == 2
    assert gatepost("explain").exit_code == 2
    assert gatepost("explain", "smtp:a@b.example", "--direction", "sideways").exit_code == 2


# -- history


def test_log_diff_and_rollback(folder: Path) -> None:
    said("set", "1", "attribute.room=7")
    said("add", "Zoe", "smtp:zoe@merged.example")
    said("rm", "2")
    lines = said("diff", "1").splitlines()
    assert lines == [
        "changed Ann Lee (identity 1)",
        "  + room = 7",
        "removed Bob Ray (identity 2)",
        "  - smtp:bob@merged.example (primary)",
        "  - smtp:bob.ray@acme.example (alias)",
        "added Zoe (identity 3)",
        "  + smtp:zoe@merged.example (primary)",
    ]
    assert [c["id"] for c in told("diff", "1", "2")["changes"]] == [1]
    assert said("diff", "4") == "the two are equal\n"
    assert told("rollback", "--to", "1", "--why", "a drill")["revision"]["why"] == "back to revision 1: a drill"
    assert said("diff", "1") == "the two are equal\n"
    assert said("rollback", "--to", "5") == "nothing had to be changed; the newest is revision 5\n"
    assert "revision 2 cannot be undone by itself: revision 5 changed 'Ann Lee' again" in refused("rollback", "2")


def test_who_is_the_one_who_called_sudo(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said("set", "1", "attribute.room=7")
    monkeypatch.setenv("SUDO_USER", "kim")
    said("set", "1", "attribute.room=8")
    first, second = told("log", "--limit", "2")["revisions"]
    assert first["who"] == "kim"
    assert second["who"] not in ("", "kim")


# -- import and export


def test_import_and_the_same_again(folder: Path) -> None:
    dry = told("import", "acme.csv", "--home", "internet", "--dry-run")
    assert (dry["added"], dry["changed"], dry["revision"]) == (1, 1, None)
    assert dry["refused"][0]["line"] == 4
    assert dry["refused"][0]["file"] == "acme.csv"
    assert "smtp.empty-atom" in dry["refused"][0]["reason"]
    assert not (folder / "spool").exists()
    result = gatepost("import", "acme.csv", "--home", "internet", "--stage", "coexisting", "--why", "the merger")
    assert result.exit_code == 0
    assert "refused: acme.csv, line 4, column" in result.stderr
    assert result.stdout.splitlines()[-1].startswith("revision 2: 1 added, 1 changed, 0 removed, 0 unchanged, ")
    assert addresses_of("1")["smtp:a.lee@acme.example"] == "alias"
    (carl,) = told("find", "carl")["identities"]
    assert (carl["home"], carl["stage"]) == ("internet", "coexisting")
    assert told("find", "1")["identities"][0]["home"] == "oldmhs"
    again = gatepost("import", "acme.csv", "--home", "internet", "--stage", "coexisting")
    assert again.stdout.startswith("nothing was changed: 0 added, 0 changed, 0 removed, 2 unchanged")
    assert told("log")["revisions"][0]["why"] == "the merger"


def test_strict_does_nothing_where_a_row_is_refused(folder: Path) -> None:
    said("set", "2", "attribute.room=7")
    result = gatepost("import", "acme.csv", "--strict")
    assert result.exit_code == 1
    assert "line 4" in result.stderr
    assert len(told("log")["revisions"]) == 2


def test_several_files_are_one_revision(folder: Path) -> None:
    (folder / "virtual").write_text("bill@acme.example bob@merged.example\n@old.example @acme.example\n")
    (folder / "acme.csv").write_text("".join(EXCHANGE.splitlines(keepends=True)[:3]))
    done = told("import", "virtual", "acme.csv")
    assert (done["revision"], done["added"], done["changed"]) == (2, 1, 2)
    assert done["rules"] == [
        {"match": "smtp:{local}@old.example", "to": "smtp:{local}@acme.example", "direction": "inward"}
    ]
    assert addresses_of("2")["smtp:bill@acme.example"] == "alias"
    assert told("log", "--limit", "1")["revisions"][0]["why"] == "import of virtual, acme.csv"
    assert "nothing was changed" in said("import", "virtual", "acme.csv")
    assert 'match = "smtp:{local}@old.example"' in said("import", "virtual")


def test_columns_of_any_name(folder: Path) -> None:
    (folder / "list.csv").write_text("First,Last,E-mail,Desk\nKim,Oh,kim@merged.example,4\n")
    said(
        "import", "list.csv", "--map", "First=name", "--map", "Last=name", "--map", "E-mail=smtp",
        "--map", "Desk=attribute.desk", "--format", "csv",
    )  # fmt: skip
    (kim,) = told("find", "kim")["identities"]
    assert (kim["name"], kim["attributes"]["desk"]) == ("Kim Oh", ["4"])


def test_remove_missing(folder: Path) -> None:
    clean = "".join(EXCHANGE.splitlines(keepends=True)[:3])
    (folder / "acme.csv").write_text(clean)
    said("import", "acme.csv")
    (folder / "acme.csv").write_text("".join(clean.splitlines(keepends=True)[:2]))
    assert "0 removed" in said("import", "acme.csv")
    done = told("import", "acme.csv", "--remove-missing")
    assert [(c["name"], c["after"]) for c in done["changes"]] == [("Carl Fox", None)]


def test_an_unknown_home_in_a_file_is_refused_with_its_line(folder: Path) -> None:
    (folder / "more.csv").write_text("name,home,smtp\nKim,oldmsh,kim@merged.example\nLou,,lou@merged.example\n")
    done = told("import", "more.csv")
    assert (done["added"], done["refused"][0]["line"], done["refused"][0]["column"]) == (1, 2, "home")


def test_export_round_trip(folder: Path) -> None:
    said("import", "acme.csv")
    before = told("find", "example")["identities"]
    assert told("export", "--out", "out.csv") == {
        "ok": True, "file": "out.csv", "octets": (folder / "out.csv").stat().st_size, "lost": [],
    }  # fmt: skip
    said("rollback", "--to", "0")
    said("import", "out.csv")
    after = told("find", "example")["identities"]
    assert [known(who) for who in after] == [known(who) for who in before]
    assert "Ann Lee" not in said("export", "--not-home", "oldmhs")
    assert "Bob Ray" not in said("export", "--home", "oldmhs", "--kind", "person")


def known(who: dict[str, Any]) -> dict[str, Any]:
    """Return what a file keeps of an identity: not its number, nor where it was taken from, nor the networks' order."""
    attributes = {name: values for name, values in who["attributes"].items() if name != "source"}
    held = sorted(who["addresses"], key=lambda each: str(each["address"]))
    return {**who, "id": 0, "attributes": attributes, "addresses": held}


def test_export_for_the_other_side_tells_what_it_loses(folder: Path) -> None:
    result = gatepost("export", "--format", "postfix-virtual", "--home", "oldmhs")
    assert "ann@acme.example\tann.lee@merged.example" in result.stdout
    assert "bob" not in result.stdout
    assert re.search(r"not carried: line \d+: the rule .* has no form in postfix-virtual", result.stderr)


def test_a_large_import_is_planned_before_others_have_to_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = "".join(EXCHANGE.splitlines(keepends=True)[:3])
    (folder / "acme.csv").write_text(clean)
    monkeypatch.setattr(transfer, "_FEW", 1)
    said("import", "acme.csv")
    assert told("import", "acme.csv")["unchanged"] == 2
    planned = transfer._planned_ahead

    def overtaken(desk: Desk, *rest: Any) -> Any:
        found = planned(desk, *rest)
        edit.change(desk, edit.Author("me", ""), "1", ["attribute.room=7"])
        return found

    monkeypatch.setattr(transfer, "_planned_ahead", overtaken)
    (folder / "acme.csv").write_text(clean.replace("a.lee@", "a.b.lee@"))
    assert told("import", "acme.csv")["changed"] == 1
    (ann,) = told("find", "1")["identities"]
    assert ann["attributes"]["room"] == ["7"], "a change that came between is kept"
    assert addresses_of("1")["smtp:a.b.lee@acme.example"] == "alias"


def test_a_live_directory_and_then_what_has_changed_in_it(folder: Path) -> None:
    (folder / "password").write_text(f"{PASSWORD}\n")
    with Slapd() as slapd:
        url = f"{slapd.url}/{SUFFIX}"
        slapd.add(SUFFIX, ["dcObject", "organization"], dc="acme", o="Acme")
        for name in ("Ann Lee", "Kim Oh", "Lou Orr"):
            first, last = name.split()
            mail = f"{first.lower()}@ldap.example"
            slapd.add(f"cn={name},{SUFFIX}", ["inetOrgPerson"], sn=last, givenName=first, mail=mail)
        words = ["import", url, "--option", f"user={ADMIN}", "--option", "password_file=password", "--remove-missing"]
        assert told(*words)["added"] == 3
        assert told("find", "kim")["identities"][0]["attributes"]["source"] == [f"127.0.0.1/{SUFFIX}"]
        assert told(*words)["unchanged"] == 0, "nothing was read that did not change"
        slapd.modify(f"cn=Kim Oh,{SUFFIX}", mail=["kim.oh@ldap.example"])
        slapd.delete(f"cn=Lou Orr,{SUFFIX}")
        done = told(*words)
        assert (done["added"], done["changed"], done["removed"]) == (0, 1, 1)
        assert gatepost("find", "lou").exit_code == 1
        said("rollback", "--to", "1")
        assert told(*words)["added"] == 2, "what was undone is read again"
        (folder / "password").write_text("wrong")
        assert "does not take the user" in refused(*words)
    assert "no connection to" in refused(*words)


# -- check


def test_check_finds_what_keeps_mail_from_people(folder: Path) -> None:
    assert gatepost("check").exit_code == 0
    said(
        "add", "All", "smtp:all@merged.example", "--kind", "group", "--owner", "smtp:nobody@merged.example",
        "--member", "smtp:gone@acme.example", "--member", "smtp:more@merged.example",
    )  # fmt: skip
    said(
        "add", "More", "smtp:more@merged.example", "--kind", "group", "--member", "smtp:all@merged.example",
    )  # fmt: skip
    said("add", "Fax", "fax:+3585551234")
    result = gatepost("check", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)["findings"]
    assert [(f["severity"], f["kind"], f["identity"], f["example"]) for f in found] == [
        ("note", "not-reversible", None, None),
        ("error", "dangling", 3, "smtp:gone@acme.example"),
        ("error", "dangling", 3, "smtp:nobody@merged.example"),
        ("error", "unreachable", 5, "fax:+3585551234"),
        ("warning", "group", 3, None),
    ]
    text = gatepost("check")
    assert text.exit_code == 1
    assert text.stdout.splitlines()[-1] == "3 errors, 1 warning, 1 note"
    assert "All (identity 3) holds More (identity 4) holds All (identity 3)" in text.stdout
    assert "and 4 more" in gatepost("check", "--limit", "1").stdout


def test_check_tells_copies_that_were_forgotten(folder: Path) -> None:
    said("set", "2", "home=internet", "copy_home=internet", "stage=coexisting")
    assert "still gets copies" not in said("check")
    said("set", "2", "stage=moved")
    (found,) = (f for f in told("check")["findings"] if f["kind"] == "leftover")
    assert found["identity"] == 2
    assert "copy_home=" in found["text"]


def test_check_tells_whom_a_network_cannot_answer(folder: Path) -> None:
    text = re.sub(r"(?m)^\[mapping.gates\]\n(?:\w+ = .*\n)+", "", CONFIG)
    text = re.sub(r"(?m)^gates = .*\n", "", text)
    (folder / "gatepost.toml").write_text(text)
    found = [f for f in told("check")["findings"] if f["kind"] == "unanswerable"]
    assert [f["text"].partition(":")[0] for f in found] == ["people of mhs cannot answer 1 with smtp addresses alone"]
    assert "mapping.gates" in found[0]["text"]


def test_check_tells_a_home_that_is_gone(folder: Path) -> None:
    said("set", "2", "home=internet")
    text = CONFIG.replace("connector.internet", "connector.outside").replace('"internet"', '"outside"')
    (folder / "gatepost.toml").write_text(text)
    assert "identities have their home at 'internet', which is no configured connector" in refused("check")


def test_check_tells_a_rule_that_leads_nowhere(folder: Path) -> None:
    (folder / "gatepost.toml").write_text(CONFIG.replace('match = "mhs:*"', 'match = "mhs:*@hq"'))
    said_ = gatepost("check")
    assert said_.exit_code == 1
    assert re.search(r"gatepost.toml:11: .*mhs:x@x", said_.output)


# -- the merger


MERGER = Path(__file__).parents[2] / "examples" / "merger"


@pytest.fixture
def merger(folder: Path) -> Path:
    """Two companies' directories, imported."""
    for file in MERGER.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    said("import", "acme-exchange.csv", "--source", "acme", "--home", "exchange")
    said("import", "bolt-domino.csv", "--source", "bolt", "--home", "domino")
    return folder


def test_conflicts_of_files_and_of_what_is_stored(folder: Path) -> None:
    (folder / "a.csv").write_text("name,smtp\nAnn Lee,ann@acme.example\nKim Oh,kim@acme.example\n")
    (folder / "b.csv").write_text("name,smtp\nA. Lee,ann@acme.example\nKIM,k\u0456m@acme.example\nX,x@\n")
    result = gatepost("conflicts", "a.csv", "b.csv")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == (
        "error: smtp:ann@acme.example is held by both 'Ann Lee' (a.csv, line 2) and 'A. Lee' (b.csv, line 2)"
    )
    assert "letters of another script" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("1 error, 1 warning")
    assert result.stderr.startswith("refused: b.csv, line 4, column smtp: 'x@'")
    found = json.loads(gatepost("conflicts", "a.csv", "b.csv", "--json").stdout)
    assert (found["ok"], found["conflicts"][0]["kind"], found["refused"][0]["file"]) == (False, "claimed", "b.csv")
    said("add", "Kathe", "smtp:kathe@merged.example")
    said("add", "K\u00e4the", "smtp:k\u00e4the@merged.example")
    found = told("conflicts")
    assert (found["conflicts"][0]["kind"], found["conflicts"][0]["ids"]) == ("accents", [3, 4])
    assert said("conflicts", "--no-notes") == "0 errors, 0 warnings, 0 notes\n"


def test_a_plan_is_proposed_reviewed_and_taken_over(merger: Path) -> None:
    proposed = told("plan", "--domain", "merged.example", "--german", "--out", "plan.csv")
    assert proposed["actions"] == {"keep": 0, "rename": 10, "join": 0, "drop": 0}
    assert proposed["collisions"] == [
        "chris.novak@merged.example is for 'Chris Novak' of acme; 'Chris Novak' of bolt gets cnovak@merged.example"
    ]
    assert len(told("log")["revisions"]) == 2
    sheet = (merger / "plan.csv").read_text("utf-8-sig").replace("rename,Jurgen Gross,", "join,Jurgen Gross,")
    (merger / "plan.csv").write_text(sheet.replace("sue.kim@merged.example", "sue@merged.example"), "utf-8-sig")
    done = told("plan", "--apply", "plan.csv", "--who", "kim", "--why", "the merger")
    assert (done["changed"], done["revision"]["changed"], done["revision"]["removed"]) == (True, 9, 1)
    assert (done["revision"]["who"], done["revision"]["why"]) == ("kim", "the merger")
    gross = addresses_of("juergen")
    assert (gross["smtp:juergen.gross@merged.example"], gross["smtp:jgross@bolt.example"]) == ("primary", "alias")
    assert told("explain", "smtp:sue.kim@bolt.example")["ends"][0]["to"] == "smtp:sue@merged.example"
    assert said("rollback", "3").splitlines()[-1] == "revision 4: 1 added, 9 changed, 0 removed"
    assert said("diff", "2") == "the two are equal\n"


def test_a_plan_of_files_is_taken_over_as_one_revision(folder: Path) -> None:
    for file in MERGER.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    files = ["acme-exchange.csv", "bolt-domino.csv"]
    homes = ["--home", "acme-exchange=exchange", "--home", "bolt-domino=domino"]
    text = said("plan", *files, *homes, "--domain", "merged.example", "--company", "bolt-domino", "--out", "plan.csv")
    assert "collision: chris.novak@merged.example is for 'Chris Novak' of bolt-domino" in text
    assert "'Bob Ray' of bolt-domino" in (folder / "plan.csv").read_text("utf-8-sig")
    done = told("plan", *files, *homes, "--apply", "plan.csv", "--company", "bolt-domino")
    assert (done["revision"]["number"], done["revision"]["added"]) == (1, 10)
    assert told("find", "smtp:sue.kim@merged.example")["identities"][0]["home"] == "domino"
    again = told("import", "bolt-domino.csv", "--home", "domino")
    assert (again["added"], again["changed"], again["removed"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "name the domain of the new addresses by --domain"),
        (("--domain", "merged.example", "--pattern", "{nick}"), "{nick} in '{nick}' is none of {first}"),
        (("--domain", "merged.example", "--pattern", "{first}.{last}"), "runs out of addresses"),
        (("--domain", "merged.example", "--company", "ajax"), "there is no company 'ajax'; there are: acme, bolt"),
        (("--domain", "merged.example", "--first", "ann"), "'ann' is no address"),
        (("--apply", "none.csv"), "none.csv cannot be read"),
        (("--apply", "bad.csv"), "bad.csv, line 2, column action: 'rule' is no action; there are: keep"),
    ],
)
def test_a_plan_that_cannot_be_made_or_taken_over(merger: Path, words: tuple[str, ...], reason: str) -> None:
    (merger / "bad.csv").write_text("action,new primary,key\nrule,,acme 1\n")
    assert reason in refused("plan", *words)
    assert len(told("log")["revisions"]) == 2


def test_help_of_every_command() -> None:
    names = ("explain", "find", "add", "set", "rm", "import", "export", "check", "conflicts", "plan", "log", "diff")
    for name in (*names, "rollback"):
        assert "Usage" in said(name, "--help")


# -- on a shared database


def test_on_a_shared_database(folder: Path, postgres_url: str) -> None:
    text = CONFIG.replace('name = "gw.merged.example"', f'name = "gw.merged.example"\nspool = "{postgres_url}"')
    (folder / "gatepost.toml").write_text(text)
    assert told("find", "ann")["identities"][0]["id"] == 1
    assert told("import", "acme.csv", "--dry-run")["added"] == 1
    assert told("log")["revisions"][0]["who"] == "configuration"
    assert told("add", "Zoe", "smtp:zoe@merged.example")["revision"] == 2
    assert told("import", "acme.csv", "people.csv")["revision"] == 3
    assert told("explain", "smtp:zoe@merged.example")["ends"][0]["connector"] == "internet"
    assert gatepost("check").exit_code == 0
    assert said("rollback", "3").splitlines()[-1].startswith("revision 4")


def test_a_change_is_made_from_what_is_stored_at_that_moment(folder: Path) -> None:
    desk = Desk(load(folder / "gatepost.toml", identities=False, dry=True))
    author = edit.Author("me", "")
    edit.change(desk, author, "1", ["attribute.a=1"])
    edit.change(Desk(desk.config), author, "1", ["attribute.b=2"])
    (who,) = history.find(desk, "1", 5)
    assert (who.attribute("a"), who.attribute("b")) == ("1", "2")
    with pytest.raises(DeskError, match="there is no identity 9"):
        edit.remove(desk, author, ["1", "9"])
    assert history.find(desk, "1", 5) == [who]
