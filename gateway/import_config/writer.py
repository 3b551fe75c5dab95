"""Writer: an outline and its people as `gatepost.toml`, `people.csv` and the list of what was not taken."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.import_config.outline import Access, Hop, Local, Outline, network_of
from gateway.import_config.people import People, people_of
from gateway.quantity import show_duration
from mappings.interchange_writer import write_table
from mappings.network import Registry
from mappings.rule import Way

_NO_SIGN: Final = re.compile(r"[^a-z0-9]+")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_CODE: Final = re.compile(r"^\"?[245]\d\d +(?:[245]\.\d+\.\d+ +)?")
SPOOL: Final = "sqlite:////var/spool/gatepost"


@dataclass(slots=True)
class Made:
    """The files of a new configuration, by name, and what was not taken."""

    files: dict[str, bytes] = field(default_factory=dict)
    secret: frozenset[str] = frozenset()
    """Names of those that hold a secret."""
    outline: Outline = field(default_factory=lambda: Outline(""))
    people: People = field(default_factory=People)


def make(outline: Outline, networks: Registry) -> Made:
    """Return the files for an outline. What has no place in them is added to `outline.left`."""
    made = _Maker(outline, networks).made()
    made.files["not-taken.txt"] = "".join(f"{line}\n" for line in not_taken(outline)).encode()
    return made


def not_taken(outline: Outline) -> Iterator[str]:
    """Yield a line for each thing that was not taken, and one for the settings that say nothing of mail."""
    yield from (str(each) for each in outline.left)
    if outline.irrelevant:
        names = ", ".join(outline.irrelevant)
        yield f"settings of {outline.system}'s own installation, which say nothing here: {names}"


class _Maker:
    def __init__(self, outline: Outline, networks: Registry) -> None:
        self._outline = outline
        self._networks = networks
        self._connectors: dict[str, dict[str, Any]] = {}
        self._names: dict[Hop | Local, str] = {}
        self._next_hops: dict[Hop, str] = {}
        self._files: dict[str, bytes] = {}

    def made(self) -> Made:
        outline = self._outline
        self._internet()
        named = {hop: self._name(to) for hop, to in outline.hops.items()}
        if outline.local is not None and outline.local_domains:
            named["local"] = self._name(outline.local)
        if outline.mailboxes is not None:
            named["mailboxes"] = self._name(outline.mailboxes)
        relay = None if outline.relay_hop is None else self._name(outline.relay_hop)
        people = people_of(outline, named, self._networks)
        self._say_whose_mailboxes_are()
        csv, problems = write_table(people.identities, self._networks)
        for problem in problems:
            outline.leave("people.csv", "an identity", str(problem))
        self._files["people.csv"] = csv.encode()
        self._files["gatepost.toml"] = self._toml(people, named, relay).encode()
        secret = frozenset(name for name in self._files if name.endswith("-password"))
        return Made(self._files, secret, outline, people)

    # Connectors

    def _internet(self) -> None:
        outline = self._outline
        options: dict[str, Any] = {"type": "smtp"}
        if outline.listen:
            options["listen"] = list(dict.fromkeys(outline.listen))
        options["relay_networks"] = outline.relaying()
        self._hop_options(options, outline.default)
        if outline.tls_out is not None and outline.default.carriage == "smtp":
            options["tls"] = outline.tls_out
        if outline.ca_file:
            options["ca_file"] = outline.ca_file
        if outline.auth is not None:
            user, password = outline.auth
            options.setdefault("smart_host", _as_host(outline.default))
            options |= {"auth_user": user, "auth_password": "file:relay-password"}
            self._files["relay-password"] = f"{password}\n".encode()
        if outline.tls_cert:
            options["tls_cert"] = outline.tls_cert
            if outline.tls_key:
                options["tls_key"] = outline.tls_key
            options["starttls"] = outline.tls_in or "offer"
        for key, value in (
            ("max_message_bytes", outline.message_bytes),
            ("max_recipients", outline.max_recipients and max(100, outline.max_recipients)),
            ("max_connections_per_hop", outline.max_concurrency),
            ("greet_delay_s", outline.greet_delay_s),
        ):
            if value is not None:
                options[key] = value
        milters = [
            {"name": f"filter-{number}", "at": each.socket, "on_fault": each.when_down}
            for number, each in enumerate(outline.milters, 1)
        ]
        if milters and outline.listen:
            options["milters"] = milters
        if outline.listen:
            self._screening(options)
        self._connectors["internet"] = options
        self._names[outline.default] = "internet"
        self._submission(options)

    def _screening(self, options: dict[str, Any]) -> None:
        """Set who is refused: by DNS block lists, and by a table of rules in a file of its own."""
        outline = self._outline
        if outline.dnsbl:
            options["dns_lists"] = {
                "lists": [
                    {"zone": zone} | ({"answers": [f"{answer}/32"]} if answer else {})
                    for zone, answer in outline.dnsbl.items()
                ]
            }
        rules = access_rules(self._heeded(outline.access))
        if rules:
            options["access"] = {"table": "access-rules"}
            self._files["access-rules"] = "".join(f"{rule}\n" for rule in rules).encode()

    def _heeded(self, rows: Sequence[Access]) -> Iterator[Access]:
        """Yield the rows that let nobody past the block lists whom the other server would have looked up there."""
        outline = self._outline
        for row in rows:
            if row.action == "accept" and not row.past_lists and outline.dnsbl:
                why = "here it would let them past the block lists, too, and anybody can call themselves so"
                outline.leave(row.place, f"{row.who} {row.pattern} accept", why)
            else:
                yield row

    def _submission(self, internet: dict[str, Any]) -> None:
        """Make the connector by which those who log in submit mail."""
        outline = self._outline
        if not (outline.submission or outline.submission_tls):
            return
        places = ", ".join((*outline.submission, *outline.submission_tls))
        if outline.dovecot_auth is None or not outline.tls_cert:
            why = "it needs a certificate and accounts: tls_cert and [connector.NAME.login]"
            outline.leave("", f"submission at {places}", why)
            return
        options: dict[str, Any] = {"type": "smtp"}
        if outline.submission:
            options["listen"] = list(outline.submission)
        if outline.submission_tls:
            options["tls_listen"] = list(outline.submission_tls)
        options["relay_networks"] = []
        options |= {key: internet[key] for key in ("tls_cert", "tls_key", "max_message_bytes") if key in internet}
        options["starttls"] = "require"
        options["login"] = {"dovecot": outline.dovecot_auth, "senders": outline.senders}
        self._connectors["submission"] = options

    def _hop_options(self, options: dict[str, Any], hop: Hop) -> None:
        if hop.carriage == "lmtp":
            options["protocol_out"] = "lmtp"
        if hop.smart_host is not None:
            options["smart_host"] = hop.smart_host
        elif hop.port is not None:
            options["port"] = hop.port

    def _name(self, to: Hop | Local) -> str:
        """Return the connector that carries mail to a place, made where there is none yet."""
        if isinstance(to, Hop) and to.carriage == "smtp" and to.smart_host is None:
            # Mail by MX hosts goes through one connector for each port; which name is asked is a route's next hop.
            to = Hop("smtp", None, to.port)
            if to.port is None and self._outline.default.smart_host is None and self._outline.default.port is None:
                return "internet"
        if to not in self._names:
            options: dict[str, Any] = {"type": "smtp"}
            if isinstance(to, Local):
                word = "mailboxes"
                options = local_options(to)
            else:
                self._hop_options(options, to)
                if self._outline.tls_out is not None and to.carriage == "smtp":
                    options["tls"] = self._outline.tls_out
                if to.carriage == "lmtp":
                    options["tls"] = "none"
                word = _NO_SIGN.sub("-", (to.host or "mx").rpartition("/")[2].lower()).strip("-") or to.carriage
            name, number = word, 1
            while name in self._connectors:
                number += 1
                name = f"{word}-{number}"
            self._connectors[name] = options
            self._names[to] = name
        return self._names[to]

    def _say_whose_mailboxes_are(self) -> None:
        for place in self._names:
            if isinstance(place, Local):
                why = "the gateway writes as its own user; give it that right, or deliver by LMTP to their server"
                self._outline.leave("", f"mailboxes at {place.path}", why)

    # The file

    def _toml(self, people: People, named: dict[str, str], relay: str | None) -> str:
        outline = self._outline
        gateway: dict[str, Any] = {"name": outline.name, "spool": SPOOL}
        if outline.postmaster:
            gateway["postmaster"] = outline.postmaster
        for key, value in (
            ("max_message_bytes", outline.message_bytes),
            ("max_hops", outline.max_hops),
            ("expire_after", outline.expire_after_s and show_duration(outline.expire_after_s)),
            ("delay_warning", None if outline.delay_warning_s is None else show_duration(outline.delay_warning_s)),
            ("retry_min", outline.retry_min_s and show_duration(outline.retry_min_s)),
            ("retry_max", outline.retry_max_s and show_duration(outline.retry_max_s)),
        ):
            if value is not None:
                gateway[key] = value
        relayed = self._relay_domains(relay, people)
        mapping: dict[str, Any] = {"domains": list(dict.fromkeys((*outline.ours, *(each for each, _ in relayed))))}
        if people.identities:
            mapping["import"] = ["people.csv"]
        parts = [_table("gateway", gateway), _table("mapping", mapping)]
        for rule in people.rules:
            written = {"match": rule.match, "to": rule.to}
            if rule.way is not Way.BOTH:
                written["direction"] = rule.way.value
            parts.append(_table("mapping.rule", written, many=True))
        parts += [
            _table("mapping.shared", {"domain": domain, "systems": [connector]}, many=True)
            for domain, connector in relayed
            if connector is not None
        ]
        parts += [_table(f"connector.{name}", options) for name, options in self._connectors.items()]
        parts += [_table("route", route, many=True) for route in self._routes(people, named, relay)]
        head = (
            f"# Made from the configuration of {outline.system}. What was not taken, and why, is in not-taken.txt;\n"
            "# `gatepost check` tells what this file still needs.\n\n"
        )
        return head + "\n".join(parts)

    def _relay_domains(self, relay: str | None, people: People) -> list[tuple[str, str | None]]:
        """Return the domains of others that we take mail for, with the system that knows who is there.

        None is that system's name where a table says who is there.
        """
        outline = self._outline
        routed = {row.match.removeprefix("smtp:*@"): row.connector for row in people.routes}
        found: list[tuple[str, str | None]] = []
        below = {domain: place for domain, place in outline.relay_domains.items() if domain.startswith(".")}
        if below:
            why = "mail for all domains below one is taken from relay_networks alone; name the domains one by one"
            outline.leave(next(iter(below.values())), f"relay for {', '.join(below)}", why)
        for domain in outline.relay_domains:
            if domain in below:
                continue
            known = outline.relay_recipients is not None and domain not in people.open_domains
            found.append((domain, None if known else routed.get(domain) or relay or "internet"))
        return found

    def _routes(self, people: People, named: dict[str, str], relay: str | None) -> Iterator[dict[str, str]]:
        outline = self._outline
        seen: set[str] = set()
        order = sorted(people.routes, key=lambda row: _rank(row.match))
        places: list[tuple[str, str | None, str | None]] = [(r.match, r.connector, r.next_hop) for r in order]
        local = [(f"smtp:*@{domain}", named.get("local"), None) for domain in outline.local_domains]
        local += [(f"smtp:*@{domain}", named.get("mailboxes"), None) for domain in outline.mailbox_domains]
        exact = [place for place in places if not place[0].startswith("smtp:*@*.") and place[0] != "smtp:*"]
        rest = [place for place in places if place not in exact]
        relayed = [(f"smtp:*@{domain}", relay, None) for domain in outline.relay_domains if domain[0] != "."]
        for match, connector, next_hop in (*exact, *local, *relayed, *rest):
            if connector is None or match in seen:
                continue
            seen.add(match)
            yield {"match": match, "to": connector} | ({"next_hop": next_hop} if next_hop else {})
        if "smtp:*" not in seen:
            default = {"match": "smtp:*", "to": "internet"}
            if outline.default.by_mx and outline.auth is None and outline.default.host:
                default["next_hop"] = outline.default.host
            yield default


_ACTIONS: Final = {"accept": "accept", "reject": "reject", "defer": "tempfail", "discard": "reject"}


def access_rules(rows: Iterable[Access]) -> list[str]:
    """Return rules as lines of a table, those for less before those for more: the first that applies decides."""
    found: dict[tuple[str, str], tuple[tuple[int, int], str]] = {}
    for row in rows:
        for rank, pattern in _patterns(row):
            text = " ".join(_CODE.sub("", row.text).split())
            line = f"{row.who} {pattern} {_ACTIONS[row.action]} {text}".rstrip()
            found.setdefault((row.who, pattern), (rank, line))
    return [line for _, line in sorted(found.values(), key=lambda each: each[0])]


def _patterns(row: Access) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield (rank, pattern) of what a key of an access table stands for."""
    key = row.pattern
    network = network_of(key)
    if row.who == "client" and network is not None:
        yield (1, -int(network.rpartition("/")[2])), network
    elif row.who in ("client", "helo"):
        bare = key.removeprefix(".")
        if bare == key:
            yield (2, -key.count(".")), key
        yield (3, -key.count(".")), f"*.{bare}"
    elif key.endswith("@"):
        yield (4, 0), f"{key}*"
    elif "@" in key:
        yield (1, 0), key
    else:
        bare = key.removeprefix(".")
        if bare == key:
            yield (2, -key.count(".")), f"*@{key}"
        yield (3, -key.count(".")), f"*@*.{bare}"


