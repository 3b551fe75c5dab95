"""Outline: what the configuration of another mail server says, in words of no server.

A reader fills it in; what it cannot say here it adds to `left`, so that nothing is dropped without a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Literal

from gateway.quantity import parse_duration

Carriage = Literal["smtp", "lmtp"]
WhenDown = Literal["accept", "tempfail", "reject"]
TlsOut = Literal["none", "opportunistic", "require", "verify", "implicit"]

_TIME: Final = re.compile(r"(\d+)([smhdw]?)")
MAX_LEFT: Final = 20_000
HIDDEN: Final = "(not shown)"
_SECRETS: Final = (
    # A setting called a password, or one that has them among what it names; paths of files and tables are none.
    re.compile(r"(?is)((?:hide\s+)?[\w.-]*(?:passw|passphrase|secret|_pw\b)[\w.-]*(?<!_maps)(?<!_file)\s*=\s*).+"),
    re.compile(r"(?is)((?:hide\s+)?(?:mysql|pgsql|oracle|ibase|redis|ldap)_\w*servers\s*=\s*).+"),
    re.compile(r"(?is)(hide\s+\w+\s*=\s*).+"),
    # user:password as the one value of a table, or in the rows of one that stands in the setting itself
    re.compile(r"(?is)(.*\bstatic:)\{?[^\s:]+:.+"),
    re.compile(r"(?is)(.*\binline:).*=[^}]*:.+"),
)


@dataclass(frozen=True, slots=True)
class Left:
    """Something that was not taken: where it stands, what it is, and why it was not or what to do instead."""

    place: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}: {self.why}" if self.place else f"{self.what}: {self.why}"


@dataclass(frozen=True, slots=True)
class Hop:
    """How mail is carried to one next hop. `host` is None for the MX hosts of each recipient's domain.

    With `by_mx` it goes to the MX hosts of `host`, else to `host` itself, which may be a path, for a socket of the file
    system. `port` is None for the protocol's own.
    """

    carriage: Carriage = "smtp"
    host: str | None = None
    port: int | None = None
    by_mx: bool = False

    @property
    def smart_host(self) -> str | None:
        """Return it as the option `smart_host` has it, None for MX hosts."""
        if self.host is None or self.by_mx:
            return None
        if self.host.startswith("/"):
            return f"unix:{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Local:
    """That mail is for mailboxes of this machine; `path` has `{user}` and `{domain}`, or `{mailbox}` in it."""

    form: Literal["maildir", "mbox"] = "mbox"
    path: str = "/var/mail/{user}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table that says who has which addresses or how mail is carried.

    `format` is one of `mappings.formats`, or `users` and `mailboxes`, whose keys alone count; `place` is shown to
    people. `options` are those of the format, without `origin`, `destinations` and `homes`.
    """

    format: str
    place: str
    octets: bytes
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Milter:
    """A mail filter: its socket as `unix:/path` or `host:port`, and what happens while it is down."""

    socket: str
    when_down: WhenDown = "tempfail"
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """One row of an access table: of whom it is said (`client`, `helo`, `sender`, `recipient`), and what.

    `pattern` is an address, a domain with all below it, a user as `user@`, or for clients also a network.
    """

    place: str
    who: Literal["client", "helo", "sender", "recipient"]
    pattern: str
    action: Literal["accept", "reject", "defer", "discard"]
    text: str = ""
    past_lists: bool = True
    """With `accept`: who is accepted is not looked up in block lists either, as `accept` has it here."""


