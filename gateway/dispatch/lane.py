"""Lane: the state of one next hop, as a pure state machine. Only a fault of the whole hop ever reaches it.

READY lanes send, up to `window` calls at once. THROTTLED lanes are down: their next hop failed by a cohort (as many hop
faults as calls were allowed, with no answer between). SUSPENDED lanes were asked to wait, by the peer's own hint or by
an operator. The rule: READY can become anything; the others can only become READY again.

A lane that wakes from THROTTLED opens slowly: its window is 1 and it sends one message as its probe; a fault of
that one closes it again for longer, an answer lets the window grow as a new lane's does.
Everything that changes a lane's state is in this file. Time and chance come in as arguments; nothing is done here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, unique
from math import inf
from typing import Final

from gateway.dispatch.backoff import Backoff
from gateway.outcome import Deferred, Outcome, Scope
from gateway.status import NO_ANSWER, Status


@unique
class LaneState(Enum):
    READY = "ready"
    THROTTLED = "throttled"
    SUSPENDED = "suspended"


@unique
class Event(Enum):
    """What can happen to a lane."""

    ALIVE = "alive"
    """The hop answered: a delivery, a refusal, a deferral of one recipient or message."""
    FAULT = "fault"
    """The hop failed, but not yet by a whole cohort."""
    DOWN = "down"
    """The hop failed by a whole cohort."""
    WAIT = "wait"
    """The hop asks for a pause."""
    HOLD = "hold"
    """An operator stops the lane."""
    TOLD = "told"
    """Another node found the hop down."""
    WAKE = "wake"
    """The time in `until` has come."""
    OPEN = "open"
    """An operator, or another node's success, opens the lane at once."""


_R, _T, _S = LaneState.READY, LaneState.THROTTLED, LaneState.SUSPENDED

