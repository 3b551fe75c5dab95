"""Checks as the dialogue asks them: their order, what each verdict does, and that they can be neither slow nor lost."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.smtp import abreast, source
from connectors.smtp.abreast import step_done
from connectors.smtp.checks import Action, Check, Client, OnFault, Step, Transaction, Verdict, drop, refuse
from connectors.smtp.header_edits import Edit
from connectors.smtp.session import HANDED_OVER, Session
from gateway.contract import Content, Recipient
from mappings.network import network

from .server_kit import Served, certificate, serving, settled

ALL = ~Step(0)
Act = Callable[..., Awaitable[Verdict | None]]


class Scripted(Check):
    """Notes what it is asked, and says what its maker was told to say."""

    def __init__(self, maker: Maker) -> None:
        self.maker = maker

    async def _say(self, step: str, *of: Any) -> Verdict | None:
        self.maker.asked.append(step)
        act = self.maker.acts.get(step)
        return act if act is None or isinstance(act, Verdict) else await act(*of)

    async def connect(self, client: Client) -> Verdict | None:
        self.maker.client = client
        return await self._say("connect", client)

    async def helo(self, client: Client) -> Verdict | None:
        return await self._say("helo", client)

    async def mail(self, client: Client, transaction: Transaction) -> Verdict | None:
        return await self._say("mail", client, transaction)

    async def rcpt(self, client: Client, transaction: Transaction, recipient: Recipient) -> Verdict | None:
        return await self._say(f"rcpt {recipient.address.value}", client, transaction, recipient)

    async def content(self, client: Client, transaction: Transaction, content: Content) -> Verdict | None:
        self.maker.seen.append(content.octets())
        return await self._say("content", client, transaction, content)

    def reset(self) -> None:
        self.maker.asked.append("reset")

    def close(self) -> None:
        self.maker.asked.append("close")


class Maker:
    """A check for the tests; `acts` maps a step to a verdict, or to what gives one."""

    def __init__(
        self,
        acts: dict[str, Verdict | Act] | None = None,
        *,
        name: str = "scripted",
        steps: Step = ALL,
        timeout_s: float = 60.0,
        on_fault: OnFault = "tempfail",
    ) -> None:
        self.acts = acts or {}
        self.name = name
        self.steps = steps
        self.timeout_s = timeout_s
        self.on_fault: OnFault = on_fault
        self.asked: list[str] = []
        self.seen: list[bytes] = []
        self.client: Client | None = None

    def begin(self, client: Client) -> Check | None:
        return Scripted(self)

    def close(self) -> None:
        self.asked.append("maker closed")


class Quick(Scripted):
    """Says what it has to say of a content without waiting."""

    async def content_at_once(self, client: Client, transaction: Transaction, content: Content) -> Verdict | None:
        await step_done()
        self.maker.seen.append(content.octets())
        return await self._say("at once", client, transaction, content)


class QuickMaker(Maker):
    def begin(self, client: Client) -> Check | None:
        return Quick(self)


@asynccontextmanager
async def checking(
    monkeypatch: pytest.MonkeyPatch, *makers: Maker, tmp: Path = Path("/nonexistent"), **config: Any
) -> AsyncIterator[Served]:
    monkeypatch.setattr(source, "check_makers", lambda *_: list(makers))
    async with serving(tmp, **config) as served:
        yield served


MESSAGE = "Subject: hello\r\n\r\ntext\r\n.\r\n"


async def test_the_steps_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = Maker()
    async with checking(monkeypatch, maker) as served:
        client = await served.dial()
        assert await client.code() == 220
        lines = ["EHLO a.example", "MAIL FROM:<ann@other.example>", "RCPT TO:<bob@acme.example>"]
        lines += ["RCPT TO:<eve@acme.example>", "DATA"]
        assert await client.say(*lines) == [250, 250, 250, 250, 354]
        await client.send(MESSAGE.encode())
        assert await client.code() == 250
        assert await client.say("MAIL FROM:<ann@other.example>", "RSET", "MAIL FROM:<>", "QUIT") == [250, 250, 250, 221]
        await client.close()
        await settled(lambda: "close" in maker.asked)
        assert maker.asked == [
            "connect", "helo", "mail", "rcpt bob@acme.example", "rcpt eve@acme.example", "content", "reset",
            "mail", "reset", "mail", "close",
        ]  # fmt: skip
        assert maker.seen == [b"Subject: hello\r\n\r\ntext\r\n"]
        assert maker.client is not None
        assert (maker.client.address, maker.client.helo, maker.client.trusted) == ("127.0.0.1", "a.example", True)
    assert maker.asked[-1] == "maker closed"


async def test_without_checks_a_session_knows_of_none() -> None:
    async with serving() as served:
        client = await served.dial()
        await client.greeted()
        assert {type(each) for each in served.source._sessions} == {Session}
        await client.close()


REFUSED = refuse("5.7.1", "not wanted")


@pytest.mark.parametrize(
    ("acts", "codes"),
    [
        ({"connect": REFUSED}, [554]),
        ({"connect": refuse("4.7.1", "later")}, [421]),
        ({"helo": REFUSED}, [220, 250, 550, 503, 503]),
        ({"mail": refuse("4.7.1", "later")}, [220, 250, 450, 503, 503]),
        ({"mail": drop("5.7.1", "go")}, [220, 250, 521]),
        ({"rcpt bob@acme.example": refuse("4.7.1", "later")}, [220, 250, 250, 450, 554]),
        ({"rcpt bob@acme.example": drop("4.7.0", "go")}, [220, 250, 250, 421]),
        ({"content": REFUSED}, [220, 250, 250, 250, 354, 554]),
        ({"content": refuse("4.7.1", "later")}, [220, 250, 250, 250, 354, 451]),
        ({"content": drop("4.7.0", "go")}, [220, 250, 250, 250, 354, 421, 0]),
        ({"content": Verdict(action=Action.DISCARD)}, [220, 250, 250, 250, 354, 250]),
        ({"mail": Verdict(action=Action.DISCARD)}, [220, 250, 250, 250, 354, 250]),
    ],
)
async def test_what_a_verdict_does(
    acts: dict[str, Verdict | Act], codes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with checking(monkeypatch, Maker(acts)) as served:
        client = await served.dial()
        # Everything at once: the replies keep the order of the commands whatever is awaited.
        lines = ["EHLO a", "MAIL FROM:<ann@other.example>", "RCPT TO:<bob@acme.example>", "DATA"]
        await client.send("".join(f"{line}\r\n" for line in lines).encode())
        got = []
        for n in range(len(codes)):
            if n == 5:
                await client.send(MESSAGE.encode())
            got.append(await client.code())
        assert got == codes
        assert served.intake.messages == []
        await client.close()


async def test_a_recipient_that_is_refused_is_none_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    async with checking(monkeypatch, Maker({"rcpt eve@acme.example": REFUSED})) as served:
        client = await (await served.dial()).greeted()
        lines = ["MAIL FROM:<>", "RCPT TO:<eve@acme.example>", "RCPT TO:<bob@acme.example>", "DATA"]
        assert await client.say(*lines) == [250, 550, 250, 354]
        await client.send(MESSAGE.encode())
        assert await client.code() == 250
        assert served.intake.paths == [("", ["bob@acme.example"])]
        assert served.counts["checks_refused"] == 1
        await client.close()


async def test_changes_are_made_and_the_next_check_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    smtp = network("smtp").parse

    async def at_mail(client: Client, transaction: Transaction) -> Verdict:
        return Verdict(edits=(Edit("Received-SPF", "pass", at=0),))

    changes = Verdict(
        edits=(Edit("X-Scanned", "yes\nSubject: forged"), Edit("Subject", "[list] hello", nth=1)),
        reverse_path=smtp("bounce@acme.example"),
        replaced_path=True,
        add=(Recipient(smtp("log@acme.example")),),
        remove=(smtp("bob@acme.example"),),
        hold="looks odd",
    )
    first, second = Maker({"mail": at_mail, "content": changes}), Maker(name="second")
    async with checking(monkeypatch, first, second) as served:
        client = await (await served.dial()).ready("ann@other.example", "bob@acme.example", "eve@acme.example")
        await client.send(MESSAGE.encode())
        assert await client.code() == 250
        assert first.seen == [b"Received-SPF: pass\r\nSubject: hello\r\n\r\ntext\r\n"]
        after = b"Received-SPF: pass\r\nSubject: [list] hello\r\nX-Scanned: yes\r\n Subject: forged\r\n\r\ntext\r\n"
        assert second.seen == served.intake.bodies == [after]
        assert served.intake.paths == [("bounce@acme.example", ["eve@acme.example", "log@acme.example"])]
        assert served.intake.messages[0].envelope.hold == "looks odd"
        await client.close()


async def test_who_has_nobody_left_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = Verdict(remove=(network("smtp").parse("bob@acme.example"),))
    async with checking(monkeypatch, Maker({"content": nobody})) as served:
        client = await (await served.dial()).ready()
        await client.send(MESSAGE.encode())
        assert await client.code() == 554
        assert served.intake.messages == []
        await client.close()


async def test_another_body_takes_the_place_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    big = b"x" * 98 + b"\r\n"

    async def rewrite(client: Client, transaction: Transaction, content: Content) -> Verdict:
        assert transaction.new_content is not None
        writer = transaction.new_content()
        writer.write(b"Subject: new\r\n\r\n" + big * 3000)
        return Verdict(content=await writer.finish())

    async with checking(monkeypatch, Maker({"content": rewrite})) as served:
        client = await (await served.dial()).ready()
        await client.send(b"Subject: old\r\n\r\n" + big * 4000 + b".\r\n")
        assert await client.code() == 250
        assert served.intake.bodies == [b"Subject: new\r\n\r\n" + big * 3000]
        assert served.intake.writers[0].abandoned
        await client.close()


async def test_the_body_of_a_check_that_failed_after_it_is_not_the_one_that_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    big = b"x" * 98 + b"\r\n"

    async def rewrite(client: Client, transaction: Transaction, content: Content) -> Verdict:
        assert transaction.new_content is not None
        writer = transaction.new_content()
        writer.write(b"Subject: new\r\n\r\n" + big * 3000)
        return Verdict(content=await writer.finish())

    async def fail(client: Client, transaction: Transaction, content: Content) -> Verdict:
        assert transaction.new_content is not None
        transaction.new_content().write(b"Subject: half\r\n\r\n" + big * 2000)
        raise RuntimeError("lost in the middle")

    makers = Maker({"content": rewrite}), Maker({"content": fail}, on_fault="accept")
    async with checking(monkeypatch, *makers) as served:
        client = await (await served.dial()).ready()
        await client.send(b"Subject: old\r\n\r\n" + big * 4000 + b".\r\n")
        assert await client.code() == 250
        assert served.intake.bodies == [b"Subject: new\r\n\r\n" + big * 3000]
        assert [writer.abandoned for writer in served.intake.writers] == [True, False, True]
        await client.close()


@pytest.mark.parametrize(("on_fault", "code"), [("accept", 250), ("tempfail", 451), ("reject", 554)])
@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_a_check_that_fails_does_what_was_said(
    how: str, on_fault: OnFault, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> Verdict | None:
        if how == "raises":
            raise RuntimeError("no idea")
        await asyncio.sleep(3600)
        return None

    maker = Maker({"content": fail}, on_fault=on_fault, timeout_s=0.05)
    async with checking(monkeypatch, maker) as served:
        client = await (await served.dial()).ready()
        await client.send(MESSAGE.encode())
        assert await client.code() == code
        assert len(served.intake.messages) == (code == 250)
        assert served.counts["check_faults"] == 1
        await client.close()


async def _fail(*_: object) -> Verdict | None:
    raise RuntimeError("no idea")


@pytest.mark.parametrize(
    ("act", "code", "bodies"),
    [
        (None, 250, [b"Subject: hello\r\n\r\ntext\r\n"]),
        (Verdict(edits=(Edit("X", "1", at=0),)), 250, [b"X: 1\r\nSubject: hello\r\n\r\ntext\r\n"]),
        (Verdict(remove=(network("smtp").parse("bob@acme.example"),)), 554, []),
        (REFUSED, 554, []),
        (drop("4.7.1", "not now"), 421, []),
        (Verdict(action=Action.DISCARD), 250, []),
        (_fail, 451, []),
    ],
)
async def test_what_needs_no_waiting_is_said_at_once(
    act: Verdict | Act | None, code: int, bodies: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = QuickMaker({} if act is None else {"at once": act})
    async with checking(monkeypatch, maker) as served:
        client = await (await served.dial()).ready()
        await client.send(MESSAGE.encode())
        assert await client.code() == code
        assert served.intake.bodies == bodies
        assert maker.asked.count("at once") == 1
        assert "content" not in maker.asked
        assert served.counts.get("check_faults", 0) == (act is _fail)
        await client.close()


async def test_who_must_wait_goes_on_from_where_the_others_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    first = QuickMaker({"at once": Verdict(edits=(Edit("X", "1", at=0),), hold="look at it")})
    makers = first, Maker({"content": Verdict(edits=(Edit("Y", "2", at=0),))}), QuickMaker()
    async with checking(monkeypatch, *makers) as served:
        client = await (await served.dial()).ready()
        for _ in range(2):
            await client.send(MESSAGE.encode())
            assert await client.code() == 250
            assert await client.say("MAIL FROM:<ann@other.example>", "RCPT TO:<bob@acme.example>", "DATA") == [
                250, 250, 354,
            ]  # fmt: skip
        asked = [[each for each in maker.asked if each in ("at once", "content")] for maker in makers]
        assert asked == [["at once"] * 2, ["content"] * 2, ["content"] * 2]
        came = b"Subject: hello\r\n\r\ntext\r\n"
        seen = [came, b"X: 1\r\n" + came, b"Y: 2\r\nX: 1\r\n" + came]
        assert [maker.seen for maker in makers] == [[each] * 2 for each in seen]
        assert served.intake.bodies == [seen[2]] * 2
        assert {message.envelope.hold for message in served.intake.messages} == {"look at it"}
        await client.close()


async def test_of_a_client_that_goes_meanwhile_nothing_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abreast, "PATIENCE", 5000)
    monkeypatch.setattr(abreast, "_MOST_TURNS", 5000)
    maker = QuickMaker()
    async with checking(monkeypatch, maker) as served:
        client = await (await served.dial()).ready()
        (session,) = served.source._sessions
        other = await (await served.dial()).greeted()  # who could join it, so that it waits
        await client.send(MESSAGE.encode())
        await settled(lambda: session._task is HANDED_OVER)
        raw = client.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
        await settled(lambda: session not in served.source._sessions)
        await settled(lambda: session._task is None)
        assert served.intake.messages == []
        await other.close()


@pytest.mark.parametrize("step", ["connect", "helo", "mail", "rcpt bob@acme.example", "content"])
@pytest.mark.parametrize("who", ["client", "node"])
async def test_a_check_under_way_is_given_up(step: str, who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def hang(*_: object) -> Verdict | None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()
        return None

    async with checking(monkeypatch, Maker({step: hang}), stop_s=20.0) as served:
        client = await served.dial()
        lines = ["EHLO a", "MAIL FROM:<ann@other.example>", "RCPT TO:<bob@acme.example>", "DATA"]
        await client.send("".join(f"{line}\r\n" for line in lines).encode() + MESSAGE.encode())
        await asyncio.wait_for(began.wait(), 60)
        if who == "client":
            # A reset: who has only shut its side may still wait for the answer.
            raw = client.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.writer.transport.abort()
        else:
            await asyncio.wait_for(served.stopped(), 15)  # not after the check's own time
            codes = []
            while (code := await client.code()) != 0:
                codes.append(code)
            assert codes[-1] == 421
        await asyncio.wait_for(ended.wait(), 60)
        await settled(lambda: not served.source._sessions)
        assert served.intake.messages == []
        assert all(writer.abandoned for writer in served.intake.writers)


async def test_tls_has_the_client_said_who_it_is_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key, trusts = certificate(tmp_path)
    maker = Maker()
    async with checking(monkeypatch, maker, tmp=tmp_path, tls_cert=str(cert), tls_key=str(key)) as served:
        client = await (await served.dial()).greeted("first.example")
        assert await client.say("MAIL FROM:<>", "RSET", "STARTTLS") == [250, 250, 220]
        await client.writer.start_tls(trusts, server_hostname="gw.example")
        assert await client.say("EHLO first.example", "MAIL FROM:<>") == [250, 250]
        assert maker.asked == ["connect", "helo", "mail", "reset", "helo", "mail"]
        assert maker.client is not None
        assert maker.client.tls.startswith("TLS")
        assert await client.say("QUIT") == [221]
        await client.close()


@pytest.mark.parametrize(
    ("verdict", "codes"),
    [
        (None, [250, 250]),
        (REFUSED, [554, 554]),
        (Verdict(action=Action.DISCARD), [250, 250]),
        (drop("4.7.0", "go"), [421]),
    ],
)
async def test_over_lmtp_each_recipient_is_answered(
    verdict: Verdict | None, codes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    acts: dict[str, Verdict | Act] = {} if verdict is None else {"content": verdict}
    async with checking(monkeypatch, Maker(acts), protocol_in="lmtp") as served:
        client = await served.dial()
        assert await client.code() == 220
        lines = ["LHLO a", "MAIL FROM:<>", "RCPT TO:<bob@acme.example>", "RCPT TO:<eve@acme.example>", "DATA"]
        assert await client.say(*lines) == [250, 250, 250, 250, 354]
        await client.send(MESSAGE.encode())
        assert [await client.code() for _ in codes] == codes
        await client.close()


async def test_chunks_are_judged_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = Maker()
    async with checking(monkeypatch, maker) as served:
        client = await (await served.dial()).greeted()
        lines = b"MAIL FROM:<>\r\nRCPT TO:<bob@acme.example>\r\nBDAT 9\r\nA: b\r\n\r\nBDAT 3 LAST\r\nx\r\n"
        await client.send(lines.replace(b"BDAT 9", b"BDAT 8"))
        assert [await client.code() for _ in range(4)] == [250, 250, 250, 250]
        assert maker.seen == served.intake.bodies == [b"A: b\r\n\r\nx\r\n"]
        await client.close()


async def test_a_client_is_kept_waiting_by_its_own_check_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = asyncio.Event()

    async def slow(client: Client, transaction: Transaction) -> None:
        if transaction.mail.path.startswith("slow"):
            await go_on.wait()

    async with checking(monkeypatch, Maker({"mail": slow})) as served:
        waits, other = await (await served.dial()).greeted(), await (await served.dial()).greeted()
        # More than is read ahead, so that reading stops meanwhile, and goes on.
        await waits.send(b"MAIL FROM:<slow@x.example>\r\n" + b"NOOP\r\n" * 20_000)
        assert await other.say("MAIL FROM:<ann@x.example>") == [250]
        go_on.set()
        assert await waits.code() == 250
        assert await waits.code() == 250
        await waits.close()
        await other.close()
