"""The description of a file of records: what an operator writes in TOML, as models.

Each field's `description` is its documentation. What holds between several keys is in `checks`, so that a mistake is
told where it stands.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from connectors.filedrop.formats.records.charset import LineEnd, charset
from connectors.filedrop.formats.records.dates import date_form, zone_named
from connectors.filedrop.formats.records.expression import Expression, Pattern, normal_name, parse, pattern

Kind = Literal["delimited", "fixed", "key_value", "json", "jsonl", "xml"]
Strip = Literal["none", "left", "right", "both"]
FieldType = Literal["text", "zoned", "packed", "binary", "binary-le"]
Path = tuple[str | int, ...]

MIB: Final = 1024 * 1024
_RESERVED: Final = frozenset(
    (
        *("from", "sender", "to", "cc", "bcc", "subject", "date", "message-id", "in-reply-to", "references"),
        *("received", "return-path", "mime-version", "priority", "importance"),
    )
)


def _expression(value: Any) -> Any:
    return parse(value) if isinstance(value, str) else _no_text(value)


def _pattern(value: Any) -> Any:
    return pattern(value) if isinstance(value, str) else _no_text(value)


def _no_text(value: Any) -> Any:
    if isinstance(value, Expression | Pattern):
        return value
    raise ValueError("expected a text in quotes")


def _charset(name: str) -> str:
    charset(name)
    return name


def _name(text: str) -> str:
    if not text or any(sign in text for sign in "{}|\\"):
        raise ValueError("a field's name is a text without { } | and backslash")
    return normal_name(text)


def _as_table(value: Any) -> Any:
    """Take an expression alone for a table that says nothing else."""
    return {"value": value} if isinstance(value, str) else value


def _as_tables(value: Any) -> Any:
    return [_as_table(one) for one in (value if isinstance(value, list) else [value])]


def _shown_name(text: str) -> str:
    _name(text)
    return text.strip()


def _one_sign(text: str) -> str:
    if len(text) != 1 or text in "\r\n":
        raise ValueError('one character, such as ";" or "\\t"')
    return text


def _sign_or_none(text: str) -> str:
    return _one_sign(text) if text else text


def _header_name(text: str) -> str:
    if not text or not all("!" <= sign <= "~" and sign != ":" for sign in text):
        raise ValueError("the name of a header field, such as X-Plant")
    if text.lower() in _RESERVED or text.lower().startswith("content-"):
        raise ValueError(f"the field {text} is made from other keys of [map]; name another one")
    return text


def _split_at(text: str) -> str:
    if not text:
        raise ValueError('what parts the values, such as ","; or "mailboxes" for names and addresses as in mail')
    return text


Text = Annotated[
    Expression,
    BeforeValidator(_expression),
    WithJsonSchema({"type": "string", "description": "An expression: {field|pipe:argument}"}),
]
Sign = Annotated[
    Pattern, BeforeValidator(_pattern), WithJsonSchema({"type": "string", "description": "A pattern with * and ?"})
]
Name = Annotated[str, AfterValidator(_name)]


class Table(BaseModel):
    """One table of a description: unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, validate_default=False, populate_by_name=True
    )


class FormatTable(Table):
    """[format]: what kind of file it is."""

    name: str = Field("records", description="What the format is called in what people read.")
    kind: Kind = Field(
        description="delimited: fields between signs, one record a line. fixed: fields in fixed positions. key_value: "
        "a field a line, `Name: value`. json: one JSON document. jsonl: one JSON object a line. xml: elements."
    )
    charset: Annotated[str, AfterValidator(_charset)] = Field(
        "utf-8", description="The file's charset: any that Python has, EBCDIC pages (cp037, cp273, cp500) and cp1047."
    )
    on_decode_error: Literal["reject", "replace"] = Field(
        "reject", description="What to do with octets that are no characters: the record is bad, or `�` in their place."
    )
    line_end: LineEnd = Field(
        "any",
        description="What ends a line, or a record of kind fixed. any: CRLF, LF or CR, and NEL in EBCDIC. none: "
        "nothing, records follow each other (kind fixed, with record_length). rdw: each record begins with its length "
        "as z/OS writes it (kind fixed). Written: CRLF for any, NEL in EBCDIC.",
    )
    strip: Strip = Field("both", description="At which ends of a value blanks and NULs are taken off.")
    null_values: tuple[str, ...] = Field((), description="Values that mean that there is none, such as `NULL`.")
    line_break: str = Field(
        "", description="A text inside values that stands for the end of a line, such as `\\\\n` or `~`; none if empty."
    )
    header_records: int = Field(0, ge=0, le=1000, description="So many lines on top of the file are no records.")
    header: Sign | None = Field(None, description="Pattern that the first of these lines must match.")
    trailer: Sign | None = Field(
        None,
        description="Pattern of the last line. Where it is missing, the file is not whole, and nothing of it is "
        "taken. `{count}` in it is the number of records, which is checked.",
    )
    group_by: tuple[Name, ...] = Field(
        (), description="Records that follow each other with equal values of these fields are one message."
    )
    max_record_bytes: int = Field(
        16 * MIB, ge=16, le=64 * MIB, description="A longer record, or a longer line, is a bad one."
    )
    max_records: int = Field(10_000_000, ge=1, description="A file with more records is a bad one.")


