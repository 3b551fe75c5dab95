"""sendmail 8 as a neighbour, its configuration made by m4 from a sendmail.mc as its own manual has it."""

from __future__ import annotations

import re
from typing import Self

from tests.peers.neighbours.neighbour import InChroot

_MC = """\
divert(0)dnl
VERSIONID(`a neighbour')
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `sendmail.peer.example')dnl
define(`confPID_FILE', `{folder}/pid')dnl
define(`QUEUE_DIR', `{folder}/queue')dnl
define(`STATUS_FILE', `{folder}/statistics')dnl
define(`ALIAS_FILE', `{folder}/aliases')dnl
define(`confCW_FILE', `{folder}/names')dnl
define(`confCON_EXPENSIVE', `False')dnl
define(`confDEF_USER_ID', `mail:mail')dnl
define(`confTO_IDENT', `0')dnl
define(`confTRY_NULL_MX_LIST', `True')dnl
define(`SMART_HOST', `relay:[127.0.0.1]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {next_hop}')dnl
FEATURE(`use_cw_file')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`nocanonify')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`relay_hosts_only')dnl
RELAY_DOMAIN(`127.0.0.1')dnl
DAEMON_OPTIONS(`Port={port}, Addr=127.0.0.1, Name=MTA')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
"""


class Sendmail(InChroot):
    """sendmail's daemon."""

    name = "sendmail"
    packages = ("sendmail-bin", "sendmail-cf")

    def start(self) -> Self:
        where = {"folder": self.inside, "next_hop": self.next_hop, "port": self.port}
        self.write("sendmail.mc", _MC.format_map(where))
        self.write("names", f"{self.domain}\n")
        self.write("aliases", f"bob: {self.inside}/mbox\npostmaster: bob\nMAILER-DAEMON: bob\n")
        made = self.root.run(["m4", "/usr/share/sendmail/cf/m4/cf.m4", f"{self.inside}/sendmail.mc"])
        self.write("sendmail.cf", made.stdout.decode())
        self.root.run(["mkdir", "-m", "700", f"{self.inside}/queue"])
        self.root.run(["touch", f"{self.inside}/mbox", f"{self.inside}/statistics"])
        self.root.run(["chmod", "600", f"{self.inside}/mbox"])
        self.root.run(["chown", "mail:mail", f"{self.inside}/mbox"])
        config = f"-C{self.inside}/sendmail.cf"
        self.root.run(["/usr/sbin/sendmail-mta", config, "-bi"])
        self.run_server("/usr/sbin/sendmail-mta", config, "-bD", "-q2s", "-X", f"{self.inside}/traffic")
        return self

    def mailbox(self) -> list[bytes]:
        octets = self.root.run(["cat", f"{self.inside}/mbox"]).stdout
        return [each.removesuffix(b"\n") for each in re.split(rb"(?m)^From [^\n]*\n", octets) if each.strip()]

    def said(self) -> str:
        return super().said() + self.root.run(["cat", f"{self.inside}/traffic"], check=False).stdout.decode("latin-1")