@dataclass(slots=True)
class Outline:
    """All that is known of one server. Domains and networks are in the order in which they were met, once each."""

    system: str
    name: str = ""
    postmaster: str | None = None
    listen: list[str] = field(default_factory=list)
    """Plain SMTP, as `host:port`."""
    submission: list[str] = field(default_factory=list)
    submission_tls: list[str] = field(default_factory=list)
    """Submission by those who log in, with STARTTLS and with TLS from the first octet."""
    origin: str | None = None
    """The domain of users who are named without one."""
    local_domains: dict[str, None] = field(default_factory=dict)
    """Domains of the users of this machine."""
    alias_domains: dict[str, None] = field(default_factory=dict)
    """Domains of ours that have addresses in tables alone."""
    mailbox_domains: dict[str, None] = field(default_factory=dict)
    """Domains whose mailboxes are named by a table."""
    relay_domains: dict[str, str] = field(default_factory=dict)
    """Domains of others that we take mail for, each with its place; `.example` stands for all below it."""
    relay_recipients: list[Table] | None = None
    """Who there is in `relay_domains`; None where everybody is taken."""
    relay_networks: dict[str, None] = field(default_factory=dict)
    excluded_networks: dict[str, None] = field(default_factory=dict)
    """Parts of `relay_networks` that may not relay."""
    is_closed: bool = False
    """Nobody relays by their address, whatever `relay_networks` says."""
    default: Hop = field(default_factory=Hop)
    """Where mail goes that no table says anything of."""
    relay_hop: Hop | None = None
    """Where mail for `relay_domains` goes, if elsewhere."""
    local: Local | Hop | None = None
    """How the users of this machine get their mail; None where it has none."""
    mailboxes: Local | Hop | None = None
    """How those of `mailbox_domains` do."""
    users: list[tuple[str, str]] = field(default_factory=list)
    """(login name, full name) of the users of this machine."""
    tables: list[Table] = field(default_factory=list)
    hops: dict[str, Hop | Local] = field(default_factory=dict)
    """What the transports in tables stand for, by `transport:nexthop`."""
    auth: tuple[str, str] | None = None
    """User and password at the smart host."""
    dovecot_auth: str | None = None
    """Dovecot's socket by which those who submit mail log in."""
    senders: Literal["own", "any"] = "any"
    """Whether those who log in may send under their own addresses alone."""
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_in: Literal["off", "offer", "require"] | None = None
    tls_out: TlsOut | None = None
    ca_file: str | None = None
    max_message_bytes: int | None = None
    max_recipients: int | None = None
    max_hops: int | None = None
    expire_after_s: float | None = None
    delay_warning_s: float | None = None
    retry_min_s: float | None = None
    retry_max_s: float | None = None
    max_concurrency: int | None = None
    greet_delay_s: float | None = None
    milters: list[Milter] = field(default_factory=list)
    dnsbl: dict[str, str | None] = field(default_factory=dict)
    """Zones of DNS block lists, each with the answer that counts, if not any."""
    access: list[Access] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    irrelevant: dict[str, None] = field(default_factory=dict)
    """Settings of the other program's own installation, which say nothing of mail."""

    def leave(self, place: str, what: str, why: str) -> None:
        """Note something that is not taken, without the secrets in it: the list of it is for anybody to read."""
        what = what[:300]
        for secret in _SECRETS:
            what = secret.sub(rf"\1{HIDDEN}", what, count=1)
        if len(self.left) < MAX_LEFT:
            self.left.append(Left(place, what, why))
        elif self.left[-1].what != "more":
            self.left.append(Left("", "more", f"over {MAX_LEFT} settings or rows were not taken; these are the first"))

    def no_relaying(self) -> None:
        """Have nobody relay by their address: whom an exception keeps out cannot be read."""
        self.is_closed = True

    def relaying(self) -> list[str]:
        """Return the networks that may relay, without those parts of them that may not."""
        if self.is_closed:
            return []
        left = [ip_network(each) for each in self.relay_networks]
        for text in self.excluded_networks:
            out = ip_network(text)
            kept: list[IPv4Network | IPv6Network] = []
            for network in left:
                if network.version != out.version or not network.overlaps(out):
                    kept.append(network)
                elif network.prefixlen < out.prefixlen:
                    kept += sorted(network.address_exclude(out))  # type: ignore[arg-type]  # of one version, as tested
            left = kept
        return [str(network) for network in left]

    @property
    def message_bytes(self) -> int | None:
        """Return the largest message, of at least what is the least here."""
        return self.max_message_bytes and max(65_536, self.max_message_bytes)

    @property
    def ours(self) -> dict[str, None]:
        """All domains in which an unknown address is nobody's."""
        return {**self.local_domains, **self.alias_domains, **self.mailbox_domains}


def network_of(text: str) -> str | None:
    """Return a network in CIDR form, None where a text is none.

    Access tables write `10`, `10.1`, `10.1.2.3` and `IPv6:2001:db8`, besides that form.
    """
    text = text.removeprefix("[").removesuffix("]")
    if text.lower().startswith("ipv6:"):
        bare = text[5:]
        groups = bare.split(":")
        try:
            if "::" in bare or len(groups) == 8 or "/" in bare:
                return str(ip_network(bare, strict=False))
            return str(ip_network(f"{bare}::/{16 * len(groups)}", strict=False))
        except ValueError:
            return None
    if re.fullmatch(r"\d{1,3}(\.\d{1,3}){0,3}", text):
        parts = text.split(".")
        text = ".".join(parts + ["0"] * (4 - len(parts))) + f"/{8 * len(parts)}"
    elif "/" not in text:
        return None
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        return None


def seconds_of(text: str, unit: str) -> float | None:
    """Return the seconds of a time such as `3d`, or of a number of `unit`; None where a text is none."""
    found = _TIME.fullmatch(text)
    return parse_duration(f"{found[1]}{found[2] or unit}") if found is not None else None
