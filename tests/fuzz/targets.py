"""All targets by name."""

from __future__ import annotations

from typing import Any, Final

from tests.fuzz import (
    adaptation,
    authentication,
    exchange,
    filedrop,
    files,
    frames,
    mailboxes,
    mapping,
    mqtt,
    networks,
    octets,
    payloads,
    smtp,
    submission,
)
from tests.fuzz.target import Target

_ALL: Final[tuple[Target[Any], ...]] = (
    *octets.TARGETS,
    *networks.TARGETS,
    *mapping.TARGETS,
    *files.TARGETS,
    *adaptation.TARGETS,
    *filedrop.TARGETS,
    *mailboxes.TARGETS,
    *frames.TARGETS,
    *mqtt.TARGETS,
    *payloads.TARGETS,
    *exchange.TARGETS,
    *authentication.TARGETS,
    *smtp.TARGETS,
    *submission.TARGETS,
)
TARGETS: Final = {each.name: each for each in _ALL}
assert len(TARGETS) == len(_ALL), "two targets of one name"
