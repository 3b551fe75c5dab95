"""Address: one normalised address of one network, the value that everything else is about.

An Address is made by its Network's `parse`, which normalises once; after that it compares and hashes by
(`network`, `key`) and prints back exactly. It never does I/O and never changes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Address:
    """One address of one network.

    `value` is the normalised text without the network's prefix, as it is sent; `key` is the comparison
    key (case folded where the network compares so). Two addresses are equal when network and key are.
    """

    network: str
    value: str
    key: str

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Address):
            return NotImplemented
        return self.key == other.key and self.network == other.network

    def __hash__(self) -> int:
        return hash((self.network, self.key))

    def __str__(self) -> str:
        """Return the canonical form, `network:value`, which `mappings.network.parse` reads back."""
        return f"{self.network}:{self.value}"


class AddressError(ValueError):
    """An ill-formed address: names the rule, the input, the position and the mend.

    `rule` is a stable id such as `smtp.empty-atom`; `position` is the 0-based offset in `text`.
    """

    def __init__(self, rule: str, text: str, position: int, message: str) -> None:
        self.rule = rule
        self.text = text
        self.position = position
        self.message = message
        super().__init__(f"{message} [{rule}] at {position} in {text!r}")
