"""What an operator says of topics: which come in and become which mail, which mail goes out to which topic.

A topic is written as a pattern, `alerts/{plant}/{unit}`: a level in braces stands for any one level and gives it a
name, by which recipients, subjects and templates know it; `{rest...}` at the end stands for all that follows.
Source: MQTT 5.0 §4.7 (OASIS) for topics and what may not stand in them.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from connectors.mqtt.document import MEDIA_TYPE
from connectors.mqtt.templates import mistake
from connectors.mqtt.topics import Filled, Pattern, check_topic
from mappings.network import parse

MIB: Final = 1024 * 1024

PayloadIn = Literal["rfc822", "json", "text", "template"]
PayloadOut = Literal["rfc822", "json", "text", "template"]
Retained = Literal["ignore", "once", "take"]
StatusWhen = Literal["delivered", "relayed", "delayed", "failed"]
Proof = Literal["results", "peer", "none"]
Qos = Literal[0, 1, 2]
Quote = Literal["keep", "cut"]
_CUT: Final = (
    "keep: the text as it came. cut: without the message that it answers, lines that begin with > or stand below "
    "-----Original Message----- and its like, and without a signature; a mail with no words of its own then fails."
)

SENDERS: Final = re.compile(r"\*|[a-z][a-z0-9]{0,31}:.+", re.DOTALL)


def _pattern(text: str) -> str:
    """Raises: ValueError (TopicError)."""
    Pattern(text)
    return text


def _filled_topic(text: str) -> str:
    """A topic with names of levels in braces. Raises: ValueError (TopicError)."""
    if text:
        check_topic(Filled(text).fill(dict.fromkeys(Filled(text).names, "x")))
    return text


def _sender(text: str) -> str:
    if not SENDERS.fullmatch(text):
        raise ValueError(f"{text!r} is no pattern of addresses; write one such as smtp:*@merged.example")
    return text


def _address(text: str) -> str:
    """An address with names of levels in braces. Raises: ValueError (AddressError)."""
    parse(Filled(text).fill(dict.fromkeys(Filled(text).names, "x")))
    return text


def _template(text: str) -> str:
    wrong = mistake(text)
    if wrong is not None:
        raise ValueError(wrong)
    return text


def _media_type(text: str) -> str:
    if text and not MEDIA_TYPE.fullmatch(text):
        raise ValueError(f"{text!r} is no media type; write one such as image/jpeg")
    return text


TopicPattern = Annotated[str, AfterValidator(_pattern)]
Jinja = Annotated[str, AfterValidator(_template)]
MediaType = Annotated[str, AfterValidator(_media_type)]
FilledTopic = Annotated[str, AfterValidator(_filled_topic)]
FilledAddresses = list[Annotated[str, AfterValidator(_address)]]
Senders = list[Annotated[str, AfterValidator(_sender)]]


class Table(BaseModel):
    """One table below the connector's own: unknown keys are errors, every option has a description."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AttachmentTemplate(Table):
    """A file that a template adds to a mail."""

    name: Jinja = Field(description="The file's name; a Jinja2 template.")
    type: MediaType = Field(
        "",
        description="Its media type, e.g. image/jpeg. None: the payload's Content Type, or application/octet-stream.",
    )
    content: Jinja = Field(
        "",
        description="A Jinja2 template of what is in it. None: the payload itself, octet for octet, e.g. an image.",
    )
    base64: bool = Field(False, description="What `content` gives is base64, and is decoded.")


class MailTemplate(Table):
    """How a payload becomes a mail: Jinja2 templates, run in a sandbox.

    They know `topic`, `levels` and the named ones, `payload` (text), `json` (where it is JSON), `properties`,
    `retained`, `qos` and `now`.
    """

    subject: Jinja = Field("{{ topic }}", description="The subject.")
    text: Jinja = Field("{{ payload }}", description="The text.")
    html: Jinja = Field("", description="A page of HTML beside the text; values are escaped. None: text alone.")
    attachments: list[AttachmentTemplate] = Field([], description="Files, such as an image that is the payload.")


class PayloadTemplate(Table):
    """How a mail becomes a payload: a Jinja2 template, run in a sandbox.

    It knows `topic`, the named levels, `subject`, `text`, `sender`, `recipient`, `message_id`, `headers` and
    `attachments`.
    """

    payload: Jinja = Field("{{ text }}", description="The payload, as text.")
    content_type: str = Field("", description="The payload's Content Type property, e.g. application/json.")


