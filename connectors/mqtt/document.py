"""Document: a mail as JSON, the form that machines read and write; the JSON Schema that is published is made of it.

Promises: what `read_document` takes is what the schema says, and what `write_document` gives is valid by it; no value
has a control character where a line is meant, nor NUL anywhere. All keys may be left out; an unknown one is a mistake,
since it is most often a known one misspelt. Raises BadPayload alone.
Sources: RFC 8259, RFC 7493 (I-JSON), JSON Schema 2020-12, RFC 3339 (dates), RFC 4648 §4 (base64), RFC 5322 §3.6
(fields).
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_snake

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.json_text import read_json
from gateway.contract import Address, AddressError, Mailbox
from mappings.network import network, parse

MAX_PEOPLE: Final = 1000
MAX_IDS: Final = 200
MAX_FIELDS: Final = 200
MAX_FILES: Final = 200
MAX_NAME: Final = 255
ADDRESS_FORMAT: Final = "gatepost-address"
"""The schema's name for what the gateway reads as an address: internet mail's, or NETWORK:VALUE."""

_CONTROLS: Final = r"[\u0000-\u001f\u007f-\u009f\u2028\u2029]"
_CONTROL: Final = re.compile(_CONTROLS)
_ID: Final = r"<[!-;=?-~]{1,900}>"
_TYPE: Final = r"[!#$&+.0-9A-Z^_a-z{|}~-]{1,100}/[!#$&+.0-9A-Z^_a-z{|}~-]{1,100}"
_BASE64: Final = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_DAY: Final = (
    r"(?:(?:19|20)[0-9]{2}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    r"|(?:19(?:0[48]|[2468][048]|[13579][26])|20(?:[02468][048]|[13579][26]))-02-29)"
)
_DATE: Final = (
    _DAY + r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
ID: Final = re.compile(_ID)
MEDIA_TYPE: Final = re.compile(_TYPE)
DATE: Final = re.compile(_DATE)

RESERVED: Final = (
    *("from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "in-reply-to", "references"),
    *("mime-version", "received", "return-path", "delivered-to", "authentication-results", "received-spf"),
    *("dkim-signature", "bounces-to"),
)
"""Header fields that `headers` may not have: they are other keys', or say what only a mail server may."""
RESERVED_BEGINNINGS: Final = ("content-", "resent-", "arc-", "x-gatepost-", "x-mqtt-")


def _any_case(text: str) -> str:
    return "".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in text)


_NOT_RESERVED: Final = (
    "(?!(?:" + "|".join(map(_any_case, RESERVED)) + ")$|(?:" + "|".join(map(_any_case, RESERVED_BEGINNINGS)) + "))"
)
_FIELD_NAME: Final = _NOT_RESERVED + r"[!-9;-~]{1,76}"
FIELD_NAME: Final = re.compile(_FIELD_NAME)


def _whole(pattern: str, **more: Any) -> WithJsonSchema:
    # Some engines let `$` stand before a line end at the end of the text.
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "not": {"pattern": r"[\r\n]"}, **more})


def _one_line(text: str) -> str:
    found = _CONTROL.search(text)
    if found is not None:
        raise ValueError(f"a control character, U+{ord(found[0]):04X}, at {found.start()} in what is one line")
    return text


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"NUL at {text.index(chr(0))}")
    return text


def _matching(pattern: str, what: str) -> AfterValidator:
    expression = re.compile(pattern)

    def check(text: str) -> str:
        if expression.fullmatch(text) is None:
            raise ValueError(f"not {what}")
        return text

    return AfterValidator(check)


def _is_address(text: str) -> str:
    read_address(text)
    return text


