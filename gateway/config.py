"""The configuration: the whole TOML file as models, and the one place that reads files, environment and secrets.

Promises: `load` returns a Config in which everything is checked against everything else (addresses are well formed,
routes lead to connectors that can send, identities do not contradict each other), or raises ConfigErrors with every
mistake at once. A Config never changes; a reload makes another one. Secrets are kept out of `repr` and are listed in
`secrets`, so that a log can leave them out.
"""

from __future__ import annotations

import os
import re
import secrets as random
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

from gateway.config_file import ConfigErrors, Document, Mistake
from gateway.places import DEFAULT_SPOOL, default_file, spool_folder, state_folder
from gateway.quantity import Duration, Size

if TYPE_CHECKING:
    from gateway.config_sync import SyncSection
    from gateway.contract import Connector, ConnectorConfig
    from gateway.route import Routes
    from mappings.address import Address
    from mappings.directory import Directory
    from mappings.encapsulation import Encapsulation
    from mappings.identity import Identity
    from mappings.rule import Rule
    from mappings.table import Table
    from mappings.tokens import TokenBook

KEY_FILE: Final = "encapsulation.key"
MOST_WORKERS: Final = 4
"""Where the configuration names no number. Each is some 100 MiB of memory, and four take what most sites ever get."""
CONNECTOR_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9-]{1,63})*")


def _expect(form: str) -> PydanticCustomError:
    return PydanticCustomError("expected", "{form}", {"form": form})


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise _expect('a host name, such as "gw.merged.example"')
    return text.lower()


def _spool(text: str) -> str:
    kind, separator, rest = text.partition("://")
    if separator and kind == "sqlite" and len(rest) > 1 and rest.startswith("/"):
        return text
    if separator and kind in ("postgresql", "postgres") and rest:
        return text
    raise _expect('"sqlite:///folder", "sqlite:////absolute/folder" or "postgresql://user@host/database"')


def _mailbox(text: str) -> str:
    from mappings.network import AddressError, registry

    try:
        return registry().parse_in("smtp", text.removeprefix("smtp:")).value if text else ""
    except AddressError as e:
        raise _expect(f'an internet address, such as "postmaster@merged.example" ({e.message})') from None


def _key_id(text: str) -> str:
    if len(text) != 1 or text not in "abcdefghijklmnopqrstuvwxyz234567":
        raise _expect("one character of a-z or 2-7")
    return text


def _listen(text: str) -> str:
    try:
        split_listen(text)
    except ValueError as e:
        raise _expect(str(e)) from None
    return text


def split_listen(text: str) -> tuple[str, int]:
    """Return (IP address, port) of "127.0.0.1:8025" or "[::1]:8025"; port 0 asks for any free one.

    Raises: ValueError that names the right form.
    """
    host, colon, port = text.rpartition(":")
    try:
        if not colon or not port.isdecimal() or int(port) > 65535:
            raise ValueError
        return str(ip_address(host.strip("[]") if host.startswith("[") else host)), int(port)
    except ValueError:
        raise ValueError('an IP address and a port, such as "127.0.0.1:8025"') from None


Host = Annotated[str, AfterValidator(_host)]
KeyId = Annotated[str, AfterValidator(_key_id)]


