"""From a Parcel to the commands of a Transaction, under what this one peer offers. Pure.

Decides per recipient what the peer cannot take as it is (SMTPUTF8, SIZE, 8BITMIME) before anything is sent, and
passes the DSN wishes on where the peer has DSN (RFC 3461).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import idna

from connectors.smtp.client_wire import Extensions, Transaction
from gateway.contract import Address, Content, Envelope, Failed, Item, Notify, Outcome, Parcel, Status

_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f]")
_XTEXT: Final = re.compile(r"[^!-*,-<>-~]")
_UTF8_XTEXT: Final = re.compile(r"[^!-*,-<>-\[\]-~]")

_NOTIFY_WORDS: Final = ((Notify.SUCCESS, "SUCCESS"), (Notify.FAILURE, "FAILURE"), (Notify.DELAY, "DELAY"))

BAD_SENDER: Final = Status("5.1.7", "the sender's address has no form in internet mail")
BAD_RECIPIENT: Final = Status("5.1.3", "the recipient's address has no form in internet mail")
NO_UTF8_ADDRESS: Final = Status("5.6.7", "the next hop takes no addresses with non-ASCII characters")
NO_UTF8_HEADER: Final = Status("5.6.9", "the next hop takes no header with non-ASCII characters")
NO_8BIT: Final = Status("5.6.3", "the next hop takes 7-bit content only")
_TOO_BIG: Final = "5.3.4"
_FOR_WANT_OF_OFFERS: Final = frozenset((_TOO_BIG, NO_UTF8_ADDRESS.code, NO_UTF8_HEADER.code, NO_8BIT.code))


def traits_are_known(content: Content) -> bool:
    """Whether asking for the content's traits reads no disk."""
    return content.is_inline or "traits" in content.__dict__


def plan(
    parcel: Parcel, items: Sequence[Item], peer: Extensions, *, assume_8bit: bool
) -> tuple[Transaction | None, list[tuple[Item, Outcome]]]:
    """Return the transaction for those of `items` that this peer can take, and the outcomes of the others.

    The transaction's `ref` is the tuple of its items, in the order of its RCPTs.
    """
    envelope, content = parcel.envelope, parcel.content
    if peer.size is not None and content.size > peer.size:
        # RFC 1870 §6.1: known before a single octet of content is sent.
        return None, _all(items, Status(_TOO_BIG, f"the next hop takes no message over {peer.size} octets"))
    if not assume_8bit and not peer.eight_bit and content.traits.eight_bit:
        return None, _all(items, NO_8BIT)
    sender = ""
    if envelope.reverse_path is not None:
        path, why = _path(envelope.reverse_path, peer, BAD_SENDER)
        if path is None:
            return None, _all(items, why)
        sender = path
    utf8 = envelope.smtputf8 and _head_needs_utf8(content)
    if utf8 and not peer.utf8:
        return None, _all(items, NO_UTF8_HEADER)

    outcomes: list[tuple[Item, Outcome]] = []
    rcpts: list[bytes] = []
    fit: list[Item] = []
    utf8 = utf8 or not sender.isascii()
    for item in items:
        path, why = _path(item.address, peer, BAD_RECIPIENT)
        if path is None:
            outcomes.append((item, Failed(why)))
            continue
        utf8 = utf8 or not path.isascii()
        fit.append(item)
        rcpts.append(f"RCPT TO:<{path}>{_rcpt_wishes(item) if peer.dsn else ''}\r\n".encode())
    if not fit:
        return None, outcomes
    mail = _mail(sender, content, envelope, peer, utf8=utf8)
    return Transaction(mail, tuple(rcpts), tuple(fit)), outcomes


def may_be_fitted(outcome: Outcome) -> bool:
    """Say whether `plan` refuses a recipient for what the peer does not offer, so that another form may do.

    Too big may be what was encoded for a weaker host than this one.
    """
    return outcome.status.code in _FOR_WANT_OF_OFFERS


def _all(items: Sequence[Item], status: Status) -> list[tuple[Item, Outcome]]:
    return [(item, Failed(status)) for item in items]


def _mail(sender: str, content: Content, envelope: Envelope, peer: Extensions, *, utf8: bool) -> bytes:
    line = f"MAIL FROM:<{sender}>"
    if peer.size_offered:
        line += f" SIZE={content.size}"
    # A content file whose octets nobody has looked at may be 8-bit; saying so is right for 7-bit content too.
    if peer.eight_bit and (not traits_are_known(content) or content.traits.eight_bit):
        line += " BODY=8BITMIME"
    if utf8:
        line += " SMTPUTF8"
    if peer.dsn:
        if envelope.ret is not None:
            line += f" RET={envelope.ret.upper()}"
        if envelope.envid:
            line += f" ENVID={xtext(envelope.envid)}"
    return f"{line}\r\n".encode()


def _path(address: Address, peer: Extensions, unfit: Status) -> tuple[str | None, Status]:
    """Return the address as it stands between `<` and `>`, or None and why it cannot stand there."""
    value = address.value
    # The network's parser lets no control character in; this is the last place before the wire.
    if address.network != "smtp" or _UNFIT.search(value) or not value:
        return None, unfit
    if value.isascii() or peer.utf8:
        return value, unfit
    # RFC 6531 §3.2: an ASCII local part leaves only the domain, which has an ASCII form.
    local, _, domain = value.rpartition("@")
    if not local.isascii():
        return None, NO_UTF8_ADDRESS
    try:
        return f"{local}@{ascii_domain(domain)}", unfit
    except ValueError:
        return None, NO_UTF8_ADDRESS


def ascii_domain(domain: str) -> str:
    """Return a domain in A-labels, lower case.

    Raises: ValueError where it has none.
    """
    if domain.isascii():
        return domain.lower()

    return idna.encode(domain, uts46=True).decode("ascii")


def _head_needs_utf8(content: Content) -> bool:
    # RFC 6531 §3.6: asked for by the sender, yet needed only where the header is non-ASCII.
    return content.traits.eight_bit and not content.head.isascii() if traits_are_known(content) else True


def _rcpt_wishes(item: Item) -> str:
    """Return NOTIFY and ORCPT. Source: RFC 3461 §4.1, §4.2, §5.2.1."""
    wishes = ""
    notify = item.notify
    if notify is Notify.NEVER:
        return " NOTIFY=NEVER"
    if notify:
        wishes = " NOTIFY=" + ",".join(word for flag, word in _NOTIFY_WORDS if notify.value & flag.value)
    orcpt = item.orcpt
    if orcpt is None and item.original != item.address and item.original.network == "smtp":
        # Where mapping changed the address, a report from further on must name the one the sender wrote.
        orcpt = f"rfc822;{item.original.value}"
    if orcpt is not None:
        kind, _, address = orcpt.partition(";")
        if address.isascii():
            wishes += f" ORCPT={kind};{xtext(address)}"
        else:
            wishes += f" ORCPT=utf-8;{_UTF8_XTEXT.sub(_braced, address)}"
    return wishes


def xtext(text: str) -> str:
    """Encode ASCII text as xtext (RFC 3461 §4)."""
    return _XTEXT.sub(_hex, text)


def _hex(found: re.Match[str]) -> str:
    return "".join(f"+{octet:02X}" for octet in found[0].encode("utf-8", "replace"))


def _braced(found: re.Match[str]) -> str:
    # RFC 6533 §3: utf-8-addr-xtext, which any server with DSN can carry.
    return f"\\x{{{ord(found[0]):X}}}"
