"""A real OpenLDAP server is read, whole and then what changed; and servers that lie, hang or stammer do no harm."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mappings import ldap_server, live_ldap
from mappings import ldap_wire as wire
from mappings.formats import ldap_entry
from mappings.formats.people import People
from mappings.identity import Identity, Kind, Role
from mappings.ldap_server import DirectoryError, Server
from mappings.live_ldap import Fetched, fetch
from mappings.network import registry
from tests.mappings.test_ldap_wire import control, done, element, entry, message, octets
from tests.peers.process import free_port
from tests.peers.slapd import ADMIN, PASSWORD, SUFFIX, Slapd

ANN = f"cn=Ann Lee,{SUFFIX}"
BOB = f"cn=Bob,{SUFFIX}"
TEAM = f"cn=Team,{SUFFIX}"
PERSON = ["inetOrgPerson", "addressed"]


def fill(slapd: Slapd) -> None:
    """Make Ann, Bob, their team, and a printer without an address."""
    slapd.add(SUFFIX, ["dcObject", "organization"], dc="acme", o="Acme")
    slapd.add(
        ANN,
        PERSON,
        sn="Lee",
        givenName="Ann",
        mail="ann@acme.example",
        proxyAddresses=["SMTP:ann@acme.example", "smtp:al@acme.example", "X500:/o=Acme/cn=ann"],
        legacyExchangeDN="/o=Acme/ou=HQ/cn=alee",
    )
    slapd.add(BOB, PERSON, sn="Bob", mail="bob@acme.example", mhsAddress="bob@sales", oldMail="rob@old.example")
    slapd.add(TEAM, ["group", "addressed"], mail="team@acme.example", member=[ANN, BOB])
    slapd.add(f"cn=printer,{SUFFIX}", ["device"])


@pytest.fixture(params=["sync", "time"])
def slapd(request: pytest.FixtureRequest) -> Iterator[Slapd]:
    with Slapd(sync="syncprov-sessionlog 1000" if request.param == "sync" else "") as server:
        fill(server)
        yield server


def server_of(slapd: Slapd, **more: Any) -> Server:
    return replace(Server(slapd.url, SUFFIX, user=ADMIN, password=PASSWORD), **more)


def people(fetched: Fetched) -> dict[str, Identity]:
    return {e.identity.name: e.identity for e in fetched.reading.entries}


def shown(identity: Identity) -> list[str]:
    return [f"{h.role.value} {h.address}" for h in identity.addresses]


def refs(fetched: Fetched) -> dict[str, str]:
    return {e.identity.attribute("ref") or "": e.identity.name for e in fetched.reading.entries}


def test_a_directory_is_read_whole(slapd: Slapd) -> None:
    fetched = fetch(server_of(slapd), registry())
    assert fetched.is_whole
    assert not fetched.reading.problems
    found = people(fetched)
    assert sorted(found) == ["Ann Lee", "Bob", "Team"]
    assert [each for each in shown(found["Ann Lee"]) if "smtp:" in each] == [
        "primary smtp:ann@acme.example",
        "alias smtp:al@acme.example",
    ]
    assert "primary x500:/o=Acme/ou=HQ/cn=alee" in shown(found["Ann Lee"])
    assert found["Team"].kind is Kind.GROUP
    assert [str(member) for member in found["Team"].members] == ["smtp:ann@acme.example", "smtp:bob@acme.example"]
    assert all(uuid.UUID(ref) for ref in refs(fetched))
    assert fetched.present == frozenset(refs(fetched))


def test_then_what_has_changed_is_read(slapd: Slapd) -> None:
    server = server_of(slapd)
    first = fetch(server, registry())
    second = fetch(server, registry(), first.state)
    assert not second.is_whole
    assert list(second.gone(refs(first))) == []
    slapd.modify(BOB, mail=["robert@acme.example"])
    slapd.add(f"cn=Dora,{SUFFIX}", PERSON, sn="Dora", mail="dora@acme.example")
    third = fetch(server, registry(), second.state)
    assert not third.is_whole
    assert shown(people(third)["Bob"]) == ["primary smtp:robert@acme.example"]
    assert "Dora" in people(third)
    assert refs(third).items() & refs(first).items(), "the entry is known again"
    slapd.delete(BOB)
    slapd.modify(f"cn=Dora,{SUFFIX}", mail=[])  # without an address it is no longer sought
    fourth = fetch(server, registry(), third.state)
    assert not fourth.is_whole
    known = refs(first) | refs(third)
    assert sorted(known[ref] for ref in fourth.gone(known)) == ["Bob", "Dora"]


@pytest.mark.parametrize("most", [1000, 1], ids=["one by one", "all at once"])
def test_a_changed_group_names_members_that_did_not_change(
    slapd: Slapd, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_ldap, "_MAX_LOOK_UPS", most)
    monkeypatch.setattr(live_ldap, "_OVERLAP", timedelta(seconds=-1))
    server = server_of(slapd)
    first = fetch(server, registry())
    if first.how == "time":
        time.sleep(1.1)  # a time of change has whole seconds
    slapd.modify(TEAM, description=["new"])
    fetched = fetch(server, registry(), first.state)
    assert not fetched.is_whole
    assert list(people(fetched)) == ["Team"], "members that were looked up are not taken for changed"
    assert [str(m) for m in people(fetched)["Team"].members] == ["smtp:ann@acme.example", "smtp:bob@acme.example"]


def test_another_question_is_answered_whole(slapd: Slapd) -> None:
    state = fetch(server_of(slapd), registry()).state
    assert fetch(server_of(slapd, filter="(cn=Ann*)"), registry(), state).is_whole
    assert fetch(server_of(slapd, attributes={"description": "mail"}), registry(), state).is_whole
    for nonsense in ("", "x", "[]", "null", '{"how": "sync"}', state.replace('"sync"', '"odd"')[:-3]):
        assert fetch(server_of(slapd), registry(), nonsense).is_whole


def test_a_forgotten_cookie_is_answered_whole() -> None:
    with Slapd() as slapd:
        fill(slapd)
        server = server_of(slapd)
        first = fetch(server, registry())
        state = json.loads(first.state)
        state["cookie"] = "cmlkPTAwMCxjc249MjAyMDAxMDEwMDAwMDAuMDAwMDAwWiMwMDAwMDAjMDAwIzAwMDAwMA=="  # of 2020
        again = fetch(server, registry(), json.dumps(state))
        assert people(again) == people(first)
        state["cookie"] = "not base64"
        assert fetch(server, registry(), json.dumps(state)).is_whole


def test_a_server_without_a_log_names_what_is_there() -> None:
    """Then the entries that are there and unchanged come by their numbers alone, and what is gone is not among them."""
    with Slapd(sync="# no session log") as slapd:
        fill(slapd)
        server = server_of(slapd)
        first = fetch(server, registry())
        slapd.modify(BOB, mail=["robert@acme.example"])
        slapd.delete(ANN)
        second = fetch(server, registry(), first.state)
        assert second.how == "sync"
        assert "Bob" in people(second)
        assert [refs(first)[ref] for ref in second.gone(refs(first))] == ["Ann Lee"]


def test_attributes_are_given_a_meaning(slapd: Slapd) -> None:
    meaning = {"mhsAddress": "network:mhs", "oldMail": "former:smtp", "description": "mail", "givenName": ""}
    slapd.modify(ANN, mail=[], proxyAddresses=[], legacyExchangeDN=[], description=["ann.lee@acme.example"])
    found = people(fetch(server_of(slapd, attributes=meaning), registry()))
    assert shown(found["Bob"]) == [
        "primary smtp:bob@acme.example",
        "primary mhs:bob@sales",
        "former smtp:rob@old.example",
    ]
    assert [h.role for h in found["Bob"].of("smtp")] == [Role.PRIMARY, Role.FORMER]
    assert shown(found["Ann Lee"]) == ["primary smtp:ann.lee@acme.example"]
    assert found["Ann Lee"].attribute("first") is None
    assert people(fetch(server_of(slapd), registry())).keys() == {"Bob", "Team"}


def test_one_bad_entry_is_a_problem_with_its_name(slapd: Slapd) -> None:
    slapd.modify(BOB, proxyAddresses=["smtp:a..b@acme.example"])
    fetched = fetch(server_of(slapd), registry())
    [problem] = fetched.reading.problems
    assert problem.message.startswith(f"{BOB}: 'a..b@acme.example': ")
    assert len(fetched.reading.entries) == 3


def test_pages_are_asked_for_one_after_the_other() -> None:
    with Slapd(sync="", settings="sizelimit size.soft=10 size.hard=10 size.prtotal=35") as slapd:
        slapd.add(SUFFIX, ["dcObject", "organization"], dc="acme", o="Acme")
        for number in range(35):
            slapd.add(f"cn=p{number},{SUFFIX}", PERSON, sn="p", mail=f"p{number}@acme.example")
        anybody = Server(slapd.url, SUFFIX, page_size=10)
        assert len(fetch(anybody, registry()).reading.entries) == 35
        with pytest.raises(DirectoryError, match="more than 34 entries; narrow the filter"):
            fetch(replace(anybody, max_entries=34), registry())
        slapd.add(f"cn=one too many,{SUFFIX}", PERSON, sn="p", mail="p@acme.example")
        with pytest.raises(DirectoryError, match="the server gives no more entries to this user; raise its limit"):
            fetch(anybody, registry())


def test_a_limit_of_the_server_is_no_whole_directory() -> None:
    with Slapd(settings="sizelimit 3") as slapd:
        fill(slapd)
        with pytest.raises(DirectoryError, match="gives no more entries to this user"):
            fetch(Server(slapd.url, SUFFIX, filter="(objectClass=*)"), registry())


def test_a_domain_controller_is_asked_by_sequence_numbers() -> None:
    ann, bob = uuid.uuid4(), uuid.uuid4()
    with Slapd(committed=10) as slapd:
        slapd.add(SUFFIX, ["dcObject", "organization"], dc="acme", o="Acme")
        slapd.add(ANN, PERSON, sn="Lee", mail="ann@acme.example", objectGUID=ann.bytes_le, uSNChanged=5)
        slapd.add(BOB, PERSON, sn="Bob", mail="bob@acme.example", objectGUID=bob.bytes_le, uSNChanged=10)
        # entryUUID comes first where a server has both, which a domain controller has not
        server = server_of(slapd, attributes={"entryUUID": ""})
        first = fetch(server, registry())
        assert (first.how, first.is_whole) == ("usn", True)
        assert refs(first) == {str(ann): "Ann Lee", str(bob): "Bob"}
        slapd.modify(ANN, mail=["ann.lee@acme.example"], uSNChanged=[11])
        slapd.delete(BOB)
        second = fetch(server, registry(), first.state)
        assert not second.is_whole
        assert shown(people(second)["Ann Lee"]) == ["primary smtp:ann.lee@acme.example"]
        assert list(second.gone(refs(first))) == [str(bob)]
        elsewhere = json.loads(second.state) | {"controller": "CN=NTDS Settings,CN=DC2"}
        assert fetch(server, registry(), json.dumps(elsewhere)).is_whole, "numbers are of one controller alone"


def test_certificates_are_verified(slapd: Slapd, tmp_path: Path) -> None:
    trusting = server_of(slapd, ca_file=str(slapd.ca_file))
    assert len(fetch(replace(trusting, url=slapd.tls_url), registry()).reading.entries) == 3
    clear = f"ldap://localhost:{slapd.port}"
    assert len(fetch(replace(trusting, url=clear, start_tls=True), registry()).reading.entries) == 3
    for distrusting in (
        replace(trusting, url=slapd.tls_url, ca_file=None),
        replace(trusting, url=slapd.tls_url.replace("localhost", "127.0.0.1")),
        replace(trusting, url=slapd.url, start_tls=True),
        replace(trusting, url=clear, start_tls=True, ca_file=None),
    ):
        with pytest.raises(DirectoryError, match=r"no connection to .*(certificate|CERTIFICATE)"):
            fetch(distrusting, registry())
    (tmp_path / "empty").write_text("")
    with pytest.raises(DirectoryError, match=r"the certificates in .* cannot be read"):
        fetch(replace(trusting, url=slapd.tls_url, ca_file=str(tmp_path / "empty")), registry())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "ldap://ldap.example"}, "the password would go to ldap.example in the clear; write ldaps://"),
        ({"url": "http://x"}, "'http://x' is no URL of a server; write ldaps://host"),
        ({"url": "ldap://x:port"}, "is no URL of a server"),
        ({"url": "ldaps://x/dc=acme"}, "is no URL of a server"),
        ({"password": ""}, "a user without a password is taken for anybody"),
        ({"page_size": 0}, "page_size and max_entries are 1 or more"),
        ({"attributes": {"x": "netwrk:mhs"}}, "the attribute x is to be 'netwrk:mhs'; write an attribute's name"),
        (
            {"attributes": {"x": "network:no-such"}},
            "the attribute x is to be 'network:no-such': 'no-such' is not a net",
        ),
        ({"attributes": {"x)(": "mail"}}, r"'x\)\(' is no attribute's name"),
    ],
)
def test_a_question_that_is_not_to_be_asked(change: dict[str, Any], message: str) -> None:
    server = Server("ldap://127.0.0.1:9", SUFFIX, user=ADMIN, password=PASSWORD)
    with pytest.raises(DirectoryError, match=message):
        fetch(replace(server, **change), registry())


def test_what_the_server_refuses_is_told() -> None:
    with Slapd() as slapd:
        slapd.add(SUFFIX, ["dcObject", "organization"], dc="acme", o="Acme")
        server = server_of(slapd)
        changes: list[tuple[dict[str, Any], str]] = [
            ({"password": "wrong"}, "does not take the user 'cn=admin,dc=acme,dc=example' and the password"),
            ({"base": "dc=other"}, "there is no entry 'dc=other'; correct the base"),
            ({"base": "nonsense"}, "'nonsense' is no name of an entry; correct the base"),
            ({"filter": "(cn=("}, r"the filter '\(cn=\(' or the base .* cannot be sent"),
            ({"url": f"ldap://127.0.0.1:{free_port()}"}, "no connection to 127.0.0.1"),
        ]
        for change, said in changes:
            with pytest.raises(DirectoryError, match=said):
                fetch(replace(server, **change), registry())
        assert PASSWORD not in repr(server)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ldap3", None)
    with pytest.raises(DirectoryError, match=r"needs the extra gatepost\[ldap\]"):
        fetch(Server("ldap://127.0.0.1:9", SUFFIX), registry())


def test_all_that_an_entry_is_read_for_is_asked_for() -> None:
    names: set[str] = set()

    class Listening(dict[str, list[bytes]]):
        def get(self, name: str, default: Any = None) -> Any:
            names.add(name)
            return [b"group"] if name == "objectclass" else default

    ldap_entry.take(People(registry()), 1, "cn=x", Listening())
    assert names - {name.lower() for name in ldap_server.ATTRIBUTES} == set()
    assert {name.lower() for name in ldap_server.ATTRIBUTES} - names == set()


# -- servers that are none


class Scripted:
    """Answers each request with the octets that the next function of a script makes of its number; then is silent."""

    def __init__(self, *script: Callable[[int], bytes]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ldap://127.0.0.1:{self._listener.getsockname()[1]}"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        peer, _ = self._listener.accept()
        with peer:
            buffer = b""
            for answer in self._script:
                while (size := wire.size_of(buffer)) is None or len(buffer) < size:
                    piece = peer.recv(4096)
                    if not piece:
                        return
                    buffer += piece
                number = int.from_bytes(buffer[4 : 4 + buffer[3]], "big") if buffer[1] < 0x80 else _number(buffer)
                buffer = buffer[size:]
                peer.sendall(answer(number))
            self._over.wait(10)


def _number(request: bytes) -> int:
    start = 2 + (request[1] & 0x7F)
    return int.from_bytes(request[start + 2 : start + 2 + request[start + 1]], "big")


def bound(number: int) -> bytes:
    return message(number, element(0x61, element(0x0A, b"\x00"), octets(""), octets("")))


def rootless(number: int) -> bytes:
    return message(number, done())


PAGE = control(wire.PAGED, element(0x30, element(0x02, b"\x00"), octets("")))


def test_values_in_ranges_are_gathered() -> None:
    def first(number: int) -> bytes:
        group: dict[str, list[str | bytes]] = {
            "objectClass": ["group"],
            "mail": ["team@x.example"],
            "rfc822MailMember;range=0-1": ["a@x.example", "b@x.example"],
        }
        return message(number, entry("cn=team", **group)) + message(number, done(), PAGE)

    def second(number: int) -> bytes:
        more: dict[str, list[str | bytes]] = {"rfc822MailMember;range=2-3": ["c@x.example", "d@x.example"]}
        return message(number, entry("cn=team", **more)) + message(number, done())

    def third(number: int) -> bytes:
        more: dict[str, list[str | bytes]] = {"rfc822MailMember;range=4-*": ["e@x.example"]}
        return message(number, entry("cn=team", **more)) + message(number, done())

    with Scripted(bound, rootless, first, second, third) as scripted:
        fetched = fetch(Server(scripted.url, "dc=x"), registry())
    [group] = [e.identity for e in fetched.reading.entries]
    assert [m.value for m in group.members] == [f"{name}@x.example" for name in "abcde"]
    assert fetched.state == "", "nothing tells when it changed, so that it is read whole each time"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak LDAP: a message begins with the octet 0x30"),
        (lambda _: b"\x30\x84\xff\xff\xff\xff", "sends a message of 4294967301 octets"),
        (lambda n: message(n + 1, done()), "answers what was not asked"),
        (lambda n: message(n, b"\x64\x02\x04\x00"), "does not speak LDAP: an entry is not a name and attributes"),
        (
            lambda _: message(0, element(0x78, element(0x0A, b"\x34"), octets(""), octets("bye"))),
            "ends the session: bye",
        ),
        (lambda n: message(n, done(80, "oops")), r"the server says 80 \(oops\)"),
        (lambda _: b"", "did not answer within 1 s"),
        (lambda _: b"\x30", "did not answer within 1 s"),
    ],
)
def test_a_server_that_is_none_is_told_of(answer: Callable[[int], bytes], said: str) -> None:
    with (
        Scripted(bound, rootless, answer) as scripted,
        pytest.raises(DirectoryError, match=said),
    ):
        fetch(Server(scripted.url, "dc=x", answer_timeout_s=1), registry())


def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    with Scripted(lambda _: b"") as scripted, pytest.raises(DirectoryError, match="no connection to"):
        fetch(Server(scripted.url, "dc=x", answer_timeout_s=1), registry())


def test_all_of_it_takes_no_longer_than_it_may() -> None:
    now = iter([0.0, 1.0, *[99.0] * 10])
    with (
        Scripted(bound, rootless, lambda _: b"") as scripted,
        pytest.raises(DirectoryError, match="more than 50 s in all"),
    ):
        fetch(Server(scripted.url, "dc=x", total_timeout_s=50), registry(), clock=lambda: next(now))
