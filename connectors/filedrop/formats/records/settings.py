"""What can be set for the format records; apart from the codec, which is imported only where it is used."""

from __future__ import annotations

from pydantic import Field

from connectors.filedrop.formats.values import FormatSettings


class RecordsSettings(FormatSettings):
    """What can be set for records alone."""

    describe: str = Field(description="The file that describes the records (TOML), relative to the configuration file.")
