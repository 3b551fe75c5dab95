"""Access lists: clients, names, senders and recipients that are refused, put off, held, or let past all screening.

A rule is looked at where the last of its conditions is known: the client's address at the connection, its names and the
sender at MAIL, a recipient at RCPT. At each step the rules of the configuration come first, then those of the table;
the first that applies decides that step.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final, get_args

from connectors.smtp.checks import Action, Check, Client, OnFault, Step, Transaction, Verdict, drop, refuse
from connectors.smtp.filter_config import AccessAction, AccessRule, AccessTable, check_pattern
from connectors.smtp.mx import LookupFault
from connectors.smtp.patterns import NetworkRules, PatternRules, compiled, forms, read_address, read_network
from gateway.contract import Context, Recipient

LOOK_S: Final = 1.0
"""How often the table is looked at for a change."""
MOST_TABLE_OCTETS: Final = 64 * 1024 * 1024

_LINE: Final = re.compile(r"(client|helo|sender|recipient)\s+(\S+)\s+(\S+)(?:\s+(.*\S))?")
_OF_MESSAGES: Final = ("discard", "hold")
"""What is done to a message, so that it waits for one where the client's address asks for it."""
_TEXT: Final = "refused by this system's rules"


@dataclass(frozen=True, slots=True)
class _Deed:
    do: AccessAction
    text: str


class _Rule:
    """A rule of the configuration, read once."""

    __slots__ = ("_helo", "_name", "_recipient", "_sender", "at_rcpt", "deed", "network", "of_address")

    def __init__(self, rule: AccessRule) -> None:
        self.deed = _Deed(rule.do, rule.text)
        self.network = read_network(rule.client) if rule.client else None
        self._name = compiled(rule.client) if rule.client and self.network is None else None
        self._helo, self._sender, self._recipient = (
            compiled(text) if text else None for text in (rule.helo, rule.sender, rule.recipient)
        )
        self.at_rcpt = bool(rule.recipient)
        self.of_address = self.network is not None and not (rule.helo or rule.sender or rule.recipient)
        """The address is its only condition."""

    async def applies(self, client: Client, sender: tuple[str, ...], recipient: tuple[str, ...] = ()) -> bool:
        """Whether all conditions hold; a name is looked up in DNS only where all others do."""
        if self._helo is not None and not self._helo.fullmatch(client.helo.lower()):
            return False
        if self._sender is not None and not any(map(self._sender.fullmatch, sender)):
            return False
        if self._recipient is not None and not any(map(self._recipient.fullmatch, recipient)):
            return False
        if self.network is not None:
            address = read_address(client.address)
            return address is not None and address in self.network
        return self._name is None or bool(self._name.fullmatch(await _name(client)))


@dataclass(frozen=True, slots=True)
class _Lists:
    """The rules of the table, each kind for itself."""

    client: NetworkRules[_Deed]
    client_name: PatternRules[_Deed]
    helo: PatternRules[_Deed]
    sender: PatternRules[_Deed]
    recipient: PatternRules[_Deed]


