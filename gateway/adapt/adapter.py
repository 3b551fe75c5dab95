"""The adapter: plans and runs the steps that make a message fit a destination.

Promises: where nothing applies, the Content that comes back shares the octets of the one that came in, and the check
costs microseconds; what is done is noted; what can't be done is a Failed before anything is sent. Works on contents in
memory without waiting, and blocks on those that are not: call it in a thread for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from gateway.adapt.address_step import AddressStep, address_fields, is_same
from gateway.adapt.body_step import fit_body
from gateway.adapt.fitted import Fitted
from gateway.adapt.head_step import fit_head
from gateway.adapt.octet_step import mend_octets
from gateway.adapt.plain_address_step import NEEDS_UTF8, downgrade_head, plain_recipients
from gateway.adapt.plain_step import fit_plain
from gateway.adapt.plan import Step, longer_line_in, plan
from gateway.adapt.tnef_step import pack_tnef, unpack_tnef
from gateway.contract import Capabilities
from gateway.fidelity import INTACT, Fidelity, Note
from gateway.message import Content, Envelope
from gateway.octets import MAX_LINE, has_longer_line
from gateway.outcome import Failed
from gateway.signatures import broken
from gateway.spool.api import Delivery, DeliveryId, Stored
from gateway.status import TOO_BIG
from mappings.address import Address, AddressError
from mappings.network import Network, registry
from mappings.rule import Place
from mappings.table import Table

_SMTP: Final = ("smtp",)


class Adapter:
    """Makes messages fit, by one address table at a time.

    `networks` names, per connector, the networks whose addresses stand in the headers of its messages. `hostname` is
    the gateway's own name, under which addresses without an addr-spec stand there.
    """

    def __init__(
        self,
        networks: Mapping[str, Sequence[str]] | None = None,
        network: Callable[[str], Network] | None = None,
        hostname: str = "",
    ) -> None:
        self._hostname = hostname
        self._networks = networks if networks is not None else {}
        self._network = network or registry().get
        self._step: AddressStep | None = None
        self._sources: dict[str, tuple[str, ...]] = {}

    def adapt(
        self, message: Stored, deliveries: Sequence[Delivery], capabilities: Capabilities, table: Table
    ) -> Fitted:
        """Return the message as a destination of these capabilities can carry it to these deliveries.

        Raises: OSError where a content can't be read.
        """
        step = self._step
        if step is None or step.table is not table:
            step = self._step = AddressStep(table, self._network, self._hostname)
            self._sources.clear()
        content = message.content
        envelope = message.envelope
        whole = capabilities.mime and capabilities.html and capabilities.attachments
        if capabilities.max_size_bytes is not None and whole:
            size = content.size + len(message.prefix)
            if size > capabilities.max_size_bytes:
                return _too_big(content, envelope, deliveries, capabilities.max_size_bytes, size)
        place = None
        if table.asks_for_places and deliveries:
            place = Place(capabilities.header_networks[0], deliveries[0].lane[0])
        origin = envelope.origin.connector
        sources = self._sources.get(origin)
        if sources is None:
            sources = self._sources[origin] = (*self._networks.get(origin, ()), *_SMTP)
        if message.is_report:  # it names its one recipient in the recipient's own network
            sources = (*(recipient.address.network for recipient in envelope.recipients), *_SMTP)
        before = head = content.head
        fields = address_fields(before)
        reverse_path = envelope.reverse_path
        notes: list[Note] = []
        if not step.is_plain(before, fields, reverse_path, sources, capabilities, place):
            direction = step.direction([d.address for d in deliveries])
            if reverse_path is not None:
                shown = step.reverse_path(reverse_path, capabilities, direction, place)
                if not is_same(shown, reverse_path):
                    envelope = replace(envelope, reverse_path=shown)
            head, notes = step.head(before, sources, capabilities, direction, place, fields)
        addresses: Mapping[DeliveryId, Address] = {}
        refused: list[tuple[DeliveryId, Failed]] = []
        if not capabilities.utf8_addresses:
            addresses, refused = plain_recipients(deliveries, lambda address: self._ascii(address, table))
            plain = self._plain_path(envelope, table)
            if plain is None or len(refused) == len(deliveries):
                return Fitted(content, envelope, refused=tuple((d.id, NEEDS_UTF8) for d in deliveries))
            envelope = plain
        if head is not before:
            content = content.with_head(head)
        if not capabilities.tnef and capabilities.mime:
            content, more = unpack_tnef(content, self._hostname)
            notes = [*notes, *more]
        elif capabilities.wants_tnef:
            content, more = pack_tnef(content)
            notes = [*notes, *more]
        if not whole:
            content, more = fit_plain(content, capabilities, self._hostname)
            notes = [*notes, *more]
        content, more = self._fit(content, capabilities, table, internationalized=envelope.smtputf8)
        if more or notes:
            notes = [*notes, *more]
            body_changed = content.source is not message.content.source
            notes += broken(before, content.head, body_changed=body_changed)
        if message.prefix:
            content = content.with_prefix(message.prefix)
        most = capabilities.max_size_bytes
        if (notes or not whole) and most is not None and content.size > most:
            return _too_big(content, envelope, deliveries, most, content.size)
        fidelity = Fidelity(tuple(notes)) if notes else INTACT
        return Fitted(content, envelope, fidelity, tuple(refused), addresses)

    def _fit(
        self, content: Content, capabilities: Capabilities, table: Table, *, internationalized: bool
    ) -> tuple[Content, list[Note]]:
        """Run the steps that the content's octets need."""
        most = capabilities.max_line_octets
        traits = content.traits
        long_lines = most is not None and longer_line_in(content, most)
        if not long_lines and traits.crlf_only and not traits.nul and not traits.eight_bit:
            return content, []
        head = content.head
        long_head = long_lines and has_longer_line(head, MAX_LINE)
        steps = plan(
            traits, capabilities,
            long_lines=long_lines, long_head=long_head, head_eight_bit=traits.eight_bit and not head.isascii(),
            internationalized=internationalized,
        )  # fmt: skip
        notes: list[Note] = []
        for step in steps:
            match step:
                case Step.PLAIN_ADDRESSES:
                    head, more = downgrade_head(content.head, lambda spec: self._ascii_spec(spec, table))
                    if more:
                        content = content.with_head(head)
                case Step.OCTETS:
                    content, more = mend_octets(content, capabilities)
                case Step.HEAD:
                    ascii_only = not capabilities.eight_bit or (internationalized and not capabilities.utf8_addresses)
                    head, more = fit_head(content.head, seven_bit=ascii_only)
                    if more:
                        content = content.with_head(head)
                case Step.BODY:
                    content, more = fit_body(content, content.traits, capabilities)
                case _:
                    more = []
            notes += more
        return content, notes

    def _plain_path(self, envelope: Envelope, table: Table) -> Envelope | None:
        """Return the envelope with an ASCII reverse-path, None where it has none."""
        path = envelope.reverse_path
        if path is None or path.value.isascii():
            return envelope
        plain = self._ascii(path, table)
        return None if plain is None else replace(envelope, reverse_path=plain)

    def _ascii(self, address: Address, table: Table) -> Address | None:
        """Return an ASCII address of the same mailbox: the address itself so written, or another of the person's."""
        try:
            value = self._network(address.network).format(address, "ascii")
        except AddressError:
            value = ""
        return replace(address, value=value) if value and value.isascii() else table.in_ascii(address)

    def _ascii_spec(self, spec: str, table: Table) -> str | None:
        local, _, domain = spec.rpartition("@")
        address = self._network("smtp").from_addr_spec(local, domain)
        plain = None if address is None else self._ascii(address, table)
        return None if plain is None else plain.value


def adapt(message: Stored, deliveries: Sequence[Delivery], capabilities: Capabilities, table: Table) -> Fitted:
    """Do `Adapter.adapt` once, without its memory; what adapts many messages keeps an Adapter."""
    return Adapter().adapt(message, deliveries, capabilities, table)


def _too_big(content: Content, envelope: Envelope, deliveries: Sequence[Delivery], most: int, size: int) -> Fitted:
    text = f"the message has {size} octets, the destination takes {most}"
    failed = Failed(TOO_BIG.but(text=text))
    return Fitted(content, envelope, refused=tuple((d.id, failed) for d in deliveries))