TRANSITIONS: Final[dict[tuple[LaneState, Event], LaneState]] = {
    (_R, Event.ALIVE): _R,
    (_R, Event.FAULT): _R,
    (_R, Event.DOWN): _T,
    (_R, Event.WAIT): _S,
    (_R, Event.HOLD): _S,
    (_R, Event.TOLD): _T,
    (_R, Event.WAKE): _R,
    (_R, Event.OPEN): _R,
    # What is still in flight when a lane closes: an answer shows that the hop lives after all; faults are of the
    # cohort that has been counted.
    (_T, Event.ALIVE): _R,
    (_T, Event.FAULT): _T,
    (_T, Event.DOWN): _T,
    (_T, Event.WAIT): _T,
    (_T, Event.HOLD): _T,
    (_T, Event.TOLD): _T,
    (_T, Event.WAKE): _R,
    (_T, Event.OPEN): _R,
    # A pause that was asked for is kept, whatever else still comes in.
    (_S, Event.ALIVE): _S,
    (_S, Event.FAULT): _S,
    (_S, Event.DOWN): _S,
    (_S, Event.WAIT): _S,
    (_S, Event.HOLD): _S,
    (_S, Event.TOLD): _S,
    (_S, Event.WAKE): _R,
    (_S, Event.OPEN): _R,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a lane's window goes. `cohorts` is how many cohorts must fail before the lane is down."""

    window_start: int = 2
    window_limit: int = 20
    cohorts: float = 1.0
    backoff: Backoff = field(default_factory=Backoff)
    hint_max_s: float = 86_400.0
    patience: int = 3
    """So many hints in a row are taken at their word; after that the lane's own back-off is the least."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One next hop. `window` is how many calls of `deliver` may run at once.

    `credit` is the part of a window step earned by answers, `debit` the part of a cohort that failed; `setbacks` counts
    closings in a row without an answer between; `chance` (0..1) is this lane's own share of jitter. `until` and
    `reason` speak of a lane that is not READY, and of the last time it was not.
    """

    limits: Limits
    chance: float = 0.5
    state: LaneState = LaneState.READY
    window: int = 2
    credit: float = 0.0
    debit: float = 0.0
    setbacks: int = 0
    until: float = 0.0
    reason: Status | None = None
    proven: bool = False

    @property
    def is_ready(self) -> bool:
        return self.state is LaneState.READY

    @property
    def is_probing(self) -> bool:
        """It has been closed and has not answered since: one message at a time."""
        return self.setbacks > 0 and self.state is LaneState.READY

    @property
    def is_held(self) -> bool:
        """An operator holds it; only OPEN ends that."""
        return self.state is LaneState.SUSPENDED and self.until == inf


def new(limits: Limits, chance: float) -> Lane:
    """Return a lane that has not been tried."""
    return Lane(limits, chance, window=max(1, min(limits.window_start, limits.window_limit)))


def after(lane: Lane, outcome: Outcome, now: float) -> Lane:
    """Return the lane after one outcome. The same object where nothing changed, as in the good case at full width."""
    if type(outcome) is Deferred and outcome.scope is Scope.HOP:
        if outcome.retry_after_s is not None:
            return _wait(lane, outcome.retry_after_s, outcome.status, now)
        return _fault(lane, outcome.status, now)
    return _alive(lane)


def wake(lane: Lane, now: float) -> Lane:
    """Open a lane whose time has come; the same object where it has not."""
    if lane.state is LaneState.READY or now < lane.until:
        return lane
    return _reopened(lane, Event.WAKE)


def hold(lane: Lane, why: Status) -> Lane:
    """Stop a lane until an operator opens it. A throttled lane passes through READY, as every state does."""
    if lane.state is LaneState.THROTTLED:
        lane = _reopened(lane, Event.OPEN)
    return replace(lane, state=TRANSITIONS[lane.state, Event.HOLD], until=inf, reason=why)


def told_down(lane: Lane, until: float, why: Status = NO_ANSWER) -> Lane:
    """Close a lane that another node found down; one that waits already waits for the later time."""
    state = TRANSITIONS[lane.state, Event.TOLD]
    if lane.state is not LaneState.READY:
        return replace(lane, state=state, until=max(until, lane.until)) if lane.state is LaneState.THROTTLED else lane
    return replace(lane, state=state, until=until, reason=why, setbacks=max(1, lane.setbacks), proven=False)


def opened(lane: Lane) -> Lane:
    """Open a lane at once, with its back-off forgotten but its probe kept."""
    if lane.state is LaneState.READY:
        return lane if lane.setbacks <= 1 else replace(lane, setbacks=1)
    return replace(_reopened(lane, Event.OPEN), setbacks=min(1, lane.setbacks))


def _alive(lane: Lane) -> Lane:
    limits = lane.limits
    window, credit = lane.window, lane.credit
    is_wide = window >= limits.window_limit
    if is_wide and lane.proven and lane.state is LaneState.READY and not (lane.debit or lane.setbacks):
        return lane  # as nearly always
    state = TRANSITIONS[lane.state, Event.ALIVE]
    if state is not LaneState.READY:
        return lane
    if not is_wide:
        # A window's worth of answers earns one step, so the growth is by round trips, not by messages.
        credit += 1.0 / window
        if credit >= 1.0:
            window, credit = window + 1, 0.0
    return replace(lane, state=state, window=window, credit=credit, debit=0.0, setbacks=0, proven=True)


def _fault(lane: Lane, why: Status, now: float) -> Lane:
    debit = lane.debit + 1.0 / lane.window
    down = debit >= lane.limits.cohorts - 1e-9 or lane.setbacks > 0
    state = TRANSITIONS[lane.state, Event.DOWN if down else Event.FAULT]
    if lane.state is not LaneState.READY:
        return lane
    if state is LaneState.READY:
        return replace(lane, window=max(1, lane.window - 1), credit=0.0, debit=debit)
    setbacks = lane.setbacks + 1
    until = now + lane.limits.backoff.delay_s(setbacks, lane.chance)
    return replace(
        lane, state=state, window=1, credit=0.0, debit=0.0, setbacks=setbacks, until=until, reason=why, proven=False
    )


def _wait(lane: Lane, hint_s: float, why: Status, now: float) -> Lane:
    limits = lane.limits
    hint = max(0.0, min(hint_s, limits.hint_max_s))
    state = TRANSITIONS[lane.state, Event.WAIT]
    if lane.state is not LaneState.READY:
        return replace(lane, until=max(lane.until, now + hint))
    setbacks = lane.setbacks + 1
    if setbacks > limits.patience:
        hint = max(hint, limits.backoff.delay_s(setbacks - limits.patience, lane.chance))
    return replace(
        lane, state=state, window=max(1, lane.window // 2), credit=0.0, debit=0.0, setbacks=setbacks,
        until=now + hint, reason=why,
    )  # fmt: skip


def _reopened(lane: Lane, event: Event) -> Lane:
    assert lane.state is not LaneState.READY, lane.state
    # SUSPENDED by a hint: the peer lives, so it goes on with the (halved) window it had, but for its setbacks
    # it is probed first. THROTTLED: window 1, so that a recovering hop is not trampled.
    return replace(lane, state=TRANSITIONS[lane.state, event], window=1 if lane.setbacks else lane.window, debit=0.0)
