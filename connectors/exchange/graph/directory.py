"""The directory by Graph: who has an address, and everyone there is; and the parties of a message. Pure but for asking.

Graph shows no legacyExchangeDN, but the X500 addresses by which old ones are still answered (proxyAddresses).

Sources: learn.microsoft.com "user resource type", "List users", "List orgContacts", "Advanced query capabilities on
Microsoft Entra ID objects"; MS-OXCMAIL §2.2.3.1 (recipients).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from connectors.exchange.graph.batch import Batches, Part
from connectors.exchange.graph.client import Client, Request
from connectors.exchange.graph.folders import literal
from connectors.exchange.organisation import Addressed, Fault, Party, Person

_SELECT: Final = "displayName,mail,userPrincipalName,proxyAddresses,userType"
_GROUPS: Final = "displayName,mail,proxyAddresses"
PAGE: Final = "999"
LANE: Final = "directory"
"""What its requests are paced as: being throttled here must hold up no mail."""


class Directory:
    """Users, groups and contacts of one tenant."""

    def __init__(self, client: Client, batches: Batches, log: Any) -> None:
        self._client = client
        self._batches = batches
        self._log = log

    async def resolve(self, names: Sequence[str]) -> dict[str, Person | None]:
        """Look up addresses: SMTP ones, and legacy DNs by the X500 addresses that stand for them. Raises: Fault."""
        wanted = list(dict.fromkeys(names))
        parts = [Part("GET", "/users", {"$filter": _having(name), "$select": _SELECT, "$top": "2"}) for name in wanted]
        found: dict[str, Person | None] = {}
        for name, result in zip(wanted, await self._batches.ask(LANE, parts) if parts else [], strict=True):
            if isinstance(result, Fault):
                raise result
            people = [person(each, "mailbox") for each in _listed(result)]
            # Two entries with one address say nothing of either.
            found[name] = people[0] if len(people) == 1 else None
        return found

    async def people(self) -> AsyncIterator[Person]:
        """Yield users, mail-enabled groups, and mail contacts where the application may read those. Raises: Fault."""
        ways = (
            ("/users", {"$select": _SELECT, "$top": PAGE}, "mailbox"),
            ("/groups", {"$select": _GROUPS, "$filter": "mailEnabled eq true", "$top": PAGE}, "group"),
        )
        for path, params, kind in ways:
            async for found in self._all(path, params, kind):
                yield found
        try:
            async for found in self._all("/contacts", {"$select": _GROUPS, "$top": PAGE}, "contact"):
                yield found
        except Fault as e:
            if e.why != "denied":
                raise
            self._log.warning("the organisation's contacts are not read: that needs OrgContact.Read.All", cause=str(e))

    async def _all(self, path: str, params: Mapping[str, str], kind: str) -> AsyncIterator[Person]:
        request = Request("GET", path, LANE, params)
        while True:
            answer = await self._client.ask(request)
            for each in _listed(answer):
                found = person(each, kind)
                if found is not None:
                    yield found
            link = answer.get("@odata.nextLink")
            if not isinstance(link, str):
                return
            request = Request("GET", link, LANE)


def person(each: Mapping[str, Any], kind: str) -> Person | None:
    """Read an entry; None for one without a mail address."""
    mail = each.get("mail")
    if not isinstance(mail, str) or "@" not in mail:
        return None
    addresses: list[str] = []
    for text in each.get("proxyAddresses") or ():
        if isinstance(text, str) and ":" in text:
            prefix, _, value = text.partition(":")
            # SMTP in capitals is the primary one, and `mail` says so already.
            addresses.append(f"{prefix.upper()}:{value}")
    if not any(each.lower() == f"smtp:{mail.lower()}" for each in addresses):
        addresses.insert(0, f"SMTP:{mail}")
    dn = next((text[5:] for text in addresses if text.startswith("X500:")), None)
    name = each.get("displayName")
    guest = each.get("userType") == "Guest"
    return Person(name if isinstance(name, str) else mail, mail, tuple(addresses), dn, "contact" if guest else kind)


def addressed(answer: Mapping[str, Any]) -> Addressed:
    """Read whom a message is from and to."""
    sender = _party(answer.get("from")) or _party(answer.get("sender"))
    properties = answer.get("singleValueExtendedProperties")
    reply = None
    for each in properties if isinstance(properties, list) else ():
        if isinstance(each, dict) and str(each.get("id", "")).lower() == "string 0x1042":
            reply = each.get("value")
    return Addressed(
        sender,
        to=_parties(answer.get("toRecipients")),
        cc=_parties(answer.get("ccRecipients")),
        bcc=_parties(answer.get("bccRecipients")),
        in_reply_to=reply if isinstance(reply, str) else None,
    )


def _parties(told: object) -> tuple[Party, ...]:
    found = [_party(each) for each in told] if isinstance(told, list) else []
    return tuple(each for each in found if each is not None)


def _party(told: object) -> Party | None:
    box = told.get("emailAddress") if isinstance(told, dict) else None
    address = box.get("address") if isinstance(box, dict) else None
    if not isinstance(address, str) or not address:
        return None
    name = box.get("name") if isinstance(box, dict) else None
    return Party(name if isinstance(name, str) else "", address, "EX" if address.lower().startswith("/o=") else "SMTP")


def _having(name: str) -> str:
    """Return the filter for whoever has an address."""
    if "@" in name and not name.startswith("/"):
        return f"proxyAddresses/any(p:p eq {literal('smtp:' + name)}) or mail eq {literal(name)}"
    return f"proxyAddresses/any(p:p eq {literal('X500:' + name)})"


def _listed(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = answer.get("value")
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
