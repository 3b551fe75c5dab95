"""Targets for the decoders of the file drop, each as it can be set up: whatever a file holds, it is taken, refused
with its place, or both; and for its writers: what is written of any message is read again as that message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Final

from connectors.filedrop.formats import Codec, FormatName, Options, codec_class
from gateway.contract import Address
from tests.fuzz import adaptation, dropped_files, packets
from tests.fuzz.dropped_files import (
    BATCH,
    CARDS,
    CP037,
    DESCRIPTIONS,
    ENVELOPE,
    JOB,
    MAILBOX,
    MAX_SEED,
    PLAIN_CARDS,
    RECORDS,
    SIGNED,
    SMF,
    TOKENS,
    through,
    to_form,
)
from tests.fuzz.mutate import Blocks, Mutation, Octets, Through
from tests.fuzz.promises import Kind, Way, check_decoder
from tests.fuzz.target import Target, same_octets
from tests.fuzz.written import check_written

_ANN: Final = (Address("smtp", "ann@acme.example", "ann@acme.example"),)
_FTN: Final = {"aka": "2:280/999", "areas": {"SYSOP_NL": "sysops@lists.example"}}
_SMF_FIELDS: Final = frozenset((b"auto-submitted",))
_HEADERS: Final = frozenset((b"x-plant", b"x-amount", b"x-items", b"x-queue"))
_NAMED: Final = {"recipient_field": "Delivered-To"}

Seeds = Callable[[], tuple[bytes, ...]]


@dataclass(frozen=True)
class _Setup:
    """One format with its options: the seeds of its files, and how they are mutated."""

    format: FormatName
    kind: Kind
    seeds: Seeds
    mutated: Mutation
    settings: Mapping[str, Any] = field(default_factory=dict)
    network: str = "smtp"
    name: str = ""
    fields: frozenset[bytes] = frozenset()
    prefixes: tuple[bytes, ...] = ()
    recipients: tuple[Address, ...] = ()
    is_read: bool = True
    """False where it reads as another does, and only writes otherwise."""
    is_written: bool = True
    """False where it writes as another does, and only reads otherwise."""

    def way(self) -> Way:
        kind = codec_class(self.format)
        options = Options(
            network=self.network, hostname="gw.example", recipients=self.recipients, max_recipients=100,
            max_text_bytes=1_000_000, base_dir=DESCRIPTIONS,
        )  # fmt: skip
        codec: Codec = kind(self.format, options, kind.Settings.model_validate(self.settings))
        return Way(codec, self.kind, self.fields, self.prefixes, *([self.name] if self.name else []))


def _samples(*names: str) -> Seeds:
    return cache(partial(dropped_files.seeds, names))


def _batches(write: Callable[[bytes], bytes]) -> Seeds:
    """Return the samples of batches in another form."""
    return cache(lambda: tuple(write(each.replace(b"\r\n", b"\n")) for each in dropped_files.seeds(("bsmtp",))))


_header: Final = Octets((*TOKENS, *ENVELOPE))
_batch: Final = Octets((*TOKENS, *BATCH))
_box: Final = Octets((*TOKENS, *MAILBOX))
_smf: Final = Octets((*TOKENS, *SMF))
_record: Final = Octets((*TOKENS, *RECORDS))
_eml: Final = _samples("pickup", "replay", "foreign")
_boxes: Final = _samples("mbox", "mmdf", "mailboxes")
_folders: Final = _samples("maildir", "mh", "mail_folders")
_bsmtp: Final = _samples("bsmtp")
_smfs: Final = _samples("smf70", "smf71", "smf")


def _ebcdic(charset: str, inner: Mutation) -> Mutation:
    return Through(
        inner,
        lambda octets: octets.decode(charset).encode("utf-8"),
        lambda octets: octets.decode("utf-8", "replace").encode(charset, "replace"),
    )


def _exchange() -> Iterator[tuple[str, _Setup]]:
    yield "pickup", _Setup("pickup", "header", _eml, _header)
    yield "pickup-exchange", _Setup("pickup", "header", _eml, _header, {"dialect": "exchange"}, is_read=False)
    yield "pickup-iis", _Setup("pickup", "header", _eml, _header, {"dialect": "iis"}, is_read=False)
    yield "pickup-parameters", _Setup("pickup", "header", _eml, _header, {"parameters": True}, is_read=False)
    yield "replay", _Setup("replay", "header", _eml, _header)
    yield "foreign", _Setup("foreign", "header", _eml, _header, network="mhs")


def _batch_files() -> Iterator[tuple[str, _Setup]]:
    def setup(seeds: Seeds, mutated: Mutation, *, is_written: bool = True, **settings: Any) -> _Setup:
        return _Setup("bsmtp", "verbatim", seeds, mutated, settings, is_written=is_written)

    yield "bsmtp", setup(_bsmtp, _batch)
    yield "bsmtp-exim", setup(_bsmtp, _batch, dialect="exim", qualify="acme.example")
    yield "bsmtp-rfc2442", setup(_bsmtp, _batch, dialect="rfc2442", required_extensions=("X",))
    yield "bsmtp-skip", setup(_bsmtp, _batch, on_error="skip", is_written=False)
    yield (
        "bsmtp-ebcdic",
        setup(_batches(partial(to_form, CP037)), through((*TOKENS, *BATCH), CP037), charset="cp037", line_end="lf"),
    )
    yield "bsmtp-cards", setup(
        _batches(partial(to_form, CARDS)), through((*TOKENS, *BATCH), CARDS), charset="cp037", record_octets=80,
        is_written=False,
    )  # fmt: skip
    yield "bsmtp-plain-cards", setup(
        _batches(partial(to_form, PLAIN_CARDS)), through((*TOKENS, *BATCH), PLAIN_CARDS), record_octets=80,
        on_error="skip", is_written=False,
    )  # fmt: skip
    yield (
        "bsmtp-signs",
        setup(_batches(partial(to_form, SIGNED)), through((*TOKENS, *BATCH), SIGNED), prefix="#", line_end="lf"),
    )
    yield "bsmtp-base64", setup(
        _batches(dropped_files.wrapped), Through(_batch, dropped_files.unwrapped, dropped_files.wrapped),
        wrap=True, transfer_encoding="base64",
    )  # fmt: skip
    yield "bsmtp-quoted", setup(
        _batches(dropped_files.quoted), Through(_batch, dropped_files.unquoted, dropped_files.quoted),
        wrap=True, transfer_encoding="quoted-printable",
    )  # fmt: skip
    job = Octets((*TOKENS, *BATCH, *JOB))
    yield "uucp", _Setup("uucp", "verbatim", cache(dropped_files.jobs), job, network="uucp")
    batches = {"command": "rsmtp"}
    yield "uucp-rsmtp", _Setup("uucp", "verbatim", cache(dropped_files.jobs), job, batches, is_read=False)


def _mailboxes() -> Iterator[tuple[str, _Setup]]:
    for dialect in ("mboxrd", "mboxo", "mboxcl", "mboxcl2", "rfc4155"):
        settings = {"dialect": dialect, **(_NAMED if dialect != "mboxo" else {})}
        recipients = () if dialect != "mboxo" else _ANN
        title = "mbox" if dialect == "mboxrd" else f"mbox-{dialect}"
        yield title, _Setup("mbox", "delivered", _boxes, _box, settings, recipients=recipients)
    yield "mmdf", _Setup("mmdf", "delivered", _boxes, _box, _NAMED)
    yield "maildir", _Setup("maildir", "delivered", _folders, _box, _NAMED)
    yield "mh", _Setup("mh", "delivered", _folders, _box, recipients=_ANN)


def _message_files() -> Iterator[tuple[str, _Setup]]:
    for name in ("smf70", "smf71"):
        for variant, settings in (
            ("", {}),
            ("-separator", {"separator": "%&%&%", "charset": "cp850"}),
            ("-send-to", {"recipients": "send-to", "wrap_columns": 60}),
        ):
            yield (
                name + variant,
                _Setup(
                    name, "composed", _smfs, _smf, settings, "mhs", fields=_SMF_FIELDS, prefixes=(b"x-",),
                    is_read=variant != "-send-to",
                ),
            )  # fmt: skip
    ftn = _samples("ftn")
    for variant, given in (
        ("", {}),
        ("-2.2", {"packet_type": "2.2", "charset": "CP866", "file_names": "long"}),
        ("-uuencode", {"packet_type": "2", "attachments": "uuencode", "from_line": True, "max_text_bytes": 1024}),
        ("-messages", {"layout": "messages", "outbound_path": "C:\\NETMAIL", "max_text_bytes": 1024}),
        ("-password", {"known_only": True, "passwords": {"2:280/464": "SECRET"}, "charset": "UTF-8"}),
    ):
        yield (
            f"ftn{variant}",
            _Setup(
                "ftn", "composed", ftn, packets.mutated, {**_FTN, **given}, "ftn", "1a2b3c4d.pkt",
                prefixes=(b"x-ftn-",), is_read=variant in ("", "-password"), is_written=variant != "-password",
            ),
        )  # fmt: skip
    yield (
        "ftn-stored",
        _Setup("ftn", "composed", ftn, packets.mutated, _FTN, "ftn", "17.msg", prefixes=(b"x-ftn-",), is_written=False),
    )


def _described() -> Iterator[tuple[str, _Setup]]:
    special: dict[str, Mutation] = {
        "ledger": Through(Blocks(160), same_octets, same_octets),
        "profs": _ebcdic("cp037", _record),
    }
    for path in sorted(DESCRIPTIONS.glob("*.toml")):
        seeds = cache(partial(dropped_files.records, path.stem))
        mutated = special.get(path.stem, _record)
        settings = {"describe": path.name}
        yield f"records-{path.stem}", _Setup("records", "composed", seeds, mutated, settings, fields=_HEADERS)


def setups() -> Mapping[str, _Setup]:
    return dict([*_exchange(), *_batch_files(), *_mailboxes(), *_message_files(), *_described()])


def _decoding(way: Callable[[], Way], octets: bytes) -> str:
    return check_decoder(way(), octets)


def _writing(title: str, way: Callable[[], Way], octets: bytes) -> str:
    return check_written(title, way().codec, octets)


def _targets() -> Iterator[Target[bytes]]:
    for title, setup in setups().items():
        way = cache(setup.way)
        if setup.is_read:
            check = partial(_decoding, way)
            yield Target(f"drop-{title}", check, setup.seeds, setup.mutated, same_octets, same_octets, 5.0, MAX_SEED)
        if setup.is_written:
            write = partial(_writing, title, way)
            mail = Octets(adaptation.MIME)
            yield Target(f"write-{title}", write, adaptation.messages, mail, same_octets, same_octets, 5.0, MAX_SEED)


TARGETS: Final = tuple(_targets())