def _is_base64(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("not base64 in whole groups of four") from None


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _as_person(value: Any) -> Any:
    return {"address": value} if isinstance(value, str) else value


Line = Annotated[str, AfterValidator(_one_line), WithJsonSchema({"type": "string", "not": {"pattern": _CONTROLS}})]
Name = Annotated[
    str,
    Field(max_length=MAX_NAME),
    AfterValidator(_one_line),
    WithJsonSchema({"type": "string", "maxLength": MAX_NAME, "not": {"pattern": _CONTROLS}}),
]
Text = Annotated[str, AfterValidator(_no_nul), WithJsonSchema({"type": "string", "not": {"pattern": r"\u0000"}})]
AddressText = Annotated[
    str,
    AfterValidator(_is_address),
    WithJsonSchema(
        {"type": "string", "format": ADDRESS_FORMAT, "examples": ["ann@acme.example", "mqtt:alerts/plant7"]}
    ),
]
Id = Annotated[
    str,
    _matching(_ID, "an identifier in angle brackets, <left@right>, without blanks"),
    _whole(_ID, examples=["<7d1f@acme.example>"]),
]
Date = Annotated[
    str,
    _matching(_DATE, "a date and time with its zone (RFC 3339) from 1900 to 2099, as 2026-11-24T07:12:04Z"),
    _whole(_DATE, format="date-time", examples=["2026-11-24T07:12:04+02:00"]),
]
MediaType = Annotated[str, _matching(_TYPE, "a media type such as image/png"), _whole(_TYPE)]
Octets = Annotated[bytes, BeforeValidator(_is_base64), _whole(_BASE64, contentEncoding="base64")]
FieldName = Annotated[str, _matching(_FIELD_NAME, "the name of a field that may stand here")]


# For JSON Schema 5.0 is an integer too.
_WHOLE: Final = Field(ge=0, le=2**53)
Whole = Annotated[
    int,
    _WHOLE,
    BeforeValidator(
        lambda value: int(value) if _is_whole(value) else value, json_schema_input_type=Annotated[int, _WHOLE]
    ),
]


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Person(_Table):
    """An address with a name."""

    address: AddressText = Field(description="The address: internet mail's, or NETWORK:VALUE.")
    name: Line = Field("", description="The name shown beside it.")

    @property
    def mailbox(self) -> Mailbox:
        return Mailbox(self.name, read_address(self.address))


OnePerson = Annotated[Person, BeforeValidator(_as_person, json_schema_input_type=AddressText | Person)]
People = Annotated[list[OnePerson], Field(max_length=MAX_PEOPLE)]
Authors = Annotated[
    list[OnePerson],
    Field(max_length=MAX_PEOPLE),
    BeforeValidator(
        _listed, json_schema_input_type=AddressText | Person | Annotated[list[OnePerson], Field(max_length=MAX_PEOPLE)]
    ),
]
Ids = Annotated[list[Id], Field(max_length=MAX_IDS)]
FieldValues = Annotated[
    list[Line],
    Field(max_length=MAX_FIELDS),
    BeforeValidator(_listed, json_schema_input_type=Line | Annotated[list[Line], Field(max_length=MAX_FIELDS)]),
]


class File(_Table):
    """A file: what is in it as base64, or the topic under which that is published."""

    name: Name = Field("", description="Its name.")
    type: MediaType = Field("application/octet-stream", description="Its media type.")
    content: Octets | None = Field(None, description="What is in it, as base64 (RFC 4648 §4).")
    topic: Line = Field("", description="The topic under which its octets are published, where they are not here.")
    size: Whole | None = Field(None, description="How many octets it has.")
    content_id: Line = Field("", description='The name by which the HTML shows it (src="cid:NAME").')


class Document(_Table):
    """A mail as JSON. All keys may be left out."""

    subject: Line = Field("", description="The subject. None: what the gateway is set up with, or the topic.")
    text: Text | None = Field(None, description="The text; its lines end in \\n.")
    html: Text | None = Field(None, description="The same as a page of HTML, or instead of a text.")
    from_: Authors = Field(
        [], alias="from", description="Who wrote it. None, or where the gateway is set up with a sender: that, or the "
        "topic itself.",
    )  # fmt: skip
    sender: OnePerson | None = Field(None, description="Who sent it, where several wrote it.")
    to: People = Field([], description="To whom it goes.")
    cc: People = Field([], description="To whom a copy goes.")
    bcc: People = Field([], description="To whom it goes too, without being shown.")
    reply_to: People = Field([], description="Where an answer is to go.")
    date: Date | None = Field(None, description="When it was written. None: when it arrived.")
    message_id: Id | None = Field(None, description="Its identifier. None: one is made.")
    in_reply_to: Ids = Field([], description="The identifiers of what it answers.")
    references: Ids = Field([], description="The identifiers of its thread, the oldest first.")
    headers: Annotated[dict[FieldName, FieldValues], Field(max_length=MAX_FIELDS)] = Field(
        {},
        description="Further header fields, each with a value or several.",
        json_schema_extra={"propertyNames": {"pattern": f"^{_FIELD_NAME}$", "not": {"pattern": r"[\r\n]"}}},
    )
    attachments: Annotated[list[File], Field(max_length=MAX_FILES)] = Field([], description="Files.")


def read_document(octets: bytes) -> Document:
    """Read a document. Raises: BadPayload."""
    value = read_json(octets)
    try:
        return Document.model_validate(value)
    except ValidationError as e:
        raise _bad(e) from None


def write_document(document: Mapping[str, Any]) -> bytes:
    """Return the octets of a document's keys and values, without those that are empty; an empty text is one."""
    kept = {key: value for key, value in document.items() if value not in (None, "", [], {}) or key == "text"}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def read_address(text: str) -> Address:
    """Read internet mail's address, or NETWORK:VALUE. Raises: AddressError."""
    if "\n" in text or "\r" in text:
        raise AddressError("addr.control", text, 0, "an address holds no control characters; remove it")
    name, colon, _ = text.partition(":")
    if colon and name.isascii() and name.isalnum() and name[0].isalpha():
        return parse(text)
    return network("smtp").parse(text)


def write_address(address: Address) -> str:
    """Return what `read_address` reads."""
    return address.value if address.network == "smtp" else str(address)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of documents."""
    made: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    made |= Document.model_json_schema(by_alias=True)
    made["title"] = "A mail as JSON, by MQTT"
    made["examples"] = [
        {"subject": "Pump 3 is dry", "text": "No flow since 07:10.\n", "to": ["ops@acme.example"]},
    ]
    return made


def _bad(e: ValidationError) -> BadPayload:
    first = e.errors(include_url=False)[0]
    loc = [str(part) for part in first["loc"] if part != "[key]"]
    place = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in loc) or "the whole payload"
    found = _found(first.get("input"))
    kind = first["type"]
    if kind == "extra_forbidden":
        keys = [field.alias or name for name, field in _model_at(loc).model_fields.items()]
        close = get_close_matches(to_snake(loc[-1]), keys, 1)
        mend = f"did you mean {close[0]}?" if close else "leave it out, or put it into headers"
        return BadPayload("json.unknown-key", f"there is no key {loc[-1][:100]!r}", place, mend, loc[-1].encode())
    if kind == "value_error":
        return BadPayload("json.value", str(first["ctx"]["error"]), place, "write it as the JSON Schema says", found)
    text = "an object is expected" if kind == "model_type" else first["msg"]
    return BadPayload("json.type", text, place, "write it as the JSON Schema says", found)


def _model_at(loc: list[str]) -> type[BaseModel]:
    if len(loc) > 1:
        return File if loc[0] == "attachments" else Person
    return Document


def _found(value: Any) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)[:1000]).encode(
        "utf-8", "replace"
    )
