"""A private Cyrus IMAP server in a root folder of its own, on free loopback ports for IMAP and LMTP.

A user is made with `user`, with the password `secret`, and has an inbox as soon as it logs in. The administrator is
`cyrus`, who may log in for everybody (PLAIN with an authorization identity).
"""

from __future__ import annotations

import subprocess
from typing import Final

from tests.peers.chroot import Chroot, chroot
from tests.peers.process import AS_ROOT, Process, answers, free_port, wait_until

PASSWORD: Final = "secret"
ADMIN: Final = "cyrus"
PACKAGES: Final = ("cyrus-imapd", "libsasl2-modules", "sasl2-bin")

_IMAPD: Final = """\
configdirectory: {folder}/conf
proc_path: {folder}/conf/proc
mboxname_lockpath: {folder}/conf/lock
idlesocket: {folder}/conf/socket/idle
defaultpartition: default
partition-default: {folder}/mail
admins: {admin}
altnamespace: {own}
unixhierarchysep: {slashes}
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {folder}/sasldb
sasl_mech_list: PLAIN LOGIN
servername: cyrus.peer.example
virtdomains: off
autocreate_quota: {quota_kib}
autocreate_inbox_folders: Sent | Trash
autocreate_subscribe_folders: Sent | Trash
xlist-sent: Sent
xlist-trash: Trash
specialusealways: yes
delete_mode: immediate
expunge_mode: immediate
duplicatesuppression: no
reject8bit: no
munge8bit: no
syslog_prefix: cyrus
{settings}
"""
_SERVICES: Final = """\
START {{
  recover cmd="/usr/sbin/cyrus ctl_cyrusdb -C {folder}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="/usr/lib/cyrus/bin/imapd -C {folder}/imapd.conf -U 30" listen="127.0.0.1:{port}" prefork=2
  lmtp cmd="/usr/lib/cyrus/bin/lmtpd -C {folder}/imapd.conf -a" listen="127.0.0.1:{lmtp_port}" prefork=0
}}
DAEMON {{
  idled cmd="/usr/lib/cyrus/bin/idled -C {folder}/imapd.conf"
}}
EVENTS {{
}}
"""


class Cyrus:
    """A server; `with` starts it, and so does `start`.

    `own_prefix`: users' folders are named `INBOX.NAME`, with `.` between them, else `NAME`, with `/`. `quota_kib`: of
    each new mailbox; 0: none. `settings`: more lines of imapd.conf.
    """

    def __init__(self, *, own_prefix: bool = False, quota_kib: int = 0, settings: str = "") -> None:
        self.root: Chroot = chroot(*PACKAGES)
        self.port, self.lmtp_port = free_port(), free_port()
        self._made = self.root.run(["mktemp", "-d", "/srv/cyrus-XXXXXX"]).stdout.decode().strip()
        self._process: Process | None = None
        self._log = self.root.path / "srv" / f"{self._made.rsplit('/', 1)[-1]}.log"
        imapd = _IMAPD.format(
            folder=self._made,
            admin=ADMIN,
            own="no" if own_prefix else "yes",
            slashes="no" if own_prefix else "yes",
            quota_kib=quota_kib,
            settings=settings,
        )
        self.root.run(["tee", f"{self._made}/imapd.conf"], stdin=imapd.encode())
        services = _SERVICES.format(folder=self._made, port=self.port, lmtp_port=self.lmtp_port)
        self.root.run(["tee", f"{self._made}/cyrus.conf"], stdin=services.encode())
        folders = ("conf", "conf/socket", "conf/db", "conf/lock", "conf/proc", "mail")
        self.root.run(["mkdir", "-p", *(f"{self._made}/{name}" for name in folders)])
        self.user(ADMIN)
        self.root.run(["chown", "-R", "cyrus:mail", self._made])
        self.root.run(["chmod", "755", self._made])

    def user(self, name: str) -> str:
        """Make a user, and return its name."""
        self.root.run(
            ["saslpasswd2", "-p", "-c", "-f", f"{self._made}/sasldb", "-u", "cyrus.peer.example", name],
            stdin=PASSWORD.encode(),
        )
        self.root.run(["chown", "cyrus:mail", f"{self._made}/sasldb"])
        return name

    def start(self) -> None:
        """Start it, and return once it answers."""
        master = ["/usr/lib/cyrus/bin/master", "-C", f"{self._made}/imapd.conf", "-M", f"{self._made}/cyrus.conf"]
        command = self.root.command([*master, "-p", f"{self._made}/pid"])
        self._process = Process(command, self._log)
        wait_until(lambda: answers(self.port, b"* OK"), 60, "Cyrus answers")

    def stop(self) -> None:
        """End it, and all its children."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def kill(self) -> None:
        """End it and all its children at once; those that are logged in would else go on for a while."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def run(self, program: str, *args: str) -> str:
        """Run one of its programs, such as `reconstruct`, as its user, and return what it printed."""
        words = ["setpriv", "--reuid=cyrus", "--regid=mail", "--clear-groups", f"/usr/lib/cyrus/bin/{program}"]
        return self.root.run([*words, "-C", f"{self._made}/imapd.conf", *args]).stdout.decode(errors="replace")

    def __enter__(self) -> Cyrus:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        gone = [str(self.root.path / self._made.lstrip("/")), str(self._log)]
        subprocess.run([*AS_ROOT, "rm", "-rf", "--one-file-system", *gone], check=False)
