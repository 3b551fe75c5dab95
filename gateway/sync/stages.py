"""The stages of a mailbox's course: planned, seeding, coexisting, cut over, closed; and, for moments, between them.

    planned --first pass--> seeding --done--> coexisting --cut over--> cut over --close--> closed
                                                  ^------roll back---------'

While it is `cutting` or `rolling back`, the mail for it is kept in the gateway, and nobody else works on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gateway.sync.values import Policy

PLANNED: Final = "planned"
SEEDING: Final = "seeding"
COEXISTING: Final = "coexisting"
CUTTING: Final = "cutting"
CUT_OVER: Final = "cut over"
ROLLING_BACK: Final = "rolling back"
CLOSED: Final = "closed"


def begun(stage: str) -> str:
    """Return the stage that a mailbox is at once a pass of it has begun."""
    return SEEDING if stage == PLANNED else stage


def done(stage: str) -> str:
    """Return the stage that a mailbox is at once a whole pass of it is done."""
    return COEXISTING if stage == SEEDING else stage


def policy_for(stage: str, policy: Policy) -> Policy:
    """Return how a pass is made at a stage: after the cut-over nothing but what still came in on the left is copied,
    whatever becomes of it there, for people work on the right by then."""
    return final(policy) if stage == CUT_OVER else policy


def final(policy: Policy) -> Policy:
    """Return the policy of passes after the cut-over: what people remove on the right by then is theirs to remove."""
    return replace(policy, mode="copy", strict=False, allow_removal=True)


def backwards(policy: Policy) -> Policy:
    """Return the policy of the pass that a roll-back makes: what came in or was changed on the right comes to the left;
    what was removed on one side stays on the other."""
    return replace(policy, mode="two-way", delete="keep", conflict="both", strict=False)