class Section(BaseModel):
    """One table of the file: unknown keys are errors, every option has a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class GatewaySection(Section):
    """[gateway]: the gateway itself."""

    name: Host = Field(description="The gateway's own host name: in EHLO, Received fields and Message-IDs.")
    spool: Annotated[str, AfterValidator(_spool)] = Field(
        DEFAULT_SPOOL,
        repr=False,  # it may hold a password, which is kept apart as a secret
        json_schema_extra={"secret": False},
        description="Where messages are kept until they are delivered. `sqlite:///folder` names a folder "
        "(three slashes: relative to this file, four: absolute); `postgresql://user@host/database` a database that "
        "nodes share.",
    )
    state: str | None = Field(
        None,
        description="Folder for control sockets, keys and the connectors' own files. Absent: `state` in the spool's "
        "folder, or beside this file where the spool is remote.",
    )
    workers: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Worker processes, each with a spool file of its own on SQLite. Absent: one, or, where a connector "
        "has to compute much for each message (`authentication` of SMTP), one for each processor, four at most.",
    )
    postmaster: Annotated[str, AfterValidator(_mailbox)] = Field(
        "", description="Mailbox of the person in charge: mail to `postmaster` of our domains. Absent: postmaster@name."
    )
    admin_listen: Annotated[str, AfterValidator(_listen)] | None = Field(
        None,
        description='Address of /healthz and /metrics, such as "127.0.0.1:8025"; keep it on the loopback. '
        "Absent: neither is served.",
    )
    log_format: Literal["console", "json"] = Field("console", description="Log lines for people, or as JSON.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level that is logged."
    )
    trace_days: float = Field(
        30, ge=0, le=3650, description="Days that the trace of a message is kept, without content."
    )
    parked_days: float = Field(
        30,
        ge=1,
        le=3650,
        description="Days that a parked delivery, such as a report that nobody takes, is kept for somebody to look at; "
        "then it is dropped.",
    )
    keep_delivered: Duration = Field(
        0.0, description='Time for which the content of delivered messages is kept for a later replay; "0" keeps none.'
    )
    keep_delivered_bytes: Size = Field(
        1 << 30, description="Most room for what `keep_delivered` keeps; the oldest goes first."
    )
    min_free_bytes: Size = Field(
        256 << 20, description="Free room in the spool's file system below which new mail is put off with 452."
    )
    max_message_bytes: Size = Field(100 << 20, description="Largest message taken.")
    max_recipients: int = Field(1000, ge=1, le=100_000, description="Most recipients of one message.")
    # RFC 5321 §6.3: a loop is assumed at 100 Received fields or more, never at few.
    max_hops: int = Field(100, ge=10, le=1000, description="Received fields at which a message is refused as looping.")
    expire_after: Duration = Field(
        5 * 86_400.0, gt=0, description="Time after which an undelivered message is returned to its sender."
    )
    delay_warning: Duration = Field(
        4 * 3600.0, description='Age at which a sender is told once that a message is late; "0" for never.'
    )
    retry_min: Duration = Field(60.0, gt=0, description="Wait before the second attempt; it grows from there.")
    retry_max: Duration = Field(3600.0, gt=0, description="Longest wait between two attempts.")
    max_concurrency: int = Field(
        20,
        ge=1,
        le=1000,
        description="Most deliveries to one next hop at once; each begins low and grows with success.",
    )
    age_alarm: Duration = Field(86_400.0, gt=0, description="Age of the oldest queued message at which the log warns.")
    stop_after: Duration = Field(
        10.0, gt=0, le=600, description="Longest time that a stop waits for what is in flight."
    )


class RuleSection(Section):
    """[[mapping.rule]]: a whole domain or address space translated by pattern."""

    match: str = Field(
        description="Pattern of addresses as others write them, such as `smtp:{local}@{wg}.mhs.example`."
    )
    to: str = Field(description="Pattern of the addresses they stand for, such as `mhs:{local}@{wg}`.")
    direction: Literal["both", "inward", "outward", "to", "from"] = Field(
        "both",
        description="`inward` translates recipients from `match` to `to`; `outward` shows senders of `to` as `match`; "
        "`both` does both. `to` and `from` are older words for inward and outward.",
    )
    source: tuple[str, ...] = Field(
        (),
        description="Networks, or connectors as `connector:NAME`: recipients are translated only in mail from there. "
        "Absent: from anywhere.",
    )
    destination: tuple[str, ...] = Field(
        (),
        description="Networks, or connectors as `connector:NAME`: senders are shown so only in mail to there. "
        "Absent: to anywhere.",
    )


class RetiredKey(Section):
    """[[mapping.encapsulation.retired]]: a key that still verifies addresses and signs none."""

    id: KeyId = Field(description="The key's id, one character of a-z or 2-7.")
    key: SecretStr = Field(description="The key, as `file:` or `${VARIABLE}`.")


class EncapsulationSection(Section):
    """[mapping.encapsulation]: how foreign addresses that nobody mapped are carried in SMTP addresses."""

    domain: Host | None = Field(
        None, description="Domain of encapsulated addresses; mail to it must reach this gateway. Absent: the name."
    )
    former_domains: tuple[Host, ...] = Field((), description="Domains whose encapsulated addresses are still read.")
    key: SecretStr | None = Field(
        None,
        description="Secret that signs encapsulated addresses, as `file:` or `${VARIABLE}`; the same on all nodes. "
        "Absent: made at the first start and kept in the state folder.",
    )
    key_id: KeyId = Field("a", description="The key's id, one character of a-z or 2-7.")
    retired: tuple[RetiredKey, ...] = Field((), description="Keys that still verify and no longer sign.")
    per_hour: float = Field(
        60.0, gt=0, description="How often strangers may write to one encapsulated address, in an hour."
    )
    percent: bool = Field(False, description="Read `%HH` in encapsulated addresses as `+HH`, as some senders write.")


class SharedSection(Section):
    """[[mapping.shared]]: a domain of ours that other systems share, each with mailboxes that we do not know."""

    domain: Host = Field(description="The domain; also one of `domains`.")
    systems: tuple[str, ...] = Field(
        min_length=1, description="Connectors to whose systems mail for an unknown address goes, the first first."
    )


class MappingSection(Section):
    """[mapping]: who is meant by an address."""

    domains: tuple[Host, ...] = Field(
        (), description="Internet domains of ours: a recipient there whom nobody knows is refused at once."
    )
    imports: tuple[str, ...] = Field(
        (),
        alias="import",
        description="CSV files of identities, relative to this file, taken over at the first start; later changes are "
        "made by `gatepost map import`.",
    )
    gates: dict[str, str] = Field(
        default_factory=dict,
        description="By network, the address there that stands for this gateway, behind which that network writes "
        'internet addresses: `mhs = "mhs:mail@gate"`.',
    )
    encapsulation: EncapsulationSection = Field(
        default_factory=lambda: EncapsulationSection.model_validate({}),
        description="How unmapped foreign addresses are carried.",
    )
    rule: tuple[RuleSection, ...] = Field((), description="Pattern rules, in order.")
    tables: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="By name, tables of texts that rules write in place of others: `{wg|table:sites}` in a pattern "
        "takes them from `[mapping.tables.sites]`.",
    )
    shared: tuple[SharedSection, ...] = Field((), description="Domains shared with other systems.")
    percent_hack: bool = Field(
        False,
        description="Send `user%host` at a domain of ours on to `user@host`, for clients that may relay; else such an "
        "address is nobody's.",
    )
    tell_moved: bool = Field(
        False, description="Tell whoever writes to a former address of the new one, about once a month."
    )
    learn: bool = Field(
        False,
        description="Learn from bounces: a directory name of Exchange (`IMCEAEX-…`) that is nobody's becomes a former "
        "address of the one person whom it can mean, and the message is sent on.",
    )
    paid_networks: tuple[str, ...] = Field(
        ("tel", "fax", "sms"), description="Networks that cost money: strangers reach them only as `paid_senders`."
    )
    paid_senders: tuple[str, ...] = Field(
        (), description="Who may send to networks that cost money, such as `smtp:*@merged.example`."
    )


class RouteSection(Section):
    """[[route]]: where mail for an address goes; the first rule that matches wins."""

    match: str = Field(description="Pattern of recipients, such as `mhs:*` or `smtp:*@*.acme.example`.")
    to: str = Field(description="Name of the connector that takes them.")
    next_hop: str | None = Field(None, min_length=1, description="Next hop in place of the connector's own choice.")


@dataclass(frozen=True, slots=True)
class ConnectorSection:
    """[connector.NAME]: the configured name, its type, and the options as its own model."""

    name: str
    cls: type[Connector]
    type: str
    config: ConnectorConfig
    deprecation: str | None = None
    """What to tell an operator of a connector made for the contract's version before this one."""


