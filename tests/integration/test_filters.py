"""Filters in front of a gateway as it ships: what they refuse, mark and hold, and one that is down."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.gateway import Gateway
from tests.peers.milters import EICAR, GTUBE, Clamav, Rspamd
from tests.peers.process import wait_until
from tests.peers.raw import RawClient, send
from tests.peers.sink import Sink

HEAD = (
    b"From: <ann@source.example>\r\nTo: <bob@target.example>\r\nSubject: %s\r\n"
    b"Date: Mon, 30 Nov 2026 04:00:00 +0000\r\nMessage-ID: <%s@source.example>\r\n\r\n"
)

CONFIG = """
[[connector.internet.milters]]
name = "clamav"
at = "{clamav}"
client_names = false

[[connector.internet.milters]]
name = "rspamd"
at = "{rspamd}"
client_names = false
max_idle_connections = 4

[[connector.internet.milters]]
name = "gone"
at = "unix:{folder}/gone"
on_fault = "accept"

[connector.internet.access]
rules = [{{sender = "*@hold.example", do = "hold", text = "to be seen"}}]
"""


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Sink, Clamav]]:
    folder = tmp_path_factory.mktemp("filters")
    with Sink(folder, keep=True) as sink, Clamav() as clamav, Rspamd() as rspamd:
        config = CONFIG.format(clamav=clamav.place, rspamd=rspamd.place, folder=folder)
        with Gateway(folder, sink.port, connector=config) as gateway:
            yield gateway, sink, clamav


def sent(gateway: Gateway, subject: bytes, body: bytes = b"text\r\n", sender: str = "ann@source.example") -> str:
    head = HEAD % (subject, subject.replace(b" ", b"."))
    return str(send(gateway.port, sender, ["bob@target.example"], head + body))


def test_filters_and_what_is_seen_of_them(filtered: tuple[Gateway, Sink, Clamav]) -> None:
    gateway, sink, clamav = filtered
    assert sent(gateway, b"virus", EICAR + b"\r\n") == "554 5.7.1 infected by Eicar-Test-Signature.UNOFFICIAL"
    assert sent(gateway, b"spam", GTUBE + b"\r\n").startswith("554 5.7.1 ")
    assert sent(gateway, b"later pills").startswith("451 4.7.1 try the pills later")
    assert sent(gateway, b"cheap pills").startswith("250")
    assert sent(gateway, b"fine").startswith("250")
    assert sent(gateway, b"large", b"y" * 998 * 1000 + b"\r\n").startswith("250")
    sink.wait_for(3)
    octets = [one.octets or b"" for one in sink.taken()]
    taken = {each.partition(b"Subject: ")[2].partition(b"\r\n")[0]: each for each in octets}
    assert taken.keys() == {b"cheap pills", b"fine", b"large"}
    assert b"X-Spam-Status: Yes" in taken[b"cheap pills"]
    assert b"X-Spam-Status: No" in taken[b"fine"]
    # Our trace field stands above what the filters added, which stands in the header.
    assert taken[b"fine"].startswith(b"Received: ")
    assert taken[b"fine"].index(b"X-Virus-Status: Clean") < taken[b"fine"].index(b"\r\n\r\n")

    assert sent(gateway, b"held", sender="ann@hold.example").startswith("250")
    assert 'why="5.7.1 infected by Eicar-Test-Signature.UNOFFICIAL"' in gateway.said()
    counts = {name: value for name, value in gateway.metrics().items() if "check" in name or "milter" in name}
    refused = {name: value for name, value in counts.items() if "checks_refused" in name}
    assert sorted(refused.values()) == [1, 2]
    assert all("step=content" in name for name in refused)
    assert any("check=gone" in name and value >= 7 for name, value in counts.items())
    wait_until(
        lambda: any("held" in name and value == 1 for name, value in gateway.metrics().items()), 60, "it is held"
    )

    clamav.stop()
    with RawClient(gateway.port, ehlo=False) as client:
        assert client.greeting.text == "421 4.7.1 a check of this mail gave no answer, try again later"
    clamav.start()
    wait_until(lambda: sent(gateway, b"seen").startswith("250"), 60, "the filter is asked again")
    sink.wait_for(4)
    assert not any(b"Subject: held" in (one.octets or b"") for one in sink.taken())
