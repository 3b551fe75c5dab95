"""A configuration checked against everything it names: connectors, routes, addresses, rules, identities.

Promises: every mistake is noted before the first is raised; nothing is started, and the one thing that is made is the
encapsulation key.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from gateway.absent import Absent, AbsentConfig, networks_of, remembered
from gateway.config import (
    CONNECTOR_NAME,
    KEY_FILE,
    Config,
    ConnectorSection,
    EncapsulationSection,
    GatewaySection,
    MappingSection,
    RouteSection,
    RuleSection,
    ensure_key,
    split_listen,
    state_dir,
)
from gateway.config_file import ConfigErrors, Document, nearest, show_value
from gateway.config_sync import SyncSection
from gateway.contract import Connector, Context, Destination, MailboxStore
from gateway.log import Silence
from gateway.registry import ConnectorUnavailable, Entry, connectors
from gateway.route import Route, RouteError, Routes, glob
from mappings.encapsulation import Encapsulation, Key, new_key
from mappings.identity import Identity
from mappings.network import Address, AddressError, NetworkError, registry
from mappings.networks.smtp import domain_key
from mappings.rule import Lookup, Place, Rule, RuleError, Way, compile_rule

_TABLE_NAME: Final = re.compile(r"\|table:([A-Za-z0-9_-]+)")


def check(
    document: Document, *, mapping: bool, identities: bool, version: int, dry: bool, isolate: bool = False
) -> Config:
    """Check a document and return its Config; see `gateway.config.load`. Raises: ConfigErrors."""
    try:
        return _Loader(document, mapping, identities, version, dry, isolate).load()
    except NetworkError as e:  # an installed network cannot be used, whatever the file says
        document.broken_rule((), str(e))
        raise ConfigErrors(document.mistakes) from None


class _Loader:
    def __init__(
        self, document: Document, mapping: bool, identities: bool, version: int, dry: bool, isolate: bool
    ) -> None:
        self.doc = document
        self.isolate = isolate
        self.wants_mapping = mapping
        self.wants_identities = identities
        self.version = version
        self.dry = dry
        self.connectors: dict[str, ConnectorSection] = {}
        self.homes: dict[str, str] = {}
        self._networks: dict[str, tuple[str, ...]] = {}
        self._sends: set[str] = set()
        self._stores: set[str] = set()
        self._named: set[str] = set()

    def load(self) -> Config:
        doc = self.doc
        doc.known_keys((), ("gateway", "mapping", "connector", "route", "sync"), "a table of the configuration")
        if "gateway" not in doc.data:
            doc.mistake(("gateway",), "no such table", "[gateway] with at least a name")
            gateway = None
        else:
            gateway = doc.model(("gateway",), GatewaySection, doc.table(("gateway",)), "a key of [gateway]")
        postmaster = None if gateway is None else self._gateway(gateway)
        mapping = doc.model(("mapping",), MappingSection, doc.table(("mapping",)), "a key of [mapping]")
        self._connectors(gateway)
        routes = self._routes()
        syncs = self._syncs()
        gates, rules = ({}, ()) if mapping is None else self._mapping(mapping)
        identities: tuple[Identity, ...] = ()
        encapsulation = None
        doc.warnings += registry().deprecations.values()
        if self.wants_mapping and mapping is not None:
            if self.wants_identities:
                identities = self._identities(mapping)
            if routes is not None and not doc.mistakes:
                self._prove(mapping, rules, routes, gates)
            if gateway is not None and not doc.mistakes:
                encapsulation = self._encapsulation_of(gateway, mapping)
        doc.finish()
        if gateway is None or mapping is None or routes is None or postmaster is None:
            raise AssertionError("a part of the configuration is missing and no mistake was noted")
        config = Config(
            path=doc.path.absolute(),
            base_dir=doc.base,
            gateway=gateway,
            mapping=mapping,
            connectors=self.connectors,
            routes=routes,
            homes=self.homes,
            postmaster=postmaster,
            gates=gates,
            rules=rules,
            syncs=syncs,
            digest=doc.digest,
            expanded=frozenset(doc.put_in),
            encapsulation=encapsulation,
            identities=identities,
            secrets=frozenset(doc.secrets),
            warnings=tuple(doc.warnings),
        )
        if not self.wants_mapping:
            return config
        from mappings.table import MappingError  # as below: many a command runs quicker without the mapping

        try:
            return replace(config, table=config.compile(identities, version=self.version))
        except MappingError as e:
            for problem in e.problems:
                doc.broken_rule(("mapping",), problem)
            doc.finish()
            raise

    def _gateway(self, gateway: GatewaySection) -> Address:
        doc = self.doc
        # The URL is no secret as a whole; the password in it is.
        doc.secrets.discard(gateway.spool)
        if not gateway.spool.startswith("sqlite:") and (password := urlsplit(gateway.spool).password):
            doc.secrets.update({password, unquote(password)})
        if gateway.retry_min > gateway.retry_max:
            doc.broken_rule(("gateway", "retry_min"), "retry_min is longer than retry_max")
        if gateway.delay_warning >= gateway.expire_after:
            doc.broken_rule(("gateway", "delay_warning"), "delay_warning must be shorter than expire_after")
        if gateway.admin_listen is not None and not ip_address(split_listen(gateway.admin_listen)[0]).is_loopback:
            doc.warnings.append(
                f"admin_listen = {gateway.admin_listen}: /healthz and /metrics are open to whoever reaches this address"
            )
        return registry().parse_in("smtp", gateway.postmaster or f"postmaster@{gateway.name}")

    def _connectors(self, gateway: GatewaySection | None) -> None:
        installed = connectors()
        for name, values in (self.doc.table(("connector",)) or {}).items():
            path = ("connector", name)
            self._named.add(name)
            if not isinstance(values, dict):
                self.doc.mistake(path, show_value(values), f"a table, [connector.{name}]")
                continue
            if not CONNECTOR_NAME.fullmatch(name):
                self.doc.mistake(path, show_value(name), "a name of a-z, 0-9, - and _")
            kind = values.get("type")
            if not isinstance(kind, str):
                found = "no such key" if kind is None else show_value(kind)
                self.doc.mistake((*path, "type"), found, f"an installed connector type: {', '.join(installed)}")
            elif kind not in installed and self.isolate and self._was_at_work(name, kind, gateway):
                self._absent(name, kind, f"connector type {kind!r} is not installed any more", gateway)
            elif kind not in installed:
                near = nearest(kind, list(installed))
                expected = f"an installed connector type: {', '.join(installed)}"
                self.doc.mistake((*path, "type"), show_value(kind), expected, near)
            else:
                self._connector(name, kind, values, installed[kind], gateway)

    def _connector(
        self, name: str, kind: str, values: Mapping[str, Any], entry: Entry, gateway: GatewaySection | None
    ) -> None:
        path = ("connector", name)
        try:
            cls = entry.load()
        except ConnectorUnavailable as e:
            if self.isolate:
                self._absent(name, kind, str(e), gateway)
            else:
                self.doc.broken_rule((*path, "type"), str(e))
            return
        old = entry.deprecation()
        if old is not None:
            self.doc.warnings.append(f"{self.doc.shown}:{self.doc.line((*path, 'type'))}: {old}")
        options = {key: value for key, value in values.items() if key != "type"}
        config = self.doc.model(path, cls.Config, options, f"an option of connector type {kind}")
        if config is None:
            return
        self.connectors[name] = ConnectorSection(name, cls, kind, config, old)
        try:
            made = cls(name, config, _context(self.doc.base, gateway))
            self._networks[name] = made.capabilities.header_networks
            self.homes[name] = self._networks[name][0]
            if isinstance(made, Destination):
                self._sends.add(name)
            if isinstance(made, MailboxStore):
                self._stores.add(name)
        except (OSError, ValueError, ConfigErrors) as e:
            self.doc.broken_rule(path, f"the connector does not take these options: {e}")
        except Exception as e:  # noqa: BLE001  a plugin may raise anything, and the rest is still to be checked
            if self.isolate:
                self._absent(name, kind, f"it cannot be built: {e!r}", gateway)
            else:
                self.doc.broken_rule(path, f"the connector does not take these options: {e!r}")

    def _was_at_work(self, name: str, kind: str, gateway: GatewaySection | None) -> bool:
        if gateway is None:
            return False
        known = remembered(state_dir(gateway, self.doc.base)).get(name)
        return known is not None and known["type"] == kind

    def _absent(self, name: str, kind: str, reason: str, gateway: GatewaySection | None) -> None:
        """Let something stand for a connector that cannot be used, which keeps what it is to send."""
        path = ("connector", name)
        state = None if gateway is None else state_dir(gateway, self.doc.base)
        networks = networks_of(kind, name, state)
        self.connectors[name] = ConnectorSection(name, Absent, kind, AbsentConfig(reason=reason, networks=networks))
        self._networks[name] = networks
        self.homes[name] = networks[0]
        self._sends.add(name)
        self._stores.add(name)
        self.doc.warnings.append(f"{self.doc.shown}:{self.doc.line(path)}: {reason}; mail for it is kept")

    def _routes(self) -> Routes | None:
        doc = self.doc
        routes: list[Route] = []
        for n, values in enumerate(doc.tables(("route",))):
            path = ("route", n)
            section = doc.model(path, RouteSection, values, "a key of [[route]]")
            if section is None:
                continue
            route = Route(section.match, section.to, section.next_hop)
            try:
                Routes([route])
            except RouteError as e:
                doc.mistake((*path, "match"), show_value(section.match), str(e))
            if section.to not in self._named:
                known = ", ".join(sorted(self._named)) or "none is configured"
                near = nearest(section.to, sorted(self._named))
                doc.mistake((*path, "to"), show_value(section.to), f"the name of a connector: {known}", near)
            elif section.to in self.homes and section.to not in self._sends:
                doc.broken_rule((*path, "to"), f"connector {section.to} takes mail in and cannot send any")
            routes.append(route)
        if doc.has_failed(("route",)):
            return None
        return Routes(routes)

    def _syncs(self) -> dict[str, SyncSection]:
        doc = self.doc
        found: dict[str, SyncSection] = {}
        for name, values in (doc.table(("sync",)) or {}).items():
            path = ("sync", name)
            if not isinstance(values, dict):
                doc.mistake(path, show_value(values), f"a table, [sync.{name}]")
                continue
            if not CONNECTOR_NAME.fullmatch(name):
                doc.mistake(path, show_value(name), "a name of a-z, 0-9, - and _")
            section = doc.model(path, SyncSection, values, f"a key of [sync.{name}]")
            for key in ("from", "to", "home"):
                connector = values.get(key)
                if isinstance(connector, str) and connector:
                    self._sync_end((*path, key), connector)
            if section is not None:
                found[name] = section
        return found

    def _sync_end(self, path: tuple[str, ...], connector: str) -> None:
        """Note what is wrong with a connector that a sync names."""
        if connector not in self._named:
            known = ", ".join(sorted(self._named)) or "none is configured"
            near = nearest(connector, sorted(self._named))
            self.doc.mistake(path, show_value(connector), f"the name of a connector: {known}", near)
        elif connector in self.homes and path[-1] == "home" and connector not in self._sends:
            self.doc.broken_rule(path, f"connector {connector} takes mail in and cannot send any")
        elif connector in self.homes and path[-1] != "home" and connector not in self._stores:
            self.doc.broken_rule(path, f"connector {connector} has no mailboxes that could be read")

    def _mapping(self, mapping: MappingSection) -> tuple[dict[str, Address], tuple[Rule, ...]]:
        doc = self.doc
        networks = registry()
        gates: dict[str, Address] = {}
        for name, text in mapping.gates.items():
            path = ("mapping", "gates", name)
            if not networks.is_installed(name):
                doc.mistake(path, show_value(name), f"an installed network: {', '.join(networks.names)}")
                continue
            try:
                gates[name] = networks.parse(text)
            except AddressError as e:
                doc.mistake(path, show_value(text), f"an address of network {name} ({e.message})")
        tables = [Lookup(name, tuple(pairs.items())) for name, pairs in mapping.tables.items()]
        rules = [self._rule(n, section, tables) for n, section in enumerate(mapping.rule)]
        self._sharing(mapping)
        return gates, tuple(rules)

    def _rule(self, n: int, section: RuleSection, tables: Sequence[Lookup]) -> Rule:
        doc = self.doc
        path = ("mapping", "rule", n)
        named = {key: _TABLE_NAME.findall(getattr(section, key)) for key in ("match", "to")}
        used = tuple(t for t in tables if t.name in named["match"] + named["to"])
        rule = Rule(section.match, section.to, Way(section.direction), used, section.source, section.destination)
        names = [table.name for table in tables]
        for key, some in named.items():
            for name in some:
                if name not in names:
                    known = ", ".join(f"[mapping.tables.{each}]" for each in names) or "none is configured"
                    doc.mistake((*path, key), show_value(name), f"the name of a table: {known}", nearest(name, names))
        networks = registry()
        for key in ("source", "destination"):
            for word in getattr(section, key):
                kind, colon, name = word.rpartition(":")
                if colon and (kind != "connector" or name not in self._named):
                    known = ", ".join(f"connector:{each}" for each in sorted(self._named)) or "none is configured"
                    near = nearest(name, sorted(self._named))
                    doc.mistake((*path, key), show_value(word), f"a network, or a connector: {known}", near)
                elif not colon and not networks.is_installed(word):
                    known = ", ".join(networks.names)
                    doc.mistake((*path, key), show_value(word), f"connector:NAME, or an installed network: {known}")
        if not doc.has_failed(path):
            try:
                compile_rule(rule, n)
            except RuleError as e:
                doc.broken_rule((*path, "to" if str(e).startswith(repr(rule.to)) else "match"), str(e))
        return rule

    def _prove(
        self, mapping: MappingSection, rules: Sequence[Rule], routes: Routes, gates: Mapping[str, Address]
    ) -> None:
        """Note every reason why the rules and routes should not come into force together."""
        from mappings.prove import RouteLike, prove

        doc = self.doc
        ways = [
            RouteLike(network, pattern, route.to, self._networks.get(route.to, ()))
            for route, (network, pattern) in zip(routes.routes, routes.patterns(), strict=True)
        ]
        domains = []
        for domain in mapping.domains:
            with suppress(AddressError):  # which is told when the table is made
                domains.append(domain_key(domain))
        found = prove(
            [compile_rule(rule, n) for n, rule in enumerate(rules)],
            ways,
            domains=domains,
            gates=gates,
            places=[Place(network, name) for name, network in self.homes.items()],
        )
        for one in found:
            path: tuple[str | int, ...] = ("mapping",)
            if one.rule is not None:
                path = ("mapping", "rule", one.rule)
            elif one.route is not None:
                path = ("route", one.route)
            if one.refuses:
                doc.broken_rule(path, one.text)
            else:
                doc.warnings.append(f"{doc.shown}:{doc.line(path)}: {one.text}")

    def _sharing(self, mapping: MappingSection) -> None:
        doc = self.doc
        domains = {domain.lower() for domain in mapping.domains}
        for n, shared in enumerate(mapping.shared):
            path = ("mapping", "shared", n)
            if shared.domain.lower() not in domains:
                doc.mistake((*path, "domain"), show_value(shared.domain), "one of the domains of [mapping]")
            for system in shared.systems:
                if system not in self._named:
                    known = ", ".join(sorted(self._named)) or "none is configured"
                    near = nearest(system, sorted(self._named))
                    doc.mistake((*path, "systems"), show_value(system), f"the name of a connector: {known}", near)
        for n, pattern in enumerate(mapping.paid_senders):
            try:
                glob(pattern)
            except RouteError as e:
                doc.mistake(("mapping", "paid_senders", n), show_value(pattern), str(e))

    def _identities(self, mapping: MappingSection) -> tuple[Identity, ...]:
        from mappings.interchange import read_csv

        doc = self.doc
        identities: list[Identity] = []
        for n, name in enumerate(mapping.imports):
            path = ("mapping", "import", n)
            file = doc.base / name
            try:
                octets = file.read_bytes()
            except OSError as e:
                doc.mistake(path, f"{show_value(name)} ({e.strerror})", "a CSV file of identities that can be read")
                continue
            found, problems = read_csv(octets)
            identities += found
            for p in problems:
                doc.mistake_in(str(doc.path.parent / name), p.line, p.column, p.message)
        return tuple(identities)

    def _encapsulation_of(self, gateway: GatewaySection, mapping: MappingSection) -> Encapsulation | None:
        try:
            return self._encapsulation(gateway, mapping.encapsulation)
        except (OSError, ValueError) as e:
            self.doc.broken_rule(("mapping", "encapsulation"), str(e))
            return None

    def _encapsulation(self, gateway: GatewaySection, section: EncapsulationSection) -> Encapsulation:
        if section.key is not None:
            signing = Key(section.key_id, section.key.get_secret_value().encode())
        else:
            folder = state_dir(gateway, self.doc.base)
            kept = folder / KEY_FILE
            if not self.dry:
                ensure_key(folder)
            try:
                secret = kept.read_text(encoding="utf-8").strip()
            except FileNotFoundError:
                # Nothing was ever signed, so any key does for a check.
                signing = new_key(section.key_id)
            else:
                self.doc.secrets.add(secret)
                signing = Key(section.key_id, secret.encode())
        retired = [Key(k.id, k.key.get_secret_value().encode(), retired=True) for k in section.retired]
        domains = [section.domain or gateway.name, *section.former_domains]
        return Encapsulation(domains, [signing, *retired], percent=section.percent)


def unstarted(config: Config, name: str) -> Connector | None:
    """Return a configured connector as it is before its start; None where no such one is configured."""
    section = config.connectors.get(name)
    return None if section is None else section.cls(name, section.config, _context(config.base_dir, config.gateway))


def _context(base: Path, gateway: GatewaySection | None) -> Any:
    """Return what a connector is built with to be asked for its capabilities; it is never started."""
    name = "localhost" if gateway is None else gateway.name
    folder = base if gateway is None else state_dir(gateway, base)
    return Context(hostname=name, state_dir=folder, base_dir=base, log=Silence({}), clock=time.time)