@dataclass(frozen=True)
class Config:
    """One configuration, checked.

    `homes` gives each connector's network; `table` is None where `load` was told to leave the mapping out.
    """

    path: Path
    base_dir: Path
    gateway: GatewaySection
    mapping: MappingSection
    connectors: Mapping[str, ConnectorSection]
    routes: Routes
    homes: Mapping[str, str]
    postmaster: Address
    gates: Mapping[str, Address]
    rules: tuple[Rule, ...]
    syncs: Mapping[str, SyncSection] = field(default_factory=dict)
    digest: bytes = b""
    """Of the file's octets."""
    expanded: frozenset[tuple[str | int, ...]] = frozenset()
    """Where in the file variables and files were put in."""
    encapsulation: Encapsulation | None = field(repr=False, default=None)
    identities: tuple[Identity, ...] = field(repr=False, default=())
    table: Table | None = field(repr=False, default=None)
    secrets: frozenset[str] = field(repr=False, default=frozenset())
    warnings: tuple[str, ...] = ()

    @property
    def workers(self) -> int:
        """How many worker processes a gateway of this configuration has, if it is started now."""
        if self.gateway.workers is not None:
            return self.gateway.workers
        options = [section.config for section in self.connectors.values()]
        if any(each.needs_one_worker for each in options) or not any(each.fills_processors for each in options):
            return 1
        return min(processors(), MOST_WORKERS)

    def compile(
        self, identities: Directory | Iterable[Identity], *, version: int, tokens: TokenBook | None = None
    ) -> Table:
        """Make the table of these identities and the configured rules. Raises: MappingError."""
        from mappings.table import compile_table

        return compile_table(
            identities,
            self.rules,
            domains=self.mapping.domains,
            homes=self.homes,
            encapsulation=self.encapsulation,
            version=version,
            postmaster=self.postmaster,
            gates=self.gates,
            shared=[each.domain for each in self.mapping.shared],
            tokens=tokens,
            percent_hack=self.mapping.percent_hack,
        )

    @property
    def spool_url(self) -> str:
        """Return the spool's URL; SQLite's folder made absolute."""
        return spool_url(self.gateway, self.base_dir)

    @property
    def spool_dir(self) -> Path | None:
        """Return the folder of a SQLite spool, None where the spool is remote."""
        return spool_dir(self.gateway, self.base_dir)

    @property
    def state_dir(self) -> Path:
        return state_dir(self.gateway, self.base_dir)