def local_options(local: Local) -> dict[str, Any]:
    """Return the options of the connector that puts mail into mailboxes of this machine."""
    options: dict[str, Any] = {"type": "local", "format": local.form, "path": local.path, "create": True}
    if local.form == "mbox":
        options["dialect"] = "mboxo"
    return options


def _as_host(hop: Hop) -> str:
    return hop.host if hop.port is None and hop.host else f"{hop.host}:{hop.port}"


def _rank(match: str) -> int:
    return 0 if not match.startswith("smtp:*@*.") else (1 << 20 if match == "smtp:*" else (1 << 10) - match.count("."))


def _table(name: str, values: dict[str, Any], *, many: bool = False) -> str:
    """Return a table; what is a table in it, or a list of tables, follows under a head of its own."""
    head = f"[[{name}]]" if many else f"[{name}]"
    below = {key: value for key, value in values.items() if isinstance(value, dict) or _is_tables(value)}
    parts = ["\n".join((head, *(f"{_key(k)} = {_value(v)}" for k, v in values.items() if k not in below), ""))]
    for key, value in below.items():
        for each in value if isinstance(value, list) else [value]:
            parts.append(_table(f"{name}.{_key(key)}", each, many=isinstance(value, list)))
    return "\n".join(parts)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Iterable) and not isinstance(value, str):
        each = [_value(one) for one in value]
        flat = f"[{', '.join(each)}]"
        return flat if len(flat) < 100 else "[\n    " + ",\n    ".join(each) + ",\n]"
    return _text(value) if isinstance(value, str) else str(value)


def _text(text: str) -> str:
    """Return a basic string of TOML; `$` is doubled, which a configuration would take for a variable."""
    return json.dumps(text.replace("${", "$${"), ensure_ascii=False).replace("\x7f", "\\u007f")
