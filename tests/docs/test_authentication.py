"""The page of authentication on arrival: its configuration is one, and its field is what the gateway writes."""

from __future__ import annotations

import tomllib

from connectors.smtp.authentication import results
from connectors.smtp.authentication.results import Result
from connectors.smtp.config import SmtpConfig
from tests.docs.sandbox import ROOT, blocks

PAGE = ROOT / "docs/connectors/authentication.md"


def shown(language: str) -> str:
    return next(block.text for block in blocks(PAGE) if block.language == language)


def test_the_configuration_is_one() -> None:
    table = tomllib.loads(shown("toml"))["connector"]["internet"]
    assert table.pop("type") == "smtp"
    config = SmtpConfig(**table).authentication
    assert config is not None
    assert (config.dmarc, config.arc_trusted) == ("honour", ("lists.example.org",))
    assert SmtpConfig().authentication is None


def test_the_field_is_what_the_gateway_writes() -> None:
    made = results.field_of(
        "mx.example.com",
        [
            Result("spf", "fail", {"smtp.mailfrom": "ann@strict.example"}, comment="all"),
            Result(
                "dkim",
                "pass",
                {
                    "header.d": "strict.example",
                    "header.i": "@strict.example",
                    "header.s": "s1",
                    "header.a": "rsa-sha256",
                    "header.b": "Wd8Hn2kQ",
                },
            ),
            Result("dmarc", "pass", {"header.from": "strict.example"}),
        ],
    )
    assert made.decode().replace("\r\n", "\n") == shown("text")