def spool_dir(gateway: GatewaySection, base: Path) -> Path | None:
    """Return the folder of a SQLite spool, None where the spool is remote."""
    return spool_folder(gateway.spool, base)


def spool_url(gateway: GatewaySection, base: Path) -> str:
    """Return the spool's URL; SQLite's folder made absolute (four slashes)."""
    folder = spool_dir(gateway, base)
    return gateway.spool if folder is None else f"sqlite:///{folder}"


def state_dir(gateway: GatewaySection, base: Path) -> Path:
    """Return the folder for control sockets, keys and the connectors' own files."""
    return state_folder(gateway.state, gateway.spool, base)


def load(
    path: Path | str,
    *,
    environ: Mapping[str, str] | None = None,
    mapping: bool = True,
    identities: bool = True,
    version: int = 1,
    dry: bool = False,
    isolate: bool = False,
) -> Config:
    """Read and check a configuration.

    `mapping=False` leaves identities and table out, for commands that need neither; `identities=False` leaves the
    files under `import` unread, so that the table has the rules alone. `version` numbers the table.
    Where no encapsulation key is configured and none is kept yet, one is made for the table, and is durable when
    this returns; but with `dry` nothing is touched, and the table serves for a check alone.
    With `isolate` a connector whose plugin cannot be used is no mistake, but a warning, and `gateway.absent.Absent`
    stands for it, by which its mail is kept.
    Raises: ConfigErrors, with every mistake.
    """
    document = Document(Path(path), environ)
    if document.mistakes and not document.data:
        document.finish()
    from gateway.config_check import check

    return check(document, mapping=mapping, identities=identities, version=version, dry=dry, isolate=isolate)


def load_gateway(path: Path | str, *, environ: Mapping[str, str] | None = None) -> tuple[GatewaySection, Path]:
    """Read [gateway] alone, for commands to a running daemon; mistakes elsewhere in the file do not matter.

    Returns it with the folder that relative paths start from. Raises: ConfigErrors.
    """
    document = Document(Path(path), environ)
    failed = [m for m in document.mistakes if not document.data or m.place.startswith("gateway.")]
    document.mistakes[:] = failed
    section = document.model(("gateway",), GatewaySection, document.table(("gateway",)), "a key of [gateway]")
    document.finish()
    if section is None:
        raise ConfigErrors(document.mistakes)
    return section, document.base


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ensure_key(folder: Path) -> None:
    """Make the encapsulation key in a state folder where there is none yet.

    Durable when this returns: the key, mode 0600. Several workers may call it at once; one of them makes the key.
    Raises: OSError.
    """
    target = folder / KEY_FILE
    if target.exists():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{KEY_FILE}.", dir=folder)  # mode 0600
    made = Path(name)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(random.token_urlsafe(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(made, target)  # unlike a rename, it leaves a key that another worker has just made
    except FileExistsError:
        pass
    finally:
        made.unlink()
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


__all__ = [
    "Config",
    "ConfigErrors",
    "ConnectorSection",
    "EncapsulationSection",
    "GatewaySection",
    "MappingSection",
    "Mistake",
    "RouteSection",
    "RuleSection",
    "default_file",
    "ensure_key",
    "load",
    "load_gateway",
    "split_listen",
    "spool_dir",
    "spool_url",
    "state_dir",
]
