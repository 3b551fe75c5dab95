"""The options of what is done to mail that leaves for other sites: certificates."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from connectors.smtp.border import BorderConfig

_DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}")


def _domain(text: str) -> str:
    if not _DOMAIN.fullmatch(text.lower()):
        raise ValueError(f"{text!r} is no domain: give it in ASCII, as DNS has it")
    return text.lower()


def _address(text: str) -> str:
    local, _, domain = text.rpartition("@")
    if not _ADDRESS.fullmatch(local):
        raise ValueError(f"{text!r} is no plain address, such as forwarded@acme.example")
    return f"{local}@{_domain(domain)}"


PlainAddress = Annotated[str, AfterValidator(_address)]


class OutwardConfig(BorderConfig):
    """What is done to mail that leaves. Nothing of it is done, and nothing of it costs anything, by default."""

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