class Calm(Table):
    """How a storm of messages becomes a handful of mails."""

    max_mails: int = Field(
        10, ge=0, le=100_000, description="Mails of this rule in a window; 0: everything goes into the digest."
    )
    window_s: float = Field(3600.0, ge=1, le=31 * 86400, description="Seconds of a window; it begins with a mail.")
    digest_lines: int = Field(200, ge=0, le=2000, description="Lines of a digest that show single messages.")
    max_topics: int = Field(
        1000, ge=1, le=100_000, description="Topics that a digest counts one by one; the others are counted together."
    )
    on_change: bool = Field(
        False,
        description="A mail only where the value of a topic differs from the last one: on a change and on the return "
        "to normal, as one thread. What repeats a value is not gathered either.",
    )
    value: str = Field(
        "",
        description="What the value is: a JSON Pointer (RFC 6901) into a payload of JSON, e.g. /state. None: the whole "
        "payload.",
    )
    normal: list[str] = Field(
        [], description="Values that are normal, e.g. OK. Going from one of them to another tells nothing new."
    )

    recipients: FilledAddresses = Field(
        [], description="Who gets the digest. None: all who would have got the mails, of the topics in it."
    )

    @field_validator("value")
    @classmethod
    def _is_pointer(cls, value: str) -> str:
        if value and not value.startswith("/"):
            raise ValueError("a JSON Pointer begins with /, e.g. /state")
        return value


class Reply(Table):
    """What becomes of an answer to a mail that came from a topic."""

    topic: FilledTopic = Field(
        "",
        description="Where answers go that have no Response Topic to go to; named levels stand for what they were in "
        "the topic of the message. None: such an answer fails.",
    )
    payload: PayloadOut = Field("text", description="What is published of the answer.")
    template: PayloadTemplate | None = Field(None, description='The template, where payload = "template".')
    quote: Quote = Field("keep", description=f"What becomes of what an answer quotes. {_CUT}")
    qos: Literal[1, 2] = Field(1, description="Quality of service of the answer.")
    response_topics: list[TopicPattern] = Field(
        [],
        description="Patterns of the Response Topics that answers may go to, e.g. replies/{client}: whoever may "
        "publish an alert chooses among them. None: Response Topics are not followed.",
    )
    senders: Senders = Field(
        [], description="Who may answer, as in a rule to publish. None: whoever has the mail, which holds a signature."
    )
    proof: Proof = Field("results", description="How one of `senders` is known, as in a rule to publish.")
    max_per_minute: int = Field(60, ge=1, le=10_000_000, description="Answers a minute; more of them wait.")
    valid_days: float = Field(30.0, gt=0, le=3650, description="Days for which a mail may be answered.")

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if not self.topic and not self.response_topics:
            raise ValueError("answers need somewhere to go: a topic, response_topics, or both")
        _one_template(self.payload, self.template is not None)
        _cuts_a_text(self.payload, self.quote)
        return self

    def as_rule(self) -> PublishRule:
        """Return how an answer is published."""
        given = self.model_dump(include={"payload", "template", "quote", "qos", "max_per_minute"})
        senders = {"senders": self.senders, "proof": self.proof} if self.senders else {"senders": ["*"]}
        return PublishRule.model_validate({"topic": "#"} | given | senders)


class SubscribeRule(Table):
    """Topics that are subscribed to, and the mail that their messages become."""

    topic: TopicPattern = Field(
        description="The pattern of topics, e.g. alerts/{plant}/{unit}; + and # may stand in it too."
    )
    name: str = Field("", description="The rule's name in logs and digests. None: its topic.")
    qos: Qos = Field(1, description="Quality of service of the subscription; 2: no message comes twice.")
    recipients: FilledAddresses = Field(
        [],
        description="Who gets the mail, e.g. smtp:ops-{plant}@merged.example; the mapping table leads on. None: whom "
        "the payload names (To, Cc and Bcc, or `to` of JSON).",
    )
    trusted: bool = Field(
        False,
        description="Where the payload names the recipients, or in From the author: whoever may publish here may send "
        "beyond our own domains, and under the name of everybody.",
    )
    sender: str = Field(
        "",
        description="Whom the mail comes from, e.g. smtp:{plant}@things.example. None: the topic itself, which the "
        "mapping table translates, so that an answer finds its way back; for rfc822 its From, for JSON its `from`.",
    )
    payload: PayloadIn = Field(
        "text",
        description="What a payload is. rfc822: a whole message. json: an object as the JSON Schema says. text: the "
        "mail's text. template: anything, and `template` says what becomes of it.",
    )
    subject: str = Field(
        "", description="Subject of a text, and of JSON without one; named levels in braces. None: the topic."
    )
    template: MailTemplate | None = Field(None, description='The templates, where payload = "template".')
    retained: Retained = Field(
        "ignore",
        description="Messages that the broker had kept as a topic's last state. ignore: they are no event, and make no "
        "mail. once: they do when the subscription is new. take: each time that we subscribe.",
    )
    max_payload_bytes: int = Field(
        MIB, ge=1, le=256 * MIB, description="A larger payload goes into the quarantine, its beginning kept."
    )
    envelope: bool = Field(
        False,
        description="User properties envelope-from, envelope-to and so on are the mail's envelope (version 5): reverse "
        "path, recipient, wishes for reports. For topics that other gateways alone may publish to.",
    )
    own: bool = Field(False, description="What this connector published itself becomes mail too (version 5).")
    calm: Calm | None = Field(None, description="How many mails at most, and what becomes of the rest. None: one each.")
    reply: Reply | None = Field(
        None, description="Answers to the mails go back as this says. None: nobody may answer a mail of this rule."
    )

    @property
    def label(self) -> str:
        return self.name or self.topic

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        _one_template(self.payload, self.template is not None)
        if self.payload == "text" and not self.recipients:
            raise ValueError('recipients are needed: a payload of "text" names none')
        if self.payload == "template" and not self.recipients:
            raise ValueError('recipients are needed: with payload = "template" the payload names none')
        if self.reply is not None and self.payload == "rfc822":
            raise ValueError("a whole message (rfc822) is answered to its own sender; reply is for all other payloads")
        if self.calm is not None and self.payload == "rfc822":
            raise ValueError("calm is for events; whole messages (rfc822) are each somebody's mail")
        return self


