"""What guesses cost."""

from __future__ import annotations

from connectors.smtp.login.throttle import ACCOUNT_MOST_S, CLIENT_MOST_S, FORGOTTEN_AFTER_S, FREE, TOGETHER, Throttle


def failed(throttle: Throttle, times: int, client: str = "c", account: str = "ann", now: float = 0.0) -> None:
    for _ in range(times):
        throttle.failed(client, account, now)


def test_a_few_slips_cost_nothing_and_then_each_costs_twice_as_much() -> None:
    throttle = Throttle()
    delays = []
    for _ in range(12):
        delays.append(throttle.delay_s("c", "ann", 0.0))
        failed(throttle, 1)
    assert delays[:FREE] == [0.0] * FREE
    assert delays[FREE : FREE + 4] == [1.0, 2.0, 4.0, 8.0]
    assert delays[-1] == CLIENT_MOST_S


def test_an_account_is_slow_for_all_who_guess_at_it_and_not_for_its_owner() -> None:
    throttle = Throttle()
    throttle.succeeded("home", "ann")
    for n in range(50):
        failed(throttle, 1, client=f"bot {n}")
    assert throttle.delay_s("new bot", "ann", 0.0) == ACCOUNT_MOST_S
    assert throttle.delay_s("home", "ann", 0.0) == 0.0
    assert throttle.delay_s("new bot", "bob", 0.0) == 0.0


def test_one_try_at_a_time_after_failures() -> None:
    throttle = Throttle()
    assert [throttle.enter("c", 0.0) for _ in range(TOGETHER + 1)] == [True] * TOGETHER + [False]
    for _ in range(TOGETHER):
        throttle.leave("c")
    failed(throttle, FREE)
    assert throttle.enter("c", 0.0)
    assert not throttle.enter("c", 0.0)
    assert throttle.enter("d", 0.0)
    throttle.leave("c")
    assert throttle.enter("c", 0.0)


def test_what_is_long_ago_is_forgotten() -> None:
    throttle = Throttle()
    failed(throttle, 10)
    assert throttle.delay_s("c", "ann", FORGOTTEN_AFTER_S + 1) == 0.0


def test_an_account_of_ones_own_does_not_make_guesses_free() -> None:
    throttle = Throttle()
    for _ in range(20):
        failed(throttle, 4, account="ann")
        throttle.succeeded("c", "own")
    assert throttle.delay_s("c", "ann", 0.0) > 0


def test_memory_is_bounded() -> None:
    throttle = Throttle(most=100)
    for n in range(1000):
        failed(throttle, 1, client=f"c{n}", account=f"a{n}")
        throttle.succeeded(f"d{n}", f"b{n}")
    assert max(*map(len, throttle._failures.values()), len(throttle._known)) == 100
