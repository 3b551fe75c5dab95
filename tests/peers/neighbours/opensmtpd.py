"""OpenSMTPD as a neighbour. Its queue and socket have fixed places, so that one runs at a time."""

from __future__ import annotations

from typing import Self

from tests.peers.neighbours.neighbour import InChroot

_CONFIG = """\
listen on 127.0.0.1 port {port} hostname opensmtpd.peer.example
action "box" maildir "{folder}/mail" user mail virtual {{ "{mailbox}" = mail }}
action "out" relay host "smtp://127.0.0.1:{next_hop}" helo opensmtpd.peer.example
match from any for domain "{domain}" action "box"
match from src 127.0.0.1 for any action "out"
"""


class OpenSmtpd(InChroot):
    """OpenSMTPD's daemon."""

    name = "opensmtpd"
    packages = ("opensmtpd",)
    alone = True

    def start(self) -> Self:
        where = {"folder": self.inside, "next_hop": self.next_hop, "port": self.port}
        self.write("smtpd.conf", _CONFIG.format(**where, domain=self.domain, mailbox=self.address))
        self.root.run(["install", "-d", "-o", "mail", "-m", "700", f"{self.inside}/mail"])
        self.run_server("smtpd", "-d", "-f", f"{self.inside}/smtpd.conf")
        return self

    def end_leftovers(self) -> None:
        self.end_all_in_root()
        self.root.run(["sh", "-c", "rm -rf /var/spool/smtpd/queue/* /run/smtpd.sock"], check=False)

    def mailbox(self) -> list[bytes]:
        return self.files_in(f"{self.inside}/mail/new")
