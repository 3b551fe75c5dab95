"""Microsoft's schema is what decides: the check fails where it has to, and is not to be switched off in CI."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from tests.peers.ews import schema, soap
from tests.peers.ews.asking import Asker, letter
from tests.peers.ews.auth import Door
from tests.peers.ews.call import Call
from tests.peers.ews.control import Control
from tests.peers.ews.http import Asked
from tests.peers.ews.operations import HANDLERS
from tests.peers.ews.process import EwsPeer
from tests.peers.ews.server import Ews
from tests.peers.ews.soap import ENVELOPE, Element, M, S, T, element, under
from tests.peers.ews.store import Store
from tests.peers.process import answers, free_port, wait_until

needs_schema = pytest.mark.skipif(schema.folder() is None, reason="GATEPOST_EWS_SCHEMA is not set")


@needs_schema
def test_wrong_order_of_elements_is_refused_and_told(ews_peer: EwsPeer) -> None:
    asker = Asker(ews_peer.organisation("ann"))
    answer = asker.ask(
        '<m:GetItem><m:ItemIds><t:ItemId Id="x"/></m:ItemIds>'
        "<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape></m:GetItem>"
    )
    assert answer.status == 500
    assert answer.codes == ["ErrorSchemaValidation"]
    (violation,) = ews_peer.violations()
    assert "GetItem" in violation


@needs_schema
def test_the_header_is_validated_too(ews_peer: EwsPeer) -> None:
    here = ews_peer.organisation("ann")
    asker = Asker(here, mailbox="no address")
    assert asker.find().codes == ["ErrorNonExistentMailbox"]
    validator = schema.Validator()
    wrong = under(element(f"{S}Header"), [under(element(f"{T}ExchangeImpersonation"), [element(f"{T}Nobody")])])
    assert any("Nobody" in each for each in validator.header_errors(wrong))
    for version, fits in (("Exchange2013_SP1", True), ("Exchange2016", True), ("Exchange1999", False)):
        header = under(element(f"{S}Header"), [element(f"{T}RequestServerVersion", Version=version)])
        assert (validator.header_errors(header) == []) is fits
    answered = soap.parse(soap.envelope(soap.response("GetItem", [])))
    assert validator.header_errors(answered.find(f"{S}Header")) == []


@needs_schema
def test_an_answer_with_a_code_that_exchange_does_not_know_is_found() -> None:
    made = soap.response("GetItem", [soap.failure("GetItem", soap.ItemError("ErrorOfNobody"), element(f"{M}Items"))])
    assert any("ErrorOfNobody" in each for each in schema.Validator().errors(made))


@needs_schema
def test_an_answer_in_the_wrong_order_is_found() -> None:
    item = under(element(f"{T}Message"), [element(f"{T}Subject", "x"), element(f"{T}ItemId", Id="x")])
    made = soap.response("GetItem", [soap.success("GetItem", under(element(f"{M}Items"), [item]))])
    assert schema.Validator().errors(made)


@needs_schema
def test_the_order_is_the_schemas_own() -> None:
    order = schema.order("MessageType")
    assert order[:3] == ("MimeContent", "ItemId", "ParentFolderId")
    assert order.index("ExtendedProperty") < order.index("Sender") < order.index("ToRecipients")


def test_what_is_not_served_is_told(ews_peer: EwsPeer) -> None:
    asker = Asker(ews_peer.organisation("ann"))
    answer = asker.ask("<m:GetRoomLists/>")
    assert answer.codes == ["ErrorInvalidOperation"]
    assert any("GetRoomLists" in each for each in ews_peer.violations())


class _Wire:
    """What a connection is to the service, without a socket."""

    server = SimpleNamespace(tls=None)
    state: ClassVar[dict[str, object]] = {}
    status = 0

    def answer(self, status: int, *_: object, **__: object) -> None:
        self.status = status


def test_a_mistake_of_the_peer_s_own_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(call: Call) -> Element:
        raise KeyError("a mistake")

    monkeypatch.setenv("NTLM_USER_FILE", "")  # which the service sets
    monkeypatch.setitem(HANDLERS, "FindItem", broken)
    store = Store(":memory:")
    ews = Ews(store, Door(store, tmp_path))
    Control(ews).organisation("acme.example", ["ann"])
    body = (
        f'<s:Envelope xmlns:s="{ENVELOPE}" xmlns:m="{M[1:-1]}" xmlns:t="{T[1:-1]}"><s:Body>'
        '<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>'
        '<m:ParentFolderIds><t:DistinguishedFolderId Id="inbox"/></m:ParentFolderIds></m:FindItem>'
        "</s:Body></s:Envelope>"
    )
    login = base64.b64encode(b"ann@acme.example:secret").decode()
    wire = _Wire()
    ews.serve(wire, Asked("POST", "/EWS/Exchange.asmx", {"authorization": f"Basic {login}"}, body.encode()))  # type: ignore[arg-type]
    assert wire.status == 500
    assert "KeyError: 'a mistake'" in ews.violations[0]


def test_it_ends_with_the_run_that_started_it(tmp_path: Path) -> None:
    ports = [str(free_port()) for _ in range(3)]
    args = [sys.executable, "-m", "tests.peers.ews", "--folder", str(tmp_path)]
    args += [word for pair in zip(("--port", "--tls-port", "--control"), ports, strict=True) for word in pair]
    code = f"import subprocess, sys, time; print(subprocess.Popen({args!r}).pid, flush=True); time.sleep(600)"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        wait_until(lambda: answers(int(ports[2])), 60, "it listens")
        run.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or not answers(int(ports[2])), 60, "it has ended")


def test_without_the_schema_continuous_integration_stops(tmp_path: Path) -> None:
    env = {**os.environ, "CI": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    env.pop("GATEPOST_EWS_SCHEMA", None)
    args = ["--port", "0", "--tls-port", "0", "--control", "0", "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.peers.ews", *args],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "GATEPOST_EWS_SCHEMA" in done.stderr


def test_for_measurements_nothing_is_validated_and_nothing_logged() -> None:
    with EwsPeer(lean=True) as peer:
        here = peer.organisation("ann", honest=False)
        answer = Asker(here, mailbox=here.address("ann")).create(letter())
        assert answer.codes == ["NoError"]
        assert here.items("ann")[0].octets == letter()
        assert (here.log(), peer.violations()) == ([], [])
