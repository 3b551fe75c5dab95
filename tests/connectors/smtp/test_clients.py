"""How much of one client is borne."""

from __future__ import annotations

from connectors.smtp.clients import MAX_COUNTED, WINDOW_S, Clients, Limits, client_of


def test_connections_in_all_and_of_one() -> None:
    clients = Clients(Limits(connections=4, connections_per_client=2, messages_per_minute=1))
    assert clients.enter("a", trusted=False) is None
    assert clients.enter("a", trusted=False) is None
    assert "your address" in (clients.enter("a", trusted=False) or "")
    assert clients.enter("a", trusted=True) is None
    assert clients.enter("b", trusted=False) is None
    assert clients.enter("c", trusted=True) == "too many connections, try again later"
    clients.leave("a")
    assert clients.total == 3
    assert clients.enter("c", trusted=False) is None


def test_nothing_is_kept_of_those_who_left() -> None:
    clients = Clients(Limits(10, 10, 10))
    for n in range(1000):
        clients.enter(str(n), trusted=False)
        clients.leave(str(n))
    assert clients.total == 0
    assert clients._connections == {}


def test_messages_are_counted_by_the_minute() -> None:
    clients = Clients(Limits(1, 1, messages_per_minute=2))
    assert [clients.may_send("a", 0.0) for _ in range(3)] == [True, True, False]
    assert clients.may_send("b", 1.0)
    assert not clients.may_send("a", WINDOW_S - 0.1)
    assert clients.may_send("a", WINDOW_S + 0.1)


def test_newcomers_share_one_count_where_the_table_is_full() -> None:
    clients = Clients(Limits(1, 1, messages_per_minute=2))
    for n in range(MAX_COUNTED):
        clients.may_send(str(n), 0.0)
    assert [clients.may_send(f"new {n}", 0.0) for n in range(3)] == [True, True, False]
    assert len(clients._messages) == MAX_COUNTED + 1
    assert clients.may_send("7", 0.0)


def test_a_client_is_an_ipv4_address_or_an_ipv6_network() -> None:
    assert client_of("192.0.2.1") == "192.0.2.1"
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff:2") == "2001:db8::/64"
    assert client_of("2001:db8:0:1::1") != client_of("2001:db8::1")
    assert client_of("fe80::1%eth0") == "fe80::/64"
    assert client_of("") == ""
    assert client_of("what:ever") == "what:ever"
