"""The numbers of dispatch, in one value; every one is an option with its unit in its name."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.dispatch.backoff import Backoff
from gateway.dispatch.lane import Limits


@dataclass(frozen=True, slots=True)
class Settings:
    """How dispatch behaves. The defaults serve a gateway on a small machine.

    `retry` is the back-off of one delivery, `limits` the concurrency and back-off of a lane.
    """

    retry: Backoff = field(default_factory=Backoff)
    limits: Limits = field(default_factory=Limits)
    retry_hint_max_s: float = 86_400.0
    """A peer's own hint is honoured up to this."""
    delay_warning_s: float = 4 * 3600.0
    """A `delayed` report once after this age; 0 for never."""
    batch_deliveries: int = 64
    batch_s: float = 0.25
    """A batch is sized to take about this long, so that a slow hop gets small ones, over several connections."""
    batch_bytes: int = 1024 * 1024
    lane_deliveries: int = 5000
    """Deliveries of one lane in memory; the rest waits in the spool."""
    lane_bytes: int = 16 * 1024 * 1024
    memory_deliveries: int = 50_000
    memory_bytes: int = 64 * 1024 * 1024
    """Content octets in memory, over all lanes."""
    small_lane: int = 16
    """A lane with less than this finds room in a full memory, up to a quarter more than `memory_deliveries`."""
    claim_deliveries: int = 512
    """The most that one claim takes from the spool."""
    refill_below: int = 1024
    """A lane that has fewer in memory and more in the spool is given of these, so that it does not wait for a claim."""
    claims_at_once: int = 4
    max_lanes: int = 10_000
    max_runners: int = 400
    """Calls of `deliver` at one time, over all lanes."""
    max_unproven_runners: int = 200
    """Of these, for lanes that have not answered yet; so hanging hops never take every place."""
    max_probing_runners: int = 64
    """Of these, for lanes that were down and are tried again."""
    deliver_timeout_s: float = 900.0
    """A call of `deliver` that settles nothing for so long is cancelled (RFC 5321 §4.5.3.2.6 allows 10 minutes)."""
    probe_claim_s: float = 60.0
    """Among several nodes: so long one of them has a probe to itself."""
    cancel_grace_s: float = 5.0
    """A call that does not end so long after its cancellation is left behind, and counted."""
    crowded_after_s: float = 0.02
    """A lane whose queue was never empty for so long gets a further runner."""
    runner_idle_s: float = 5.0
    housekeeping_s: float = 0.5
    lane_idle_s: float = 300.0
    settle_delay_s: float = 0.005
    """How long outcomes are gathered here; the spool's own wait for company comes on top."""
    settle_limit: int = 256
    settles_at_once: int = 4
    max_uncommitted: int = 8192
    """With so many outcomes that could not be committed, nothing more is sent."""
    poll_s: float = 1.0
    """How often the spool is asked for due lanes; grows to `poll_idle_s` where it has none."""
    poll_idle_s: float = 5.0
    listen_s: float = 1.0
    """How often it is looked up which lanes other nodes found down, and what operators did at them."""
    put_off_step: int = 64
    put_off_every_s: float = 0.1
    put_off_busy_s: float = 0.5
    """The same while over `busy_per_s` deliveries a second go through."""
    busy_per_s: float = 300.0
    """Deliveries of lanes that are down are put off in the background, at this pace, so that they cost live lanes
    next to nothing."""
    put_off_beyond_s: float = 30.0
    """A lane that opens again within this keeps its deliveries in memory."""