class DelimitedTable(Table):
    """[delimited]: fields between signs (kind delimited)."""

    delimiter: Annotated[str, AfterValidator(_one_sign)] = Field(",", description="The sign between two fields.")
    quote: Annotated[str, AfterValidator(_sign_or_none)] = Field(
        '"', description="The sign around a field that may hold the delimiter, or an end of line; empty: none."
    )
    escape: Literal["double", "backslash", "none"] = Field(
        "double", description="How the quote stands in a quoted field: twice, behind a backslash, or not at all."
    )
    columns: tuple[str, ...] = Field((), description="The fields' names in order; an empty one is left out.")
    header: bool = Field(False, description="The first record names the columns.")
    ragged: bool = Field(False, description="A record may have fewer or more fields than there are columns.")


class RepeatTable(Table):
    """`repeat` of a field in fixed positions."""

    times: int = Field(ge=1, le=10_000, description="How often the field follows itself.")
    step: int = Field(ge=1, description="Octets from the beginning of one to that of the next.")


class FieldTable(Table):
    """One field in a fixed position: [[fixed.fields]], or `fields` of a [[type]]."""

    name: Name = Field(description="The field's name.")
    at: int = Field(ge=0, le=64 * MIB, description="Octets before it in the record.")
    length: int = Field(ge=1, le=64 * MIB, description="Its octets.")
    type: FieldType = Field(
        "text",
        description="text; zoned: decimal digits, the sign in the last one; packed: two digits an octet, the sign in "
        "the last half; binary: a whole number with sign, highest octet first; binary-le: lowest first.",
    )
    scale: int = Field(0, ge=0, le=30, description="Digits behind the decimal point of a number.")
    strip: Strip | None = Field(None, description="As in [format], for this field.")
    pad: Literal["right", "left", "zero"] = Field(
        "right", description="Where a shorter value is filled up when written: blanks behind, blanks or noughts before."
    )
    repeat: RepeatTable | None = Field(None, description="The field follows itself, as a table of places.")


class FixedTable(Table):
    """[fixed]: fields in fixed positions (kind fixed)."""

    record_length: int | None = Field(
        None, ge=1, le=64 * MIB, description="Octets of a record; needed where nothing ends it."
    )
    short: Literal["reject", "pad"] = Field(
        "pad", description="What to do with a shorter record between line ends: it is bad, or filled up with blanks."
    )
    fields: tuple[FieldTable, ...] = Field((), description="The fields, where all records have the same ones.")


class KeyValueTable(Table):
    """[key_value]: a field a line (kind key_value)."""

    separator: str = Field(":", min_length=1, description="What stands first between name and value.")
    terminator: str = Field("", description="What ends a value, such as `;`; empty: the end of the line.")
    record_start: Sign | None = Field(None, description="Pattern of the line that begins a record and belongs to it.")
    record_end: Sign | None = Field(None, description="Pattern of the line that ends a record; it is no field.")
    record_separator: str = Field(
        "", description="A text at the beginning of a line that parts two records, such as a form feed."
    )
    blank_line: Literal["skip", "end", "body"] = Field(
        "skip", description="What an empty line means: nothing, the record's end, or that the body follows."
    )
    body: Name | None = Field(
        None, description="The name of the field that takes the lines after the empty one, or after its own."
    )
    continuation: Literal["none", "leading-space", "backslash", "any"] = Field(
        "none",
        description="How a value goes on: in lines that begin with a blank; behind a backslash at the end of a line; "
        "any: in each line without the separator.",
    )
    comment: str = Field("", description="What begins a line that is none; empty: there are no such lines.")


class JsonTable(Table):
    """[json]: where the records are (kind json)."""

    records: str = Field("", description="JSON pointer (RFC 6901) to the array of records; empty: the whole document.")


