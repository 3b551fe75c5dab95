"""What a SASL mechanism says at each step: to the client, or to whoever knows the accounts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Challenge:
    """Octets for the client, whose answer is the next step."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Password:
    """Is this the password of `login`? To be answered by True or False."""

    login: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """What is stored for SCRAM of `login`? To be answered by ScramKeys, or None where there is nothing."""

    login: str


@dataclass(frozen=True, slots=True)
class Bearer:
    """Is this a token of `login`? To be answered by True or False. `login` is empty where the client named nobody."""

    login: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proven:
    """The client is `login`; empty where only the token names it."""

    login: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not; `why` is for the log. `is_malformed` where the mechanism's own grammar was broken."""

    why: str
    is_malformed: bool = False


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server stores for SCRAM (RFC 5802 §3): none of it is the password."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


Question = Password | Keys | Bearer
Step = Challenge | Password | Keys | Bearer | Proven | Refused


class Mechanism(Protocol):
    """One log-in under way. Raises nothing, whatever the client says."""

    def step(self, response: bytes | None) -> Step:
        """Take the client's response, None where it gave no initial one."""
        ...

    def answer(self, known: bool | ScramKeys | None) -> Step:
        """Take the answer to the question that the last step was."""
        ...
