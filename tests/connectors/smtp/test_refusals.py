"""What is left in the log and in the counts of a client's mail that is refused, whoever refused it."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.smtp.refusals import MOST_SHOWN, named
from gateway.contract import Recipient, Rejected, Status
from mappings.network import network

from .milter_kit import Filter, filtering
from .server_kit import Lines, MemoryIntake, serving
from .test_milter import sent

BOB = ("bob@acme.example",)
OF_US: dict[str, Any] = {"peer": "127.0.0.1", "helo": "client.example", "user": "", "sender": "<ann@other.example>"}


@pytest.mark.parametrize(
    ("config", "to", "code", "line"),
    [
        pytest.param(
            {"access": {"rules": [{"sender": "ann@*", "do": "reject", "text": "no mail of yours"}]}},
            BOB,
            550,
            {"check": "access", "step": "mail", "recipients": "", "why": "5.7.1 no mail of yours"},
            id="access at MAIL",
        ),
        pytest.param(
            {"access": {"rules": [{"recipient": "eve@*", "do": "tempfail", "text": "not now"}]}},
            ("bob@acme.example", "eve@acme.example"),
            250,
            {"check": "access", "step": "rcpt", "recipients": "<eve@acme.example>", "why": "4.7.1 not now"},
            id="access at RCPT",
        ),
        pytest.param(
            {"rate_limits": [{"by": "recipient", "limit": 1, "text": "enough"}]},
            ("bob@acme.example", "bob@acme.example", "eve@acme.example", "BOB@acme.example"),
            250,
            None,
            id="counted once a message",
        ),
        pytest.param(
            {"relay_networks": ()},
            ("bob@acme.example", "zoe@far.example"),
            250,
            {"check": "gateway", "step": "rcpt", "recipients": "<zoe@far.example>", "why": "5.7.1 relaying denied"},
            id="by the gateway",
        ),
        pytest.param(
            {"relay_networks": (), "max_messages_per_minute": 1},
            (),
            450,
            {
                "check": "gateway",
                "step": "mail",
                "recipients": "",
                "why": "4.7.1 too many messages from your address, try again later",
            },
            id="too many in a minute",
        ),
    ],
)
async def test_a_refusal_leaves_a_line(
    config: dict[str, Any], to: tuple[str, ...], code: int, line: dict[str, str] | None
) -> None:
    lines = Lines()
    async with serving(log=lines, **config) as served:
        client = await (await served.dial()).greeted()
        if not to:
            assert await client.say("MAIL FROM:<>", "RSET") == [250, 250]
        assert await sent(client, b"x\r\n", *(to or BOB)) == code
        assert lines.of("refused") == ([OF_US | line | {"cause": ""}] if line is not None else [])
        told = ("checks_refused", "recipients_refused", "messages_refused")
        assert sum(served.counts[each] for each in told) == (line is not None)
        await client.close()


async def test_a_refused_content_is_told_once_with_all_whom_it_was_for() -> None:
    lines = Lines()
    async with filtering(Filter(answers={"E": [b"y554 5.7.1 a virus\0"]})) as one:
        milters = [{"name": "clamav", "at": one.place, "client_names": False}]
        async with serving(log=lines, milters=milters) as served:
            client = await (await served.dial()).greeted()
            assert await sent(client, b"x\r\n", "bob@acme.example", "eve@acme.example") == 554
            await client.close()
    about = {"check": "clamav", "step": "content", "recipients": "<bob@acme.example> <eve@acme.example>"}
    assert lines.of("refused") == [OF_US | about | {"why": "5.7.1 a virus", "cause": ""}]


async def test_what_the_gateway_refuses_at_the_end_is_told() -> None:
    lines, intake = Lines(), MemoryIntake()

    async def loops() -> None:
        raise Rejected(Status("5.4.6", "mail loop", cause="40 hops"))

    intake.faults["accept"] = loops
    async with serving(log=lines, intake=intake) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client, b"x\r\n") == 554
        await client.close()
    about = {"check": "gateway", "step": "content", "recipients": "<bob@acme.example>"}
    assert lines.of("refused") == [OF_US | about | {"why": "5.4.6 mail loop", "cause": "40 hops"}]


def test_a_line_names_some_recipients() -> None:
    recipients = [Recipient(network("smtp").parse(f"r{n}@acme.example")) for n in range(MOST_SHOWN + 2)]
    assert named(recipients[:2]) == "<r0@acme.example> <r1@acme.example>"
    assert named(recipients).endswith("<r9@acme.example> and 2 more")
