"""Non-delivery reports in Exchange's form: a text for people in two forms, the status without a blank after the type,
and the message as it came.

Written after reports that Exchange Online and Exchange 2010 to 2019 give, and RFC 3464. That Exchange repeats the
envelope identifier of a message that it was handed by SMTP is RFC 3461's demand, not observed here.
"""

from __future__ import annotations

from collections.abc import Sequence

BOUNDARY = "22a54575-c842-43f3-83ea-721e8360fb4c"
NOT_FOUND = "550 5.1.1 RESOLVER.ADR.ExRecipNotFound; not found"


def ndr(
    to: str,
    failed: Sequence[str],
    original: bytes,
    *,
    envid: str | None = None,
    whole: bool = True,
    status: str = "5.1.1",
    action: str = "failed",
    original_recipient: bool = False,
    server: str = "EX01.acme.example",
) -> bytes:
    """Return a report to `to` about the recipients `failed` of the message `original`."""
    inner = "75454191-d3d5-48ec-b8f1-8aa1d75d02e4"
    blocks = []
    for each in failed:
        lines = [f"Original-Recipient: rfc822;{each}"] if original_recipient else []
        lines += [f"Final-Recipient: rfc822;{each}", f"Action: {action}", f"Status: {status}"]
        lines += [f"Diagnostic-Code: smtp;{NOT_FOUND.replace('5.1.1', status)}", "X-Display-Name: Ann Lee"]
        blocks.append("\r\n".join(lines) + "\r\n")
    known = [f"Original-Envelope-Id: {envid}"] if envid is not None else []
    about = [*known, f"Reporting-MTA: dns;{server}", "Received-From-MTA: dns;gw.example"]
    about += ["Arrival-Date: Tue, 24 Nov 2026 11:10:16 +0000"]
    head = original.partition(b"\r\n\r\n")[0] + b"\r\n"
    kind, returned = ("message/rfc822", original) if whole else ("text/rfc822-headers", head)
    text = "\r\n".join(
        [
            "MIME-Version: 1.0",
            f"From: <postmaster@{server}>",
            f"To: <{to}>",
            "Date: Tue, 24 Nov 2026 11:10:17 +0000",
            "Content-Type: multipart/report; report-type=delivery-status;",
            f'\tboundary="{BOUNDARY}"',
            "X-MS-Exchange-Message-Is-Ndr:",
            "Content-Language: en-US",
            f"Message-ID: <2ab24bbc-78da-492a-9f68-438ddae558bb@{server}>",
            "Subject: Undeliverable: lunch",
            "Auto-Submitted: auto-replied",
            "",
            f"--{BOUNDARY}",
            "Content-Type: multipart/alternative; differences=Content-Type;",
            f'\tboundary="{inner}"',
            "",
            f"--{inner}",
            'Content-Type: text/plain; charset="us-ascii"',
            "Content-Transfer-Encoding: quoted-printable",
            "",
            "Delivery has failed to these recipients or groups:",
            "",
            *failed,
            "The e-mail address you entered couldn't be found.",
            "",
            f"--{inner}",
            'Content-Type: text/html; charset="us-ascii"',
            "Content-Transfer-Encoding: quoted-printable",
            "",
            "<html><body><p>Delivery has failed.</p></body></html>",
            "",
            f"--{inner}--",
            "",
            f"--{BOUNDARY}",
            "Content-Type: message/delivery-status",
            "",
            *about,
            "",
            *blocks,
            "",
            f"--{BOUNDARY}",
            f"Content-Type: {kind}",
            "",
            "",
        ]
    )
    return text.encode() + returned + f"\r\n--{BOUNDARY}--\r\n".encode()
