"""Dispatch: queued deliveries on their way to their next hops.

Promises: every delivery ends in exactly one final state (delivered, failed with the report that is due, parked,
dropped); outcomes are committed within 50 ms or 256, together with their reports; a next hop that is down costs one
probe per interval and no other lane its speed; memory is bounded, and what does not fit waits in the spool.
Refuses: to send again what was settled but could not be committed; to send anything once the lease is lost.
Sources: RFC 5321 §4.5.4 (retries), RFC 3461 §5 (which reports are due).
Known limit: a connector that blocks the event loop itself stops everything; the loop can't be defended from inside.
"""

from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.lanebook import Hooks
from gateway.dispatch.ledger import MakeReport
from gateway.dispatch.runners import Adapt
from gateway.dispatch.settings import Settings

__all__ = ["Adapt", "Dispatcher", "Hooks", "MakeReport", "Settings"]
