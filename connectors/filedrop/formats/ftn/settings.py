"""What an operator can set for FidoNet files; each description is the documentation."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from connectors.filedrop.formats.addresses import read_one
from connectors.filedrop.formats.ftn.charsets import chrs_of, codec_of
from connectors.filedrop.formats.ftn.dates import usual_zone
from connectors.filedrop.formats.ftn.node import Node, read_node
from connectors.filedrop.formats.ftn.packets import NAME_OCTETS, PASSWORD_OCTETS, SUBJECT_OCTETS
from connectors.filedrop.formats.values import FormatSettings
from gateway.contract import AddressError

_DOMAINS: Final = dict.fromkeys(range(1, 7), "fidonet")
_LARGEST_ZONE: Final = 32767
_FOLDER_OCTETS: Final = SUBJECT_OCTETS - len("/12345678.123")


def _node(value: str) -> str:
    if read_node(value) is None or ":" not in value:
        raise ValueError(f"{value!r} is not a node's number: write zone:net/node, as in 2:280/464, or with its point")
    return value


def _password(value: str) -> str:
    if not value.isascii() or not value.isprintable() or len(value) > PASSWORD_OCTETS:
        raise ValueError(f"a packet's password has at most {PASSWORD_OCTETS} printable characters of ASCII")
    return value


NodeText = Annotated[str, AfterValidator(_node)]
Password = Annotated[str, AfterValidator(_password)]


class FtnSettings(FormatSettings):
    """A gateway that is a node, or a point, of a FidoNet technology network."""

    aka: NodeText = Field(
        description="This gateway's own number in the network, zone:net/node or with its point, as in 2:280/999."
    )
    akas: tuple[NodeText, ...] = Field(
        (), description="Further numbers at which netmail to the gateway's own names comes in."
    )
    uplink: NodeText | None = Field(
        None,
        description="The node that all packets are made for; none: each recipient's own node, or for a point its node.",
    )
    direct: tuple[NodeText, ...] = Field(
        (), description="Nodes and points that get packets of their own, though there is an uplink."
    )
    layout: Literal["packets", "bso", "messages"] = Field(
        "packets",
        description="packets: files of eight hexadecimal digits and .pkt in the outbox, for a tosser's inbound folder. "
        "bso: the outbox is a BinkleyTerm-style outbound, for a mailer. messages: stored messages, 2.msg and so on, in "
        "a netmail folder that a tosser or an editor scans.",
    )
    flavour: Literal["normal", "direct", "hold"] = Field(
        "normal",
        description="In a BinkleyTerm-style outbound, what netmail without the crash flag is put as; in a netmail "
        "folder, hold gives it the hold flag, and direct is normal.",
    )
    kill_sent: bool = Field(
        True, description="In a netmail folder, give messages the flag by which a tosser deletes what it has sent."
    )
    crash: bool = Field(True, description="Give urgent mail the crash flag, and its packet the crash flavour.")
    packet_type: Literal["2", "2+", "2.2"] = Field("2+", description="The type of the packets that are written.")
    point_style: Literal["fsc39", "fsc48"] = Field(
        "fsc39", description="How a packet of type 2+ from a point names its net: plainly, or hidden as FSC-0048 says."
    )
    passwords: dict[NodeText, Password] = Field(
        default_factory=dict,
        description="Passwords by node, written into packets for it and asked of packets from it (in any case).",
    )
    known_only: bool = Field(False, description="Take packets only from the nodes that have a password here.")
    domain: str = Field(
        "fidonet",
        pattern=r"^[a-z0-9][a-z0-9.-]{0,59}$",
        description="The network's name in packets of type 2.2, for the zones that are not in `zones`.",
    )
    zones: dict[int, str] = Field(
        default_factory=lambda: dict(_DOMAINS),
        description="Which network each zone belongs to; an address outside the zone's usual network shows its name.",
    )
    charset: str = Field(
        "CP437",
        description="The character set of the messages that are written, by its FidoNet name, and of those read that "
        "name none.",
    )
    timezone: str = Field("UTC", description="The time zone of messages that name none, as in Europe/Amsterdam.")
    msgid_domain: str = Field(
        "fidonet.org",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$",
        description="The domain of Message-IDs made from FidoNet's; the same at all gateways of a network.",
    )
    gateway_names: tuple[str, ...] = Field(
        ("UUCP", "INTERNET", "GATEWAY"),
        min_length=1,
        description="Names at our numbers whose netmail goes to the internet address on its first line, `To: "
        "user@host`. The first one is told to others' programs as the name that replies go to.",
    )
    internet_gate: str | None = Field(
        None,
        description="Somebody else's gateway for recipients of internet mail, as in UUCP@2:280/464; none: such "
        "recipients are refused.",
    )
    sender: Literal["name", "address"] = Field(
        "name",
        description="What stands as a sender's name: name, where there is one; address, the internet address where it "
        "is short enough, so that an answer finds its way without the sender's program knowing of gateways.",
    )
    from_line: bool = Field(
        False, description="Begin each text with the internet sender's address, `From: Ann Lee <ann@acme.example>`."
    )
    attachments: Literal["file", "uuencode"] = Field(
        "file",
        description="file: each goes beside its packet, named by a netmail with the file-attached flag. uuencode: "
        "inside the text.",
    )
    file_names: Literal["dos", "long"] = Field(
        "dos", description="How attached files are named: eight characters and three, or longer with the own name."
    )
    max_text_bytes: int = Field(
        14 * 1024, ge=1024, le=1024 * 1024, description="A longer text goes as several messages, each of this size."
    )
    areas: dict[str, str] = Field(
        default_factory=dict,
        description="Echomail areas, and the address that each one's messages go to, as in {SYSOP_NL = "
        '"sysops@lists.example"}; messages of other areas are kept as bad ones.',
    )
    product: int = Field(0xFE, ge=0, le=0xFFFF, description="The product code in packets; 254 is for those without.")
    outbound_path: str | None = Field(
        None,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="What the mailer calls the outbox, where that is another path than here, as in C:\\\\OUTBOUND; "
        "the lists of files to send name it. In a netmail folder the subject of a message with a file does, so that it "
        f"is needed there, of at most {_FOLDER_OCTETS} characters.",
    )
    bsy_stale_s: int = Field(
        3600, ge=60, description="A lock of a node in the outbound that is older than this many seconds is taken away."
    )

    @field_validator("charset")
    @classmethod
    def _is_written(cls, value: str) -> str:
        codec = codec_of(value)
        if codec is None:
            raise ValueError(f"{value!r} is not a character set that can be written, such as CP437, LATIN-1 or UTF-8")
        return chrs_of(codec).partition(" ")[0]

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            usual_zone(value)
        except (OSError, ValueError, KeyError) as e:
            raise ValueError(f"{value!r} is not a time zone that this system knows, such as Europe/Amsterdam") from e
        return value

    @field_validator("zones")
    @classmethod
    def _are_zones(cls, value: dict[int, str]) -> dict[int, str]:
        for zone, name in value.items():
            if not 1 <= zone <= _LARGEST_ZONE or not name.replace(".", "").replace("-", "").isalnum():
                raise ValueError(
                    "a zone is a number from 1 to 32767, its network's name letters, digits, dots, hyphens"
                )
        return {zone: name.lower() for zone, name in value.items()}

    @field_validator("areas")
    @classmethod
    def _are_addresses(cls, value: dict[str, str]) -> dict[str, str]:
        for address in value.values():
            try:
                read_one(address, "smtp")
            except AddressError as e:
                raise ValueError(f"{address!r} is no address: {e.message}") from None
        return {name.upper(): address for name, address in value.items()}

    @field_validator("gateway_names")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(
            name.strip() and name.isascii() and name.isprintable() and len(name) <= NAME_OCTETS for name in value
        ):
            raise ValueError(f"a name has at most {NAME_OCTETS} printable characters of ASCII")
        return value

    @field_validator("internet_gate")
    @classmethod
    def _is_gate(cls, value: str | None) -> str | None:
        if value is not None:
            name, _, node = value.rpartition("@")
            if not name.strip() or len(name) > NAME_OCTETS:
                raise ValueError("a gate is Name@zone:net/node, as in UUCP@2:280/464")
            _node(node)
        return value

    @model_validator(mode="after")
    def _can_be_spoken_to(self) -> Self:
        if self.uplink is not None and self.node_of(self.uplink) == self.own:
            raise ValueError("uplink and aka are one node; packets would come back to us")
        return self

    @model_validator(mode="after")
    def _can_name_files(self) -> Self:
        if self.layout != "messages" or self.attachments != "file":
            return self
        path = self.outbound_path or ""
        # A subject is a list of paths: blanks and commas part them.
        if not 1 <= len(path) <= _FOLDER_OCTETS or not path.isascii() or " " in path or "," in path:
            raise ValueError(
                f"a subject names each file with its path: set outbound_path to the tosser's name of the outbox, at "
                f'most {_FOLDER_OCTETS} characters of ASCII without blanks and commas, or attachments = "uuencode"'
            )
        if self.file_names != "dos":
            raise ValueError('a subject has no room for a path and a long name: set file_names = "dos"')
        return self

    def path_of(self, name: str) -> str | None:
        """Return what the mailer calls a file of the outbox; None where it is the path here."""
        if self.outbound_path is None:
            return None
        return self.outbound_path.rstrip("/\\") + ("\\" if "\\" in self.outbound_path else "/") + name

    def node_of(self, text: str) -> Node:
        """Return a node that one of these options names."""
        node = read_node(text)
        if node is None:
            raise ValueError(text)
        return node.bare

    @property
    def own(self) -> Node:
        return self.node_of(self.aka)

    @property
    def own_nodes(self) -> frozenset[Node]:
        """All numbers of this gateway's, none with its network's name."""
        return frozenset(self.node_of(text) for text in (self.aka, *self.akas))

    def is_own(self, node: Node) -> bool:
        """Tell whether a node is one of this gateway's numbers, in its own network."""
        return node.bare in self.own_nodes and node in (node.bare, self.in_network(node.bare))

    @property
    def codec(self) -> str:
        """The Python codec of `charset`."""
        codec = codec_of(self.charset)
        if codec is None:
            raise ValueError(self.charset)
        return codec

    def password_of(self, node: Node) -> str | None:
        """Return the password that a node's packets have: its own, or its boss's; None where there is none."""
        for each in (node.bare, node.bare.boss):
            for text, password in self.passwords.items():
                if self.node_of(text) == each:
                    return password
        return None

    def link_of(self, node: Node) -> Node:
        """Return the node that mail for this one is packed for: itself, its boss, or the uplink."""
        node = node.bare
        direct = {self.node_of(text) for text in self.direct}
        if node in direct:
            return node
        if node.point and node.boss == self.own:  # our own points have no other way
            return node
        if node.boss in direct or self.uplink is None:
            return node.boss
        return self.node_of(self.uplink)

    def domain_of(self, node: Node) -> str:
        """Return what an address of this node has behind its number: its network, unless that goes without saying."""
        name = node.domain or self.zones.get(node.zone, "")
        return "" if name == _DOMAINS.get(node.zone) else name

    def in_network(self, node: Node) -> Node:
        """Return a node with its network's name, as a packet of type 2.2 has it."""
        return replace(node, domain=node.domain or self.zones.get(node.zone, self.domain))
