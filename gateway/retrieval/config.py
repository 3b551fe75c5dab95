"""What an operator can set for a mailbox that is fetched from; each description is the documentation."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from gateway.contract import Address, AddressError, ConnectorConfig
from mappings.network import Network, parse
from mappings.network import network as network_of

EnvelopeField = Literal["delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "received"]
FIELDS: Final[tuple[EnvelopeField, ...]] = (
    "delivered-to",
    "x-original-to",
    "envelope-to",
    "x-envelope-to",
    "received",
)


class FetchConfig(ConnectorConfig):
    """A mailbox whose messages are fetched, and for whom they are."""

    mailbox: str = Field(min_length=1, description="The mailbox: what its user logs in as.")
    recipients: tuple[str, ...] = Field(
        (), description="For whom all of it is, such as ann@acme.example; where it is one person's, or one group's."
    )
    domains: tuple[str, ...] = Field(
        (),
        description="The domains whose mail comes into this mailbox, where it is many people's: for whom each message "
        "is, the fields tell that the server wrote.",
    )
    fields: tuple[EnvelopeField, ...] = Field(
        FIELDS,
        min_length=1,
        description="Fields that may tell it, in this order; the first that names an address of these domains counts. "
        "`received` is what stands behind `for` in a Received field.",
    )
    hops: int = Field(
        3,
        ge=1,
        le=20,
        description="How many Received fields the server and what is before it write. Fields below the last of them "
        "are the sender's own, who may write there what they like: they are not looked at.",
    )
    strip_prefix: str = Field(
        "", description="What the server writes in front of an address in Delivered-To, as qmail does: acme-."
    )
    otherwise: str = Field(
        "",
        description="Who gets what cannot be told for whom it is, or what nobody takes, such as the postmaster. Empty: "
        "it stays on the server, and is told in the log.",
    )
    drop_delivered_to: bool = Field(
        True,
        description="Leave out the Delivered-To fields that the server wrote: by one that names the very address here, "
        "local delivery would take the message for one that has come round.",
    )

    @field_validator("domains")
    @classmethod
    def _in_lower_case(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(each.lower().removeprefix("@") for each in value)

    @field_validator("recipients")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            address_of(text)
        return value

    @field_validator("otherwise")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value:
            address_of(value)
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.recipients) == bool(self.domains):
            raise ValueError("name recipients, for whom all of it is, or domains, where the fields tell; one of them")
        if self.recipients:
            for name in ("fields", "hops", "strip_prefix"):
                if name in self.model_fields_set:
                    raise ValueError(f"{name} is for a mailbox of many people, with domains")
        return self


def address_of(text: str) -> Address:
    """Return an address that is written as in a mail program, or with its network. Raises: ValueError."""
    smtp: Network = network_of("smtp")
    try:
        return parse(text) if ":" in text.partition("@")[0] else smtp.parse(text)
    except AddressError as e:
        raise ValueError(f"{text!r}: {e.message}") from None
