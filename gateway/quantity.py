"""Durations and sizes as options of a configuration: "5d", "1h30m", "64MiB"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

from gateway.units import parse_duration, parse_size, show_duration, show_size


def _expected(parse: Callable[[object], Any]) -> BeforeValidator:
    def validate(value: object) -> Any:
        try:
            return parse(value)
        except ValueError as e:
            raise PydanticCustomError("expected", "{form}", {"form": str(e)}) from None

    return BeforeValidator(validate)


Duration = Annotated[float, _expected(parse_duration), PlainSerializer(show_duration, return_type=str)]
"""Seconds; written as "5d"."""

Size = Annotated[int, _expected(parse_size), PlainSerializer(show_size, return_type=str)]
"""Octets; written as "64MiB"."""

__all__ = ["Duration", "Size", "parse_duration", "parse_size", "show_duration", "show_size"]
