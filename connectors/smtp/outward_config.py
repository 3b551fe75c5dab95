"""The options of what is done to mail that leaves for other sites: signatures, seals, reverse-paths, certificates."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from connectors.smtp.border import BorderConfig

_DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}")

SIGNED = (
    "From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
    "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-ID", "Content-Disposition", "List-Id",
    "List-Post", "List-Help", "List-Owner", "List-Archive", "List-Subscribe", "List-Unsubscribe",
    "List-Unsubscribe-Post", "Auto-Submitted",
)  # fmt: skip
"""RFC 6376 §5.4.1, and what decides how a body is read."""
OVERSIGNED = (
    "From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type",
    "Content-Transfer-Encoding",
)  # fmt: skip


def _domain(text: str) -> str:
    if not _DOMAIN.fullmatch(text.lower()):
        raise ValueError(f"{text!r} is no domain: give it in ASCII, as DNS has it")
    return text.lower()


def _address(text: str) -> str:
    local, _, domain = text.rpartition("@")
    if not _ADDRESS.fullmatch(local):
        raise ValueError(f"{text!r} is no plain address, such as forwarded@acme.example")
    return f"{local}@{_domain(domain)}"


def _field(name: str) -> str:
    if not re.fullmatch(r"[!-9;-~]+", name):
        raise ValueError(f"{name!r} is no name of a header field")
    return name


Domain = Annotated[str, AfterValidator(_domain)]
PlainAddress = Annotated[str, AfterValidator(_address)]
FieldName = Annotated[str, AfterValidator(_field)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DkimConfig(_Table):
    """[connector.NAME.dkim]: signatures on what leaves (RFC 6376)."""

    keys: str = Field("dkim", description="Folder of the keys that `gatepost dkim` makes and rotates.")
    default_domain: Domain | None = Field(
        None,
        description="Domain to sign with where that of From, and those above it, have no key. Absent: such mail is not "
        "signed.",
    )
    headers: tuple[FieldName, ...] = Field(SIGNED, description="Header fields that are signed, where they are there.")
    oversign: tuple[FieldName, ...] = Field(
        OVERSIGNED,
        description="Of these one more is signed than is there, so that none can be added to a signed message. From "
        "always is.",
    )
    expire_days: float | None = Field(
        None, gt=0, description="Days after which a signature counts no more (x=). Absent: no such end."
    )


class ArcConfig(_Table):
    """[connector.NAME.arc]: seals on what is forwarded (RFC 8617)."""

    domain: Domain = Field(description="Domain that seals; it needs a key (`gatepost dkim new`).")
    keys: str | None = Field(None, description="Folder of the keys. Absent: that of `dkim`, else 'dkim'.")
    authserv_id: str | None = Field(
        None,
        description="Name under which Authentication-Results were written on arrival. Absent: that of this connector's "
        "`authentication`, else the gateway's own.",
    )
    judged_by: tuple[str, ...] = Field(
        (),
        description="Further connectors whose mail is judged on arrival under that name, and has lost what others say "
        "under it. What comes in otherwise, or by this connector without `authentication`, is sealed without results.",
    )


class SrsConfig(_Table):
    """[connector.NAME.srs]: reverse-paths of what is forwarded, and bounces to them."""

    domain: Domain = Field(
        description="Domain of the rewritten reverse-paths: its MX is this gateway, and its SPF record allows it."
    )
    secrets: tuple[str, ...] = Field(
        min_length=1,
        repr=False,
        description="Secrets, best as '${VARIABLE}' or 'file:path': the first signs, all verify. Put a new one in "
        "front, and take the old one out once `max_age_days` have gone by.",
    )
    former_domains: tuple[Domain, ...] = Field((), description="Domains of before, whose addresses still lead back.")
    max_age_days: int = Field(21, ge=1, le=500, description="Days in which a bounce finds its way back.")
    hash_chars: int = Field(8, ge=4, le=27, description="Signs of the hash in a rewritten address.")
    min_hash_chars: int | None = Field(
        None,
        ge=4,
        le=27,
        description="Fewest signs of a hash that is believed, for addresses made while `hash_chars` was less. Absent: "
        "`hash_chars`.",
    )
    per_hour: float = Field(
        60.0, gt=0, description="How often strangers may write to one rewritten address, in an hour."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not all(self.secrets):
            raise ValueError("an SRS secret is empty")
        if self.min_hash_chars is not None and self.min_hash_chars > self.hash_chars:
            raise ValueError("min_hash_chars is over hash_chars, so that no address would be believed")
        return self


class OutwardConfig(BorderConfig):
    """What is done to mail that leaves. Nothing of it is done, and nothing of it costs anything, by default."""

    dkim: DkimConfig | None = Field(None, description="Sign what leaves; see [signing](signing.md). Absent: unsigned.")
    arc: ArcConfig | None = Field(None, description="Seal what others wrote and is forwarded. Absent: no seals.")
    srs: SrsConfig | None = Field(
        None, description="Rewrite the reverse-path of what others sent and is forwarded. Absent: it stays."
    )
    unsigned_from: Literal["keep", "resign", "wrap", "auto", "refuse"] = Field(
        "keep",
        description="What becomes of a message from elsewhere that no valid signature of its author's domain covers in "
        "the form in which it leaves. 'keep': it goes as it is. 'resign': signed by `dkim.default_domain`. 'wrap': "
        "From becomes `wrap_address` with the author's name, and the author goes into Reply-To. 'auto': 'wrap' where "
        "the author's DMARC policy is quarantine or reject, else 'resign' where there is a `dkim.default_domain`, else "
        "'keep'. 'refuse': it fails.",
    )
    wrap_address: PlainAddress | None = Field(
        None, description="Address that stands in From where `unsigned_from` puts it there; one of ours."
    )
    mta_sts: bool = Field(False, description="Heed the MTA-STS policies of the domains that mail goes to (RFC 8461).")
    dane: bool = Field(
        False,
        description="Heed the TLSA records of the hosts that mail goes to (RFC 7672). Needs `nameservers` that "
        "validate DNSSEC, reached by a path that nobody else writes to, such as 127.0.0.1.",
    )
    tls_reports_from: PlainAddress | None = Field(
        None,
        description="Count connections by TLS policy, and send each domain that asks for it a report a day from "
        "this address (RFC 8460). Absent: no reports.",
    )

    @model_validator(mode="after")
    def _outward(self) -> Self:
        if self.unsigned_from in ("wrap", "auto") and self.wrap_address is None:
            raise ValueError(f"unsigned_from = '{self.unsigned_from}' needs a wrap_address, one of ours that is read")
        if self.unsigned_from == "resign" and (self.dkim is None or self.dkim.default_domain is None):
            raise ValueError("unsigned_from = 'resign' needs dkim.default_domain, whose key signs then")
        return self
