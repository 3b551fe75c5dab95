"""The targets of mail that people and programs hand in: log-ins, hand-overs, command lines, and headers to complete.

Promises: a mechanism ends in one of its steps whatever a client says, and lets nobody in who does not know the
password; a hand-over and a command line are read or refused as documented; a completed header keeps all octets of what
stays, and has neither a blind recipient nor an address that was not there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from connectors.smtp.login.sasl import SIMPLE
from connectors.smtp.login.scram import Scram, derive
from connectors.smtp.login.steps import Bearer, Challenge, Keys, Password, Proven, Refused
from gateway.completion import Author, addr_specs, authors, complete, recipients
from gateway.contract import Content, Rejected
from gateway.sendmail import handover, options
from gateway.sendmail.taken import Desk, User, Words
from tests.fuzz.mutate import Octets
from tests.fuzz.target import REFUSED, Target, same_octets

TOKENS: Final = (
    b"\0", b"\x01", b"\x01\x01", b",", b"=", b"=2C", b"=3D", b"n,,", b"y,,", b"p=tls-unique,,", b"n=user,r=abc",
    b"m=x,", b"c=biws,r=", b",p=", b"auth=Bearer ", b"user=", b"\r\n", b"\n", b"\n\n", b"\r", b" ", b"\t", b"(",
    b")", b"<", b">", b'"', b"\\", b"@", b":", b";", b".", b"From: ", b"To: ", b"Bcc: ", b"Resent-To: ", b"Date: x\r\n",
    b"Message-ID: <x>\r\n", b"ann@a.example", b"gatepost-sendmail 1\n", b"do mail\n", b"id ", b"sender ", b"to bob\n",
    b"header \n", b"notify never\n", b"ret hdrs\n", b"-t\n", b"-oi\n", b"-f\n", b"-bs\n", b"--\n", b"-N\nnever\n",
    b"-OIgnoreDots=true\n", b"\xff", b"\xc3\xa9", b"0" * 32,
)  # fmt: skip
SEEDS: Final = (
    b"\0tim\0tanstaaftanstaaf\n\n",
    b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO\nc=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDp,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2==\x01\x01\n\x01",
    b"user=a@b.example\x01auth=Bearer abc\x01\x01",
    b"gatepost-sendmail 1\ndo mail\nid 0123456789abcdef0123456789abcdef\nsender ann\nto bob@b.example\nheader \n\n"
    b"To: x\r\n\r\nx",
    b"-FCronDaemon\n-i\n-odi\n-oem\n-oi\n-t\n-froot\n",
    b'From: "Lee, Ann" <ann@a.example>\r\nTo: friends: a, <@x,@y:b@b.example>;\r\nBcc: c (5" disk),\r\n d\r\n\r\nhi',
)
_KEYS: Final = derive("another password", b"0123456789abcdef", 4096)
_USER: Final = User(1000, "ann", "Ann Lee")
_DESK: Final = Desk("programs", "gw.example", "acme.example", "warn", frozenset())


def sasl_responses(octets: bytes) -> str:
    said = ""
    for name in (*SIMPLE, "SCRAM", "SCRAM-PLUS"):
        plus = name == "SCRAM-PLUS"
        bound = {"tls-unique": b"channel"} if plus else None
        mechanism = (
            SIMPLE[name]() if name in SIMPLE else Scram(secret=b"x", plus=plus, bindings=bound, nonce=lambda: "s")
        )
        for response in octets.split(b"\n")[:6]:
            step = mechanism.step(response)
            for _ in range(2):
                if isinstance(step, Keys):
                    step = mechanism.answer(_KEYS)
                elif isinstance(step, Password | Bearer):
                    step = mechanism.answer(False)
            assert not isinstance(step, Proven), f"{name} let somebody in"
            said += type(step).__name__[0]
            if isinstance(step, Refused):
                break
            assert isinstance(step, Challenge)
    return said


def sendmail_hand_over(octets: bytes) -> str:
    head, _, rest = octets.partition(b"\n\n")
    try:
        words = Words(handover.read(head))
        message = _DESK.message(_USER, words, Content(rest), 0.0)
    except handover.Malformed:
        return REFUSED
    except Rejected as no:
        return REFUSED + no.status.code
    envelope = message.envelope
    assert envelope.recipients
    assert envelope.origin.user == "ann", "who handed it in is told by nobody but the kernel"
    assert envelope.reverse_path is None or envelope.reverse_path.value.isprintable()
    return f"{len(envelope.recipients)} {envelope.ret} {envelope.reverse_path is None}"


def sendmail_line(octets: bytes) -> str:
    arguments = octets.decode("utf-8", "surrogateescape").split("\n")
    try:
        call = options.parse(arguments)
    except options.Refused as refused:
        return f"{REFUSED}{refused.status}"
    words = [("to", each) for each in call.recipients] + [("sender", call.sender or ""), ("name", call.name)]
    assert handover.write(words).count(b"\n") == len(words) + 2, "no value begins a line of its own"
    with suppress(handover.Malformed):
        handover.read(handover.write(words)[:-2])
    return f"{call.mode} {call.reads_header} {call.ends_at_dot} {call.sender is None}"


def completed_header(octets: bytes) -> str:
    content = Content(octets)
    made = complete(content, hostname="gw.example", now=0.0, author=Author("ann@a.example", "Ann"))
    names = [field.name for field in made.fields]
    for needed in (b"from", b"date", b"message-id"):
        assert needed in names
    assert not {b"bcc", b"resent-bcc"} & set(names)
    assert made.octets().endswith(content.body()), "the body stays"
    left = b"".join(content.head[f.start : f.end] for f in content.fields if f.name not in (b"bcc", b"resent-bcc"))
    assert left in made.octets(), "and so does what else was in the header"
    if any(field.name == b"from" for field in content.fields):
        assert authors(made) == authors(content)
    assert all(spec.strip(" \t\r\n") == spec != "" for spec in (*recipients(content), *addr_specs(octets)))
    return f"{len(recipients(content))} {len(authors(content))} {made is content}"


def _target(check: Callable[[bytes], str]) -> Target[bytes]:
    name = check.__name__.replace("_", "-")
    return Target(name, partial(check), lambda: SEEDS, Octets(TOKENS), same_octets, same_octets, 5.0, 4000)


TARGETS: Final = tuple(_target(each) for each in (sasl_responses, sendmail_hand_over, sendmail_line, completed_header))
