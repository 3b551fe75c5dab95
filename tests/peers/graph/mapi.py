"""What MAPI properties do to a message, and what the peer makes of MIME and of properties when it is read again; pure.

Source: [MS-OXCMSG] §2.2.1.6 (PidTagMessageFlags), [MS-OXCMAIL] §2.1.3.2 and §2.2.3 (fields and PS_INTERNET_HEADERS),
[MS-OXOSMIME] §2.1.1 (S/MIME message classes).
"""

from __future__ import annotations

import base64
import email
import email.policy
import re
from typing import Any, Final

from tests.peers.ews.honest import remade
from tests.peers.graph import message as mail
from tests.peers.graph.odata import INTERNET_HEADERS, property_key
from tests.peers.graph.store import Item

READ: Final = 0x0001
UNSENT: Final = 0x0008
_LOOK_UP: Final = re.compile(
    r"singleValueExtendedProperties/any\((\w+):\s*\1/id eq '((?:[^']|'')+)' and \1/value eq '((?:[^']|'')*)'\)"
)
_SENSITIVITIES: Final = {"1": "Personal", "2": "Private", "3": "Company-Confidential"}
"""[MS-OXCMAIL] §2.2.3.2.7 (PidTagSensitivity)."""
_OWN: Final = {"in-reply-to": "0x1042", "references": "0x1039"}
_COMPUTED: Final = frozenset(("0xe07", "0xe06", "0x1a", "0x37", "0x1035"))
Extended = dict[str, tuple[str, str]]
_STANDARD: Final = frozenset(
    ("from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "mime-version", "importance",
     "content-type", "content-transfer-encoding", "content-disposition", "content-id", "in-reply-to", "references")
)  # fmt: skip


def looked_up(filter_: str) -> tuple[str, str] | None:
    """Return (key, value) of a $filter that asks for one extended property and nothing else."""
    found = _LOOK_UP.fullmatch(filter_.strip())
    key = property_key(found[2].replace("''", "'")) if found else ""
    return (key, found[3].replace("''", "'")) if found and key not in _COMPUTED else None


def computed(item: Item, kept: Extended) -> Extended:
    """Return the properties that follow from an item's state; of its flags, those that were set otherwise are kept."""
    other = (flags(kept) or 0) & ~(READ | UNSENT)
    now = other | READ * item.is_read | UNSENT * item.is_draft
    return {
        "0xe07": ("Integer 0xe07", str(now)),
        "0xe06": ("SystemTime 0xe06", mail.moment(item.received_at)),
        "0x1a": ("String 0x1a", item.item_class),
        "0x37": ("String 0x37", item.resource.get("subject") or ""),
        "0x1035": ("String 0x1035", item.resource.get("internetMessageId") or ""),
    }


def flags(extended: Extended) -> int | None:
    """Return the message flags that a message was created with."""
    return int(extended["0xe07"][1]) if "0xe07" in extended else None


def received(extended: Extended, otherwise: float) -> float:
    """Return when a message was received by its properties."""
    return mail.seconds(extended["0xe06"][1]) if "0xe06" in extended else otherwise


def message_class(extended: Extended) -> str:
    """Return a message's class."""
    return extended["0x1a"][1] if "0x1a" in extended else "IPM.Note"


def apply(made: dict[str, Any], extended: Extended) -> None:
    """Let properties show in a resource: when it was sent, and fields from the set of internet headers."""
    if "0x39" in extended:
        made["sentDateTime"] = mail.moment(mail.seconds(extended["0x39"][1]))
    made["internetMessageHeaders"] = [
        *(made.get("internetMessageHeaders") or ()),
        *({"name": name, "value": value} for name, value in _fields(extended)),
    ]


def internet_headers(made: dict[str, Any]) -> Extended:
    """Return the named properties that the fields of a MIME message become which have no property of their own."""
    found: Extended = {}
    for each in made["internetMessageHeaders"]:
        name = each["name"].lower()
        if name in _OWN:
            found.setdefault(_OWN[name], (f"String {_OWN[name]}", each["value"]))
        elif name not in _STANDARD and name != "received":
            found.setdefault(
                f"{INTERNET_HEADERS}/{name}", (f"String {INTERNET_HEADERS} Name {each['name']}", each["value"])
            )
    return found


