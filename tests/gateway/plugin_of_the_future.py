"""A plugin written for a contract that has more than this one's: its import fails before its version can be read."""

from gateway.contract import Connector, Teleporter  # type: ignore[attr-defined]  # there is none, on purpose


class Pigeon(Connector):
    contract_version = 2
    carrier = Teleporter
