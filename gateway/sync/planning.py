"""What is planned for two sides of what a pass has read, with the digests that it takes to tell items apart."""

from __future__ import annotations

from collections.abc import Callable

from gateway.sync.ends import End, Result
from gateway.sync.plan import Abilities, doubts, plan
from gateway.sync.reading import Reader
from gateway.sync.state import State
from gateway.sync.values import Pair, Plan, Policy, Seen, Side


class Planning:
    """Makes the plans of one pass over a pairing, and tells its result what they found."""

    def __init__(
        self,
        pairing: str,
        ends: dict[Side, End],
        state: State,
        policy: Policy,
        result: Result,
        reader: Reader,
        clock: Callable[[], float],
    ) -> None:
        self._pairing = pairing
        self._ends = ends
        self._state = state
        self._policy = policy
        self._result = result
        self._report = result.report
        self._reader = reader
        self._clock = clock

    @property
    def _can(self) -> Abilities:
        return Abilities(self._ends["left"].mailbox.holds(), self._ends["right"].mailbox.holds())

    async def plan(
        self, base: list[Pair], left: Seen, right: Seen, *, strangers: bool = True
    ) -> tuple[Plan, Seen, Seen]:
        """Plan what is to be done of what was seen, `base` being the rows of it; returns the plan, and what was seen
        with the digests that were asked for. `strangers`: what has no row may be one. Raises: StoreFault."""
        asked = doubts(base, left, right, self._can)
        seen = await self._reader.with_digests(asked, {"left": left, "right": right})
        left, right = seen["left"], seen["right"]
        total = await self._state.count(self._pairing)
        now = self._clock()
        made = plan(base, left, right, self._policy, self._can, total=total, now=now, strangers=strangers)
        self._report.adopted += made.adopted
        self._report.skipped += len(made.skipped)
        self._report.conflicts += len(made.conflicts)
        self._result.conflicts += [each.what for each in made.conflicts]
        if made.refused is not None:
            self._result.refused = made.refused
        return made, left, right