def read_table(path: Path) -> _Lists:
    """Read a table. Raises: OSError; ValueError that names file, line and mend."""
    if path.stat().st_size > MOST_TABLE_OCTETS:
        raise ValueError(f"{path}: over {MOST_TABLE_OCTETS} octets")
    found: dict[str, list[tuple[str, _Deed]]] = {"client": [], "helo": [], "sender": [], "recipient": []}
    for number, line in enumerate(path.read_text("utf-8", "surrogateescape").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None or match[3] not in get_args(AccessAction):
            raise ValueError(
                f"{path}:{number}: {text[:80]!r} is no rule; write 'client|helo|sender|recipient PATTERN ACTION "
                f"[TEXT]' with an action of {', '.join(get_args(AccessAction))}"
            )
        try:
            check_pattern(match[1], match[2])
        except ValueError as fault:
            raise ValueError(f"{path}:{number}: {fault}") from None
        found[match[1]].append((match[2], _Deed(match[3], match[4] or "")))  # type: ignore[arg-type]  # looked up above
    clients = found["client"]
    networks = [(network, deed) for text, deed in clients if (network := read_network(text)) is not None]
    names = [(text, deed) for text, deed in clients if read_network(text) is None]
    return _Lists(
        NetworkRules(networks),
        PatternRules(names),
        PatternRules(found["helo"]),
        PatternRules(found["sender"]),
        PatternRules(found["recipient"]),
    )


class AccessMaker:
    """The access lists of one source; see CheckMaker."""

    name = "access"
    steps = Step.CONNECT | Step.MAIL | Step.RCPT
    timeout_s = 30.0
    on_fault: OnFault = "tempfail"

    def __init__(self, table: AccessTable, context: Context) -> None:
        """Raises: OSError, ValueError with a text that names the file."""
        self.table = table
        rules = [_Rule(rule) for rule in table.rules]
        self.of_address = [rule for rule in rules if rule.of_address]
        self.at_mail = [rule for rule in rules if not (rule.of_address or rule.at_rcpt)]
        self.at_rcpt = [rule for rule in rules if rule.at_rcpt]
        self._log = context.log
        self._path = None if table.table is None else context.base_dir / table.table
        self._lists: _Lists | None = None
        self._state: tuple[int, int, int] | None = None
        self._looked_at = 0.0
        if self._path is not None:
            self._state = _state(self._path)
            self._lists = read_table(self._path)

    def begin(self, client: Client) -> Check:
        return Access(self, read_address(client.address))

    def close(self) -> None:
        return

    async def lists(self) -> _Lists | None:
        """Return the table's rules, read again where the file has changed; the old ones stay while it is wrong."""
        now = time.monotonic()
        if self._path is None or now - self._looked_at < LOOK_S:
            return self._lists
        self._looked_at = now
        try:
            state = _state(self._path)
            if state != self._state:
                self._state = state
                self._lists = await asyncio.to_thread(read_table, self._path)
                self._log.info("access_table_read", path=str(self._path))
        except (OSError, ValueError) as fault:
            self._log.warning("access_table_not_read", path=str(self._path), reason=str(fault))
        return self._lists


def _state(path: Path) -> tuple[int, int, int]:
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size, found.st_ino


class Access(Check):
    """The lists as one connection meets them."""

    def __init__(self, maker: AccessMaker, address: IPv4Address | IPv6Address | None) -> None:
        self._maker = maker
        self._address = address
        self._client_is_accepted = False
        self._message_is_accepted = False

    async def connect(self, client: Client) -> Verdict | None:
        deed = await self._of_address()
        if deed is None or deed.do in _OF_MESSAGES:
            return None
        if deed.do == "accept":
            client.welcome = self._client_is_accepted = True
            return None
        return _said(deed)

    async def mail(self, client: Client, transaction: Transaction) -> Verdict | None:
        if self._client_is_accepted:
            return None
        deed = await self._of_address()
        if deed is None or deed.do not in _OF_MESSAGES:
            deed = await self._of_names(client, transaction)
        if deed is None:
            return None
        if deed.do == "accept":
            transaction.welcome = self._message_is_accepted = True
            return None
        return _said(deed)

    async def rcpt(self, client: Client, transaction: Transaction, recipient: Recipient) -> Verdict | None:
        if self._client_is_accepted or self._message_is_accepted:
            return None
        to, sender = forms(recipient.address), forms(transaction.reverse_path)
        deed: _Deed | None = None
        for rule in self._maker.at_rcpt:
            if await rule.applies(client, sender, to):
                deed = rule.deed
                break
        else:
            lists = await self._maker.lists()
            deed = None if lists is None else lists.recipient.find(*to)
        if deed is None:
            return None
        if deed.do == "accept":
            transaction.welcome_to = recipient.address.value
            return None
        return _said(deed)

    def reset(self) -> None:
        self._message_is_accepted = False

    async def _of_address(self) -> _Deed | None:
        address = self._address
        if address is None:
            return None
        for rule in self._maker.of_address:
            if rule.network is not None and address in rule.network:
                return rule.deed
        lists = await self._maker.lists()
        return None if lists is None else lists.client.find(address)

    async def _of_names(self, client: Client, transaction: Transaction) -> _Deed | None:
        sender = forms(transaction.reverse_path)
        for rule in self._maker.at_mail:
            if await rule.applies(client, sender):
                return rule.deed
        lists = await self._maker.lists()
        if lists is None:
            return None
        deed = lists.client_name.find(await _name(client)) if lists.client_name else None
        return deed or lists.helo.find(client.helo) or lists.sender.find(*sender)


async def _name(client: Client) -> str:
    try:
        return await client.name()
    except LookupFault:
        return ""


def _said(deed: _Deed) -> Verdict:
    match deed.do:
        case "tempfail":
            return refuse("4.7.1", deed.text or "not now, by this system's rules")
        case "drop":
            return drop("5.7.1", deed.text or _TEXT)
        case "discard":
            return Verdict(action=Action.DISCARD)
        case "hold":
            return Verdict(hold=deed.text or "an access rule")
    return refuse("5.7.1", deed.text or _TEXT)
