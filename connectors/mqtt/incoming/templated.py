"""A payload that a rule's templates make a mail of: subject, text, page and files, a picture that it is among them."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, Final

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.document import MEDIA_TYPE
from connectors.mqtt.incoming.case import Case, Encoded, base64_lines, one_line, text_of, without_nul
from connectors.mqtt.incoming.values import Incoming
from connectors.mqtt.json_text import read_json
from connectors.mqtt.properties import now_utc, shown
from connectors.mqtt.rules import AttachmentTemplate, MailTemplate
from connectors.mqtt.templates import Template
from connectors.mqtt.wire.values import Arrived

_BLANKS: Final = str.maketrans("", "", " \t\r\n")


class Templates:
    """The templates of one rule, compiled. Raises: TemplateMistake."""

    __slots__ = ("_files", "_html", "_subject", "_text")

    def __init__(self, template: MailTemplate) -> None:
        self._subject = Template(template.subject, place="template.subject")
        self._text = Template(template.text, place="template.text")
        self._html = Template(template.html, html=True, place="template.html") if template.html else None
        self._files = [_File(one, n) for n, one in enumerate(template.attachments)]

    def read(self, case: Case) -> Incoming:
        """Return the mail. Raises: BadPayload."""
        values = _Values(case)
        subject = one_line(values.render(self._subject), "template.subject")
        text = without_nul(values.render(self._text), case.arrived.payload)
        html = None if self._html is None else without_nul(values.render(self._html), case.arrived.payload)
        message_id, thread = case.identifiers("")
        fields = [*case.people(), ("Subject", subject), ("Date", case.date), *thread, *case.others()]
        files = [file.encoded(values, case.arrived) for file in self._files]
        content = case.content(fields, text, files, html=html)
        return case.incoming(case.opening.author[0].address, (), content, message_id)


class _File:
    """One file that a template adds."""

    __slots__ = ("_base64", "_content", "_name", "_place", "_type")

    def __init__(self, template: AttachmentTemplate, n: int) -> None:
        self._place = f"template.attachments[{n}]"
        self._name = Template(template.name, place=self._place + ".name")
        self._type = template.type
        self._content = Template(template.content, place=self._place + ".content") if template.content else None
        self._base64 = template.base64

    def encoded(self, values: _Values, arrived: Arrived) -> Encoded:
        name = one_line(values.render(self._name), self._place + ".name") or "file"
        octets = arrived.payload if self._content is None else values.render(self._content).encode("utf-8", "replace")
        if self._base64:
            octets = self._decoded(octets.decode("utf-8", "replace"))
        kind = self._type or arrived.properties.content_type or ""
        return name, kind if MEDIA_TYPE.fullmatch(kind) else "application/octet-stream", base64_lines(octets)

    def _decoded(self, text: str) -> bytes:
        try:
            return binascii.a2b_base64(text.translate(_BLANKS).encode("ascii"), strict_mode=True)
        except (binascii.Error, UnicodeEncodeError) as e:
            found = text[:200].encode("utf-8", "replace")
            raise BadPayload("template.base64", f"no base64: {e}", self._place, "mend the payload", found) from None


class _Values:
    """What templates of mails know; text and JSON are there where the payload is that."""

    __slots__ = ("_faults", "_known")

    def __init__(self, case: Case) -> None:
        arrived = case.arrived
        known: dict[str, Any] = dict(case.opening.values)
        self._faults: dict[str, BadPayload] = {}
        for name, read in (("payload", text_of), ("json", read_json)):
            try:
                known[name] = read(arrived.payload)
            except BadPayload as bad:
                self._faults[name] = bad
        known |= {
            "topic": arrived.topic,
            "levels": arrived.topic.split("/"),
            "properties": shown(arrived.properties),
            "retained": arrived.retain,
            "qos": arrived.qos,
            "now": now_utc(case.at),
        }
        self._known: Mapping[str, Any] = known

    def render(self, template: Template) -> str:
        """Return the text. Raises: BadPayload; that of the payload, where a name has no value because of it."""
        try:
            return template.render(self._known)
        except BadPayload as bad:
            for name, fault in self._faults.items():
                if bad.rule == "template.undefined" and f"'{name}'" in bad.text:
                    raise fault from bad
            raise
