"""Five hundred mailboxes watched by one worker: threads, memory, requests and patience are bounded, and told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.connectors.exchange.ews.kit import mail
from tests.peers.ews.process import EwsCompany, EwsPeer
from tests.peers.gateway import Gateway
from tests.peers.process import descendants, vm_rss_bytes, wait_until
from tests.peers.sink import Sink

MAILBOXES: Final = 500
STREAMS: Final = 3
CONNECTIONS: Final = 4
POLL_S: Final = 10
MIB: Final = 1024 * 1024
PATIENCE_S: Final = 400.0
AT_REST_S: Final = 10.0
MAILS: Final = 20

CONFIG: Final = """
[connector.office]
type = "ews"
url = "{url}"
auth = "basic"
username = "{username}"
password = "{password}"
mailboxes_file = "mailboxes.csv"
max_connections = {connections}
max_streams = {streams}
requests_per_s = 500
poll_s = {poll}
"""


def gateway(folder: Path, company: EwsCompany, next_hop: int, names: list[str]) -> Gateway:
    folder.mkdir()
    rows = [f"{company.address(each)},inbox,olga@out.example,true" for each in names]
    (folder / "mailboxes.csv").write_text("\n".join(["mailbox,folder,recipients,trusted", *rows, ""]))
    access = {key: str(value) for key, value in company.access().items()}
    more = CONFIG.format(**access, connections=CONNECTIONS, streams=STREAMS, poll=POLL_S)
    return Gateway(folder, next_hop, connector=more)


def threads(made: Gateway) -> int:
    """Return how many threads the process has that has most."""
    return max(len(list(Path(f"/proc/{each}/task").iterdir())) for each in descendants(made.pid))


def memory(made: Gateway) -> int:
    return max(vm_rss_bytes(each) for each in descendants(made.pid))


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    with Sink(tmp_path_factory.mktemp("sink")) as made:
        yield made


@pytest.mark.timeout(900)
def test_five_hundred_mailboxes(ews_peer: EwsPeer, tmp_path: Path, sink: Sink) -> None:
    names = [f"u{n:03}" for n in range(MAILBOXES)]
    company = ews_peer.organisation(*names)

    with gateway(tmp_path / "one", company, sink.port, names[:1]) as alone:
        wait_until(
            lambda: len(company.log("GetStreamingEvents", whole=False)) == 1, PATIENCE_S, "one mailbox is watched"
        )
        few_threads, little = threads(alone), memory(alone)
        alone.stop()
    before = len(company.log("Subscribe", whole=False))

    with gateway(tmp_path / "all", company, sink.port, names) as made:
        wait_until(
            lambda: len(company.log("Subscribe", whole=False)) >= before + MAILBOXES,
            PATIENCE_S,
            "all mailboxes are subscribed",
            1.0,
        )
        wait_until(
            lambda: len(company.log("GetStreamingEvents", whole=False)) == 1 + STREAMS,
            PATIENCE_S,
            "streams are open",
            0.5,
        )
        time.sleep(POLL_S)  # each folder has been looked at after its subscription
        many_threads, much = threads(made), memory(made)

        asked = len(company.log(whole=False))
        time.sleep(AT_REST_S)
        a_minute = (len(company.log(whole=False)) - asked) * 60 / AT_REST_S

        at = {}
        for name in names[:: MAILBOXES // MAILS]:
            at[name] = time.time()
            company.put(name, mail(name))
        wait_until(lambda: sink.count == MAILS, 60, "every mail is at the next hop", 0.05)
        wait_until(lambda: len(company.log("MoveItem", whole=False)) == MAILS, 60, "every item is finished", 0.05)
        moved = {each.mailbox.partition("@")[0]: each.at for each in company.log("MoveItem", whole=False)}
        late = max(moved[name] - began for name, began in at.items())
        highest = memory(made)
        assert made.is_healthy()
        made.stop()

    print(
        f"\n{MAILBOXES} mailboxes: {many_threads} threads (1 mailbox: {few_threads}), {much / MIB:.0f} MiB "
        f"(1 mailbox: {little / MIB:.0f}), {a_minute:.0f} requests a minute at rest, "
        f"a mail is taken after {late:.1f} s at most"
    )
    assert many_threads <= few_threads + CONNECTIONS + STREAMS + 3
    assert highest - little <= 60 * MIB
    # Each folder is looked at every 9 to 11 s: once, some twice or not at all, while this is counted.
    assert MAILBOXES * 60 / POLL_S * 0.5 <= a_minute <= MAILBOXES * 60 / POLL_S * 1.5 + STREAMS
    assert late <= 5.0
