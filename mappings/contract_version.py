"""The version of what plugins are written against: `gateway.contract`, `gateway.testing` and `mappings.network`.

It is one number. It grows when something that a plugin uses is taken away or means something else; what is only added
does not change it. A plugin says by `contract_version` which one it was written for. This gateway takes its own version
and the one before it, so that a plugin has one release's time to follow; where one is not taken, the text names both
and what to do.
"""

from __future__ import annotations

from typing import Final

CONTRACT_VERSION: Final = 1
"""The version that this gateway speaks."""

OLDEST_CONTRACT_VERSION: Final = max(1, CONTRACT_VERSION - 1)
"""The oldest that it still takes: the one before its own."""


def misfit(
    what: str, made_for: object, current: int = CONTRACT_VERSION, oldest: int = OLDEST_CONTRACT_VERSION
) -> str | None:
    """Return why a plugin made for a version cannot be used here, and the mend; None where it can.

    `what` names the plugin and its distribution, such as "connector type 'pigeon' of gatepost-pigeon 1.0".
    """
    if not isinstance(made_for, int) or isinstance(made_for, bool) or made_for < 1:
        return f"{what} states contract_version = {made_for!r:.40}; it is a whole number such as {current}"
    made = f"{what} is made for version {made_for} of the connector contract"
    if made_for > current:
        return f"{made}, and this gateway speaks version {current}; upgrade gatepost, or install an older release of it"
    if made_for < oldest:
        takes = f"version {current} alone" if oldest == current else f"versions {oldest} to {current}"
        return f"{made}, and this gateway takes {takes}; install a newer release of it"
    return None


def deprecation(what: str, made_for: int, current: int = CONTRACT_VERSION) -> str | None:
    """Return the warning for a plugin that can be used, and not for much longer; None where it is of this version."""
    if made_for >= current:
        return None
    return (
        f"{what} is made for version {made_for} of the connector contract; this gateway speaks version {current} and "
        f"the next will not take it any more: install a newer release of it"
    )
