"""Courier's mail server as a neighbour. Its configuration has a fixed place, so that one runs at a time."""

from __future__ import annotations

from typing import Final, Self

from tests.peers.neighbours.neighbour import InChroot
from tests.peers.process import answers, wait_until

_ETC: Final = "/etc/courier"


class CourierMta(InChroot):
    """Courier's courierd and esmtpd."""

    name = "courier"
    packages = ("courier-mta",)
    alone = True

    def start(self) -> Self:
        run = self.root.run
        run(["sh", "-c", "id bob >/dev/null 2>&1 || useradd -m -s /bin/sh bob"])
        run(["sh", "-c", "rm -rf /home/bob/Maildir; su bob -c 'maildirmake /home/bob/Maildir'"])
        for name, text in (
            ("me", "courier.peer.example\n"),
            ("defaultdomain", "courier.peer.example\n"),
            ("locals", f"{self.domain}\n"),
            ("esmtpacceptmailfor", f"{self.domain}\n"),
            ("esmtproutes", f":[127.0.0.1],{self.next_hop} /SECURITY=NONE\n"),
            ("defaultdelivery", "./Maildir\n"),
            ("bofh", "opt BOFHCHECKDNS=0\nopt BOFHCHECKHELO=0\nopt BOFHSPFMAILFROM=off\n"),
            ("retryalpha", "2\n"),
            ("retrybeta", "1\n"),
        ):
            self.write(f"{_ETC}/{name}", text)
        run(["mkdir", "-p", f"{_ETC}/smtpaccess"])
        self.write(f"{_ETC}/smtpaccess/default", "127.0.0.1\tallow,RELAYCLIENT\n")
        run(["makesmtpaccess"])
        run(["makealiases"], check=False)
        run(["sh", "-c", f"test -e {_ETC}/esmtpd.dist || cp {_ETC}/esmtpd {_ETC}/esmtpd.dist"])
        settings = {
            "ADDRESS": "127.0.0.1",
            "PORT": self.port,
            "TARPIT": 0,
            "MAXPERIP": 40,
            "MAXPERC": 40,
            "BOFHCHECKDNS": 0,
        }
        lines = "".join(f"{key}={value}\n" for key, value in settings.items())
        shipped = run(["cat", f"{_ETC}/esmtpd.dist"]).stdout.decode()
        self.write(f"{_ETC}/esmtpd", f"{shipped}\n{lines}")
        # It asks authdaemond who the users of the machine are.
        run(["mkdir", "-p", "/run/courier/authdaemon"])
        for words in (["authdaemond", "start"], ["courierfilter", "start"], ["courier", "start"], ["esmtpd", "start"]):
            run(words, check=False)
        wait_until(lambda: answers(self.port, b"220"), 60, "Courier greets")
        return self

    def end_leftovers(self) -> None:
        for words in (["esmtpd", "stop"], ["courier", "stop"], ["courierfilter", "stop"], ["authdaemond", "stop"]):
            self.root.run(words, check=False)
        self.end_all_in_root()
        self.root.run(["sh", "-c", "rm -rf /var/lib/courier/msgq/* /var/lib/courier/msgs/*"], check=False)

    def mailbox(self) -> list[bytes]:
        return self.files_in("/home/bob/Maildir/new")
