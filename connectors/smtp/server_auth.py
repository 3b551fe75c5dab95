"""AUTH as the server's dialogue decides it alone: who may log in here and now, and what is no base64. Pure.

Source: RFC 4954 §4.
"""

from __future__ import annotations

from connectors.smtp import answers
from connectors.smtp.commands import Refusal, decode_response, parse_auth
from connectors.smtp.replies import reply
from connectors.smtp.server_events import Auth, AuthLine, WireSettings


def mechanisms(settings: WireSettings, *, tls: bool) -> tuple[str, ...]:
    """Return what is offered."""
    return settings.auth if tls else settings.auth_in_clear


def begin(argument: bytes, settings: WireSettings, *, tls: bool, esmtp: bool, user: str, in_mail: bool) -> Auth | bytes:
    """Read an AUTH command; return the event, or the reply that refuses it."""
    offered = mechanisms(settings, tls=tls)
    if not (settings.auth or settings.auth_in_clear):
        return answers.UNKNOWN
    if not esmtp:
        return answers.HELLO_FIRST
    if user:  # no second time in one session
        return answers.AUTH_TWICE
    if in_mail:
        return answers.AUTH_IN_MAIL
    if not offered:
        return answers.AUTH_UNKNOWN if tls else answers.AUTH_NEEDS_TLS
    parsed = parse_auth(argument)
    if isinstance(parsed, Refusal):
        return reply(parsed.code, parsed.enhanced, parsed.text)
    mechanism, written = parsed
    if mechanism not in offered:
        return answers.AUTH_UNKNOWN
    # A single = is an initial response without any octet.
    initial = b"" if written == b"=" else None if written is None else decode_response(written)
    if written is not None and initial is None:
        return answers.AUTH_CODING
    return Auth(mechanism, initial)


def answer(line: bytes) -> AuthLine | bytes:
    """Read the line that answers a challenge; return the event, or the reply that ends the log-in."""
    if line == b"*":  # the client gives up
        return answers.AUTH_CANCELLED
    octets = decode_response(line)
    return answers.AUTH_CODING if octets is None else AuthLine(octets)