class XmlTable(Table):
    """[xml]: which elements are records (kind xml)."""

    record: str = Field(
        min_length=1,
        description="The record's element: its local name, or the last names of its path, `Batch/Message`.",
    )
    root: str = Field("Messages", min_length=1, description="The elements around what is written, as a path.")
    namespace: str = Field("", description="The namespace of the root that is written; none is looked at in reading.")


class TypeTable(Table):
    """[[type]]: one type of record, where a message is made of several."""

    name: str = Field(min_length=1, description="What this type is called in what people read.")
    match: str = Field(min_length=1, description="The value of `type_field` in such a record.")
    starts: bool = Field(False, description="A message begins with it.")
    ends: bool = Field(False, description="A message ends with it, and is not whole without it.")
    columns: tuple[str, ...] = Field((), description="The fields' names in order (kind delimited).")
    fields: tuple[FieldTable, ...] = Field((), description="The fields (kind fixed).")
    each: Literal["message", "recipient", "line", "attachment"] = Field(
        "message", description="Of what one such record is written."
    )


class TypesTable(Table):
    """[types]: where a record tells its type (kinds delimited and fixed)."""

    at: int = Field(0, ge=0, description="Where it stands: octets before it (fixed), or columns (delimited).")
    length: int = Field(1, ge=1, description="Its octets (fixed).")
    unknown: Literal["reject", "skip"] = Field(
        "reject", description="A record of another type makes its message a bad one, or is passed over."
    )


class AddressTable(Table):
    """An address field of [map] that needs more than an expression."""

    value: Text = Field(description="The addresses; with `network:` in front, of this network.")
    name: Text | None = Field(None, description="The names beside them, as many as addresses.")
    split: Annotated[str, AfterValidator(_split_at)] | None = Field(
        None, description="What parts several addresses in one value; `mailboxes`: as in the fields of a mail."
    )


class DateTable(Table):
    """`date` of [map]."""

    value: Text = Field(description="The date, or date and time.")
    formats: tuple[Annotated[str, AfterValidator(date_form)], ...] = Field(
        ("iso",),
        min_length=1,
        description="How it is written, the first that fits: as in strptime (%Y%m%d%H%M%S), or iso, epoch, epoch-ms.",
    )
    zone: Annotated[str, AfterValidator(zone_named)] = Field("UTC", description="Its time zone, where it names none.")
    pivot: int = Field(70, ge=0, le=100, description="A year of two digits from here on is of the last century.")


class BodyTable(Table):
    """`body` of [map]."""

    value: Text | None = Field(None, description="The text. A field with several values gives a line for each.")
    file: Text | None = Field(None, description="Or the name of a file beside the message's, which holds the text.")
    kind: Literal["text", "html"] = Field("text", description="What it is.")
    unwrap: int = Field(
        0, ge=0, le=1000, description="Lines broken at so many columns are joined again; 0: they stay as they are."
    )
    join: str = Field("\n", description="What stands between several values.")


class AttachmentTable(Table):
    """[[map.attachment]]: files that belong to a message."""

    file: Text | None = Field(None, description="The file's name; it lies beside the message's file, or in `folder`.")
    folder: str = Field("", description="Its folder, relative to the inbox.")
    data: Text | None = Field(None, description="Or the file itself, in base64.")
    name: Text | None = Field(None, description="The name that the message gives it.")
    media_type: Text | None = Field(None, description="Its media type; none: told by its name.")
    split: str | None = Field(None, min_length=1, description="What parts several names in one value.")
    keep: bool = Field(False, description="The file stays where it is; else it goes where the message's file goes.")


Addresses = Annotated[
    tuple[AddressTable, ...],
    BeforeValidator(_as_tables, json_schema_input_type=str | AddressTable | list[str | AddressTable]),
]
Date = Annotated[DateTable, BeforeValidator(_as_table, json_schema_input_type=str | DateTable)]
Body = Annotated[BodyTable, BeforeValidator(_as_table, json_schema_input_type=str | BodyTable)]