def item_class(octets: bytes) -> str:
    """Return the class of a message that came as MIME."""
    head = re.split(rb"\r?\n\r?\n", octets, maxsplit=1)[0]
    found = re.search(rb"(?im)^content-type:[ \t]*([^;\s]+)", head)
    kind = found[1].lower() if found else b""
    classes = {b"multipart/signed": "IPM.Note.SMIME.MultipartSigned", b"application/pkcs7-mime": "IPM.Note.SMIME"}
    return classes.get(kind, "REPORT.IPM.Note.NDR" if kind == b"multipart/report" else "IPM.Note")


def generated(item: Item, extended: Extended, attached: list[mail.Attached]) -> bytes:
    """Return the MIME of a message that is kept as properties."""
    made = dict(item.resource)
    if item.item_class.startswith("IPM.Note.SMIME") and len(attached) == 1:
        return _signed(made, extended, attached[0])
    octets = mail.rendered(made, attached)
    return _with_fields(octets, extended)


def regenerated(octets: bytes, domain: str, *, is_draft: bool) -> bytes:
    """Return what is read of a message that came as MIME, in honest mode: by the rules of the EWS peer's module.

    A draft has its Bcc, and no field of transport.
    """
    return remade(octets, bcc=[] if is_draft else None, organisation="" if is_draft else domain)


def _fields(extended: Extended) -> list[tuple[str, str]]:
    found = [
        (kind.split(" ", 3)[3], value) for key, (kind, value) in extended.items() if key.startswith(INTERNET_HEADERS)
    ]
    threads = (("In-Reply-To", "0x1042"), ("References", "0x1039"))
    if said := _SENSITIVITIES.get(extended.get("0x36", ("", ""))[1]):
        found.append(("Sensitivity", said))
    found += [(name, extended[tag][1]) for name, tag in threads if tag in extended]
    return found


def _with_fields(octets: bytes, extended: Extended) -> bytes:
    fields = b"".join(_field(name, value) for name, value in _fields(extended))
    head, gap, body = octets.partition(b"\r\n\r\n")
    present = {line.split(b":")[0].lower() for line in head.split(b"\r\n")}
    kept = [each for each in re.split(rb"(?<=\r\n)(?![ \t])", fields) if each.split(b":")[0].lower() not in present]
    return head + b"\r\n" + b"".join(kept).removesuffix(b"\r\n") + gap + body if any(kept) else octets


def _field(name: str, value: str) -> bytes:
    header = email.message_from_string("", policy=email.policy.SMTP)
    header[name] = re.sub(r"[\r\n\0]+", " ", value)
    return header.as_bytes().removesuffix(b"\r\n")


def _signed(made: dict[str, Any], extended: Extended, attached: mail.Attached) -> bytes:
    """The whole content is the one attachment, its own content header included where it has one."""
    meta, content = attached
    bare = {**made, "body": {"contentType": "text", "content": ""}}
    head = _with_fields(mail.rendered(bare, []), extended).partition(b"\r\n\r\n")[0]
    for name in (b"Content-Type", b"Content-Transfer-Encoding", b"MIME-Version"):
        head = mail.without(head + b"\r\n\r\n", name).removesuffix(b"\r\n\r\n")
    if re.match(rb"(?i)(?:content-[\w-]+:[^\n]*\n(?:[ \t][^\n]*\n)*)+\r?\n", content):
        return head + b"\r\nMIME-Version: 1.0\r\n" + content
    kind = (meta.get("contentType") or "application/pkcs7-mime").encode()
    coded = base64.encodebytes(content).replace(b"\n", b"\r\n")
    return (
        head
        + b"\r\nMIME-Version: 1.0\r\nContent-Type: "
        + kind
        + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + coded
    )