class PublishRule(Table):
    """Topics that mail may be published to, by whom, and what of it."""

    topic: TopicPattern = Field(
        description="The pattern of topics, e.g. cmnd/{device}/POWER; + and # may stand in it too."
    )
    payload: PayloadOut = Field(
        "text",
        description="What is published. text: the mail's text. json: an object as the JSON Schema says. rfc822: the "
        "whole message. template: what `template` makes of it.",
    )
    template: PayloadTemplate | None = Field(None, description='The template, where payload = "template".')
    quote: Quote = Field("keep", description=f"What becomes of what a mail quotes. {_CUT}")
    qos: Literal[1, 2] = Field(1, description="Quality of service; 2: a subscriber gets it exactly once.")
    retain: bool = Field(False, description="The broker keeps it as the topic's last state.")
    expiry_s: int | None = Field(
        None, ge=1, le=0xFFFFFFFF, description="Message Expiry Interval: seconds after which nobody gets it any more."
    )
    attachments: Literal["inline", "topics", "drop"] = Field(
        "inline",
        description="inline: in the JSON, as base64, up to `max_inline_bytes`, larger ones as with topics. topics: "
        "each is published to TOPIC/attachments/N. drop: left out, and the trace says so.",
    )
    max_inline_bytes: int = Field(64 * 1024, ge=0, le=16 * MIB, description="The largest attachment within the JSON.")
    max_payload_bytes: int = Field(MIB, ge=1, le=256 * MIB, description="A larger mail fails.")
    envelope: bool = Field(
        False,
        description="Write the mail's envelope into user properties (version 5): reverse path, recipient, wishes for "
        "reports. Whoever reads the topic sees it.",
    )
    senders: Senders = Field(
        [],
        description='Who may publish here, as patterns such as smtp:*@merged.example; "*" is anybody. None: nobody, '
        "but by a token.",
    )
    proof: Proof = Field(
        "results",
        description="How a sender is known to be one of `senders`. results: an Authentication-Results field of one of "
        "`auth_servers` says so. peer: the mail came from `trusted_peers`, which know their senders. none: the "
        "sender's word is enough, which anybody can give.",
    )
    tokens: list[str] = Field(
        [],
        repr=False,
        description="Whoever knows one of these may publish here: in a field X-Gatepost-Token, or as [token:…] in the "
        "subject; taken out before the mail is published. Best as '${VARIABLE}' or 'file:path'.",
    )
    max_per_minute: int = Field(
        60, ge=1, le=10_000_000, description="Messages a minute to topics of this rule; more of them wait."
    )

    @field_validator("tokens")
    @classmethod
    def _are_long(cls, value: list[str]) -> list[str]:
        if any(len(token) < 16 or not token.isascii() or not token.isalnum() for token in value):
            raise ValueError("a token is 16 or more letters and digits; `openssl rand -hex 16` makes one")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        _one_template(self.payload, self.template is not None)
        _cuts_a_text(self.payload, self.quote)
        return self


class StatusTopic(Table):
    """Where it is told, as JSON, what became of the messages that came in."""

    topic: FilledTopic = Field(description="The topic; {topic} stands for the message's own, e.g. status/{topic}.")
    qos: Literal[1, 2] = Field(1, description="Quality of service.")
    retain: bool = Field(False, description="The broker keeps the last report of a topic.")
    when: list[StatusWhen] = Field(["delivered", "relayed", "delayed", "failed"], description="What is told.")


class Will(Table):
    """What the broker publishes when we are gone without a word, and what we publish when we are back."""

    topic: FilledTopic = Field(description="The topic, e.g. gatepost/state.")
    payload: str = Field("offline", description="What the broker publishes then (the last will).")
    online: str = Field("online", description="What we publish when connected; none: nothing.")
    qos: Qos = Field(1, description="Quality of service of both.")
    retain: bool = Field(True, description="The broker keeps both as the topic's state.")


def _one_template(payload: str, is_given: bool) -> None:
    if (payload == "template") != is_given:
        if is_given:
            raise ValueError('a template is for payload = "template"')
        raise ValueError('payload = "template" needs a table template')


def _cuts_a_text(payload: str, quote: str) -> None:
    if quote == "cut" and payload not in ("text", "template"):
        raise ValueError(f'quote = "cut" is for payload = "text" and "template"; {payload} carries the whole mail')