class MapTable(Table):
    """[map]: what of a message stands in which fields."""

    message: Text | None = Field(
        None, description="A field that holds the whole message (RFC 5322); then nothing else is needed."
    )
    sender: Text | None = Field(None, description="The envelope's sender; none: that of `from`.")
    recipients: Addresses | None = Field(
        None, description="The envelope's recipients; none: the connector's `recipients`, or those of to, cc and bcc."
    )
    from_: Text | None = Field(None, alias="from", description="Who wrote it, as one address.")
    from_name: Text | None = Field(None, description="The name beside it.")
    to: Addresses | None = Field(None, description="To whom it is written.")
    cc: Addresses | None = Field(None, description="Who gets a copy.")
    bcc: Addresses | None = Field(None, description="Who gets a copy that nobody reads of.")
    subject: Text | None = Field(None, description="The subject.")
    message_id: Text | None = Field(None, description="The Message-ID; without an @, our name is put behind it.")
    in_reply_to: Text | None = Field(None, description="The Message-ID that it answers.")
    key: Text | None = Field(None, description="What the other system calls the message; status files name it.")
    date: Date | None = Field(None, description="When it was written.")
    priority: Text | None = Field(
        None, description="urgent, normal or low; other words mean normal. Use a table of [values] to get there."
    )
    receipt: Text | None = Field(
        None,
        description="yes asks for a delivery report to the sender, never for none at all; any other word: as usual.",
    )
    body: Body | None = Field(None, description="The text.")
    headers: dict[Annotated[str, AfterValidator(_header_name)], Text] = Field(
        default_factory=dict, description="Further header fields."
    )
    attachment: tuple[AttachmentTable, ...] = Field((), description="Files that belong to it.")


class WriteTable(Table):
    """[write]: how messages are written; the fields of [map] that can be are written as they are read."""

    fields: dict[Annotated[str, AfterValidator(_shown_name)], Text] = Field(
        default_factory=dict, description="What stands in a field, of what a message has; goes before what [map] says."
    )
    overflow: Literal["truncate", "continue", "reject"] = Field(
        "truncate",
        description="What becomes of a value too long for its field: it is cut; the body goes on in further records "
        "(with group_by, or a [[type]] of each line); or the message is returned.",
    )
    zone: Annotated[str, AfterValidator(zone_named)] | None = Field(
        None, description="The time zone of dates; none: that of `date` in [map]."
    )
    header: Text | None = Field(None, description="The line on top of the file.")
    trailer: Text | None = Field(None, description="The last line; `{count}` is the number of records.")
    many_a_file: bool = Field(
        False, description="A file may hold several messages, where the connector is told so; not with a trailer."
    )
    one_a_recipient: bool = Field(
        True, description="Each recipient gets a file of its own, so that nobody reads of a blind copy."
    )
    record_end: str = Field(
        "", description="The line behind each record, where `record_end` of [key_value] is a pattern with wildcards."
    )
    file_name: Text | None = Field(None, description="The file's name; none: the connector's.")
    subject_chars: int | None = Field(None, ge=1, description="A longer subject is cut, and stands whole in the text.")
    wrap: int | None = Field(None, ge=20, le=1000, description="Lines of text are broken at so many columns.")


class StatusTable(Table):
    """[status]: the file that tells the other system what became of its message."""

    record: Text = Field(
        description="The line for each recipient, of {key} {code} {action} {status} {text} {recipient} {time} {stem}."
    )
    codes: dict[Literal["delivered", "relayed", "delayed", "failed", "displayed"], str] = Field(
        default_factory=dict, description="What {code} is for each action; none: the action itself."
    )
    when: tuple[Literal["delivered", "relayed", "delayed", "failed", "displayed"], ...] = Field(
        ("delivered", "relayed", "failed"), description="Which actions are told."
    )
    header: Text | None = Field(None, description="The line on top of the file.")
    trailer: Text | None = Field(None, description="The last line; `{count}` is the number of records.")
    zone: Annotated[str, AfterValidator(zone_named)] = Field("UTC", description="The time zone of {time}.")


class Description(Table):
    """A whole description."""

    format: FormatTable = Field(description="What kind of file it is.")
    delimited: DelimitedTable | None = Field(None, description="Fields between signs.")
    fixed: FixedTable | None = Field(None, description="Fields in fixed positions.")
    key_value: KeyValueTable | None = Field(None, description="A field a line.")
    json_: JsonTable | None = Field(None, alias="json", description="JSON.")
    xml: XmlTable | None = Field(None, description="XML.")
    types: TypesTable | None = Field(None, description="Where a record tells its type.")
    type: tuple[TypeTable, ...] = Field((), description="The types of records.")
    values: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="By name, tables that the pipe `map` looks into; the key `*` stands for every other value.",
    )
    map: MapTable = Field(description="What stands where.")
    write: WriteTable | None = Field(None, description="How messages are written; none: they are only read.")
    status: StatusTable | None = Field(
        None, description="Status files; none: a report goes to the sender as a message."
    )


def writing_zone(d: Description) -> str:
    """Return the name of the zone in which dates are written."""
    if d.write is not None and d.write.zone is not None:
        return d.write.zone
    return d.map.date.zone if d.map.date is not None else "UTC"
