"""aliases: the local users of a host, as /etc/aliases has them for Postfix and sendmail.

A row is `name: address, address`, where a name or address without a domain is a user of the host: so the option
`origin` is needed, and a name is known in all domains of `destinations`. `owner-NAME` is the owner of the group NAME.
Of the results addresses alone are taken; commands (`|`), files (`/`) and lists in files (`:include:`) are reported.
What rows come to is told in `mappings.formats.forwarding`. A sub-address is kept, which Postfix does for aliases where
`propagate_unmatched_extensions` says so.
Promises: what is written, `postalias` takes; no address is written that a mailer would run or open as a file.
Source: aliases(5), local(8), postalias(1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from mappings.address import AddressError
from mappings.formats import Format, OptionError, Options, Reading, Written
from mappings.formats.forwarding import HERE, Forwarding, Here, held_on_smtp, parse_all
from mappings.formats.lines import addresses_in, alias_and_value, logical_lines, parts_of, text_of
from mappings.formats.maps import Map
from mappings.formats.people import ENCODING, check_options, unreadable
from mappings.identity import Identity, Kind
from mappings.network import Registry
from mappings.networks.smtp import domain_key, quote, unquote
from mappings.rule import Rule
from mappings.tabular import Problems, Unreadable

_INCLUDE: Final = ":include:"
_OWNER: Final = "owner-"
_NAME_SIGNS: Final = frozenset('"\\:#()<>@,; \t')


class Aliases:
    """aliases(5)."""

    name = "aliases"
    suffixes: tuple[str, ...] = ("aliases",)
    options: Mapping[str, str] = ENCODING | HERE

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        check_options(options, self.options, self.name)
        here = self._here(options)
        problems = Problems()
        forwarding = Forwarding(networks, here, problems)
        try:
            for line, text in logical_lines(text_of(octets, options), problems):
                row = alias_and_value(text)
                if row is None:
                    problems.add(line, "", f"{text[:200]!r} is no row of aliases; a row is name: address")
                    continue
                name, value = row
                user = quote(name)
                targets = parse_all(_addresses(name, value, line, problems), here, networks, line, problems)
                found = [target for target in targets if not isinstance(target, str)]
                if "@" in name:
                    problems.add(
                        line, "key", f"{name[:200]!r} has a domain, and so is never looked up; names have none"
                    )
                elif found:
                    forwarding.add_user(line, user, found)
                    if name.lower().startswith(_OWNER) and len(name) > len(_OWNER):
                        forwarding.add_owner(quote(name[len(_OWNER) :]), found[0])
        except Unreadable as e:
            return unreadable(e)
        return Reading(forwarding.entries(), [], problems.in_order())

    def write(
        self, identities: Iterable[Identity], options: Options, networks: Registry, rules: Sequence[Rule] = ()
    ) -> Written:
        check_options(options, self.options, self.name)
        here = self._here(options)
        out = Map("{}: {}\n".format)
        identities = list(identities)
        owners = _owners(identities, here)
        elsewhere = 0
        for number, identity in enumerate(identities):
            found = held_on_smtp(out.line, identity, out.problems)
            if found is None:
                continue
            primary, others = found
            written = {name for name in (_name(h.address.value, here) for h in others) if name is not None}
            elsewhere += sum(1 for h in others if _name(h.address.value, here) is None)
            own = _name(primary.value, here)
            if identity.kind is Kind.GROUP and identity.expand:
                if own is None:
                    message = f"the group {identity.name!r} has no address in {here.origin} to be written under"
                    out.problems.add(out.line, "smtp", message)
                else:
                    written.discard(own)
                    self._write(own, out.members_of(identity), number, owners, out)
                    if identity.owner is not None:
                        self._write(_OWNER + own, [identity.owner.value], number, owners, out)
            forwards = out.forwards_of(identity, networks) if own is not None else []
            if own is not None and forwards:
                self._write(own, forwards, number, owners, out)
            for name in sorted(written - {own}):
                self._write(name, [primary.value], number, owners, out)
        if elsewhere:
            message = f"{elsewhere} addresses outside {', '.join(here.domains)} have no place in aliases"
            out.problems.add(out.line, "smtp", message)
        out.refuse_rules(rules, self.name)
        return out.written()

    def _here(self, options: Options) -> Here:
        here = Here.of(options)
        if here.origin is None:
            raise OptionError("aliases are of a host's users; say in the option origin which domain they are in")
        return here

    def _write(self, name: str, targets: Iterable[str], number: int, owners: Mapping[str, int], out: Map) -> None:
        if owners.get(name.lower(), number) != number:
            message = f"{name} is a name of several identities, in different domains; a host has it once"
            out.problems.add(out.line, "key", message)
            return
        safe = []
        for target in targets:
            if unquote(target.rpartition("@")[0]).startswith(("/", "|", _INCLUDE)):
                out.problems.add(out.line, "value", f"{target} would be run or opened as a file; it is left out")
            else:
                safe.append(target)
        if safe:
            shown = name if not _NAME_SIGNS & set(name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
            out.row(shown, ", ".join(safe))


def _addresses(name: str, value: str, line: int, problems: Problems) -> Iterator[str]:
    """Yield the address texts of a value; what a mailer runs, opens or reads is a problem."""
    parts = parts_of(value)
    if not parts:
        problems.add(line, "value", f"{name[:200]!r} has no address after it")
    for part in parts:
        bare = unquote(part) if part.startswith('"') and part.endswith('"') else part
        shown = f"{bare[:200]!r}"
        if bare.startswith("|"):
            problems.add(line, "value", f"the command {shown} is not run here; make a connector of it, or leave it out")
        elif bare.startswith("/"):
            problems.add(line, "value", f"the file {shown} gets no mail from here; give the identity a mailbox")
        elif bare.lower().startswith(_INCLUDE):
            problems.add(line, "value", f"the list {shown} is in a file of its own; write its members into the row")
        else:
            for text in addresses_in(part):
                yield text.removeprefix("\\")  # it stops sendmail from looking the user up again


def _name(value: str, here: Here) -> str | None:
    """Return the bare name of an address in a domain of the host, None of any other."""
    local, _, domain = value.rpartition("@")
    try:
        return unquote(local) if domain_key(domain) in here.domains else None
    except AddressError:
        return None


def _owners(identities: Sequence[Identity], here: Here) -> dict[str, int]:
    """Return whose each name is; -1 where it is several identities'."""
    owners: dict[str, int] = {}
    for number, identity in enumerate(identities):
        for held in identity.of("smtp"):
            name = _name(held.address.value, here)
            if name is not None and owners.setdefault(name.lower(), number) != number:
                owners[name.lower()] = -1
    return owners


FORMATS: Final[tuple[Format, ...]] = (Aliases(),)
