"""Which checks a source has, in the order in which they are asked."""

from __future__ import annotations

from connectors.smtp.checks import CheckMaker
from connectors.smtp.config import SmtpConfig
from connectors.smtp.milter import MilterMaker
from gateway.contract import Context


def check_makers(name: str, config: SmtpConfig, context: Context) -> list[CheckMaker]:
    """Return the checks that the configuration of connector `name` asks for.

    Raises: OSError or ValueError with a text that names the option and its mend.
    """
    makers: list[CheckMaker] = []
    makers += [MilterMaker(name, table, config.max_message_bytes, context) for table in config.milters]
    return makers
