"""A private Courier, IMAP and POP3, in a root folder of its own, on free loopback ports.

Its programs know one place for their configuration and their sockets, so each instance sees its own there (mount
namespaces, which need root, as root folders do). A user is made with `user`, with the password `secret`.
"""

from __future__ import annotations

import subprocess
from typing import Final

from tests.peers.chroot import Chroot, chroot
from tests.peers.process import AS_ROOT, Process, answers, free_port, wait_until

PASSWORD: Final = "secret"
PACKAGES: Final = ("courier-imap", "courier-pop")
_OFFERS: Final = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE"

_AUTH: Final = """\
authmodulelist="authuserdb"
authmodulelistorig="authuserdb"
daemons=3
authdaemonvar=/run/courier/authdaemon
DEBUG_LOGIN=0
DEFAULTOPTIONS=""
LOGGEROPTS=""
"""

# The mounts are seen by these processes alone, and go with them.
_MOUNT: Final = """\
set -e
mount --bind {root}{made}/etc {root}/etc/courier
mount --bind {root}{made}/run {root}/run/courier
exec chroot {root} env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C sh {made}/start.sh
"""

_START: Final = """\
set -a
. /etc/courier/authdaemonrc
/usr/lib/courier/courier-authlib/authdaemond &
TCPDOPTS="-nodnslookup -noidentlookup -maxprocs=60 -maxperip=60 -address=127.0.0.1"
(
  . /etc/courier/imapd
  IMAP_CAPABILITY="{offers}"
  IMAP_STARTTLS=NO
  IMAP_TLS_REQUIRED=0
  exec couriertcpd $TCPDOPTS {port} /usr/lib/courier/courier/imaplogin /usr/bin/imapd Maildir
) &
. /etc/courier/pop3d
exec couriertcpd $TCPDOPTS {pop_port} /usr/lib/courier/courier/courierpop3login \\
  /usr/lib/courier/courier/courierpop3d Maildir
"""


class Courier:
    """A server; `with` starts it, and so does `start`. `offers`: its capabilities."""

    def __init__(self, *, offers: str = _OFFERS) -> None:
        self.root: Chroot = chroot(*PACKAGES)
        self.port, self.pop_port = free_port(), free_port()
        self._made = self.root.run(["mktemp", "-d", "/srv/courier-XXXXXX"]).stdout.decode().strip()
        self._log = self.root.path / "srv" / f"{self._made.rsplit('/', 1)[-1]}.log"
        self._process: Process | None = None
        self._users: list[str] = []
        made = self._made
        self.root.run(["mkdir", "-p", "/run/courier", f"{made}/run", f"{made}/run/authdaemon", f"{made}/mail"])
        self.root.run(["cp", "-a", "/etc/courier", f"{made}/etc"])
        start = _START.format(offers=offers, port=self.port, pop_port=self.pop_port)
        self._write("start.sh", start)
        self._write("etc/authdaemonrc", _AUTH)
        self.root.run(["chown", "-R", "courier:courier", f"{made}/run"])
        self.root.run(["chmod", "755", made, f"{made}/run", f"{made}/run/authdaemon"])
        self._password = self.root.run(["userdbpw", "-md5"], stdin=f"{PASSWORD}\n".encode()).stdout.decode().strip()
        self.user("nobody")

    def _write(self, name: str, text: str) -> None:
        self.root.run(["tee", f"{self._made}/{name}"], stdin=text.encode())

    def user(self, name: str) -> str:
        """Make a user, and return its name."""
        home = f"{self._made}/mail/{name}"
        self.root.run(["mkdir", home])
        self.root.run(["maildirmake.courier", f"{home}/Maildir"])
        self.root.run(["chown", "-R", "courier:courier", home])
        ids = [self.root.run(["id", f"-{each}", "courier"]).stdout.decode().strip() for each in "ug"]
        self._users.append(f"{name}\tuid={ids[0]}|gid={ids[1]}|home={home}|systempw={self._password}\n")
        self._write("etc/userdb", "".join(self._users))
        self.root.run(["chmod", "600", f"{self._made}/etc/userdb"])
        self.root.run(["makeuserdb", "-f", f"{self._made}/etc/userdb"])
        self.root.run(["chmod", "644", f"{self._made}/etc/userdb.dat"])
        return name

    def renumber(self, name: str, uidvalidity: int) -> None:
        """Give a user's inbox another UIDVALIDITY, as a restore from a backup does."""
        numbers = f"{self._made}/mail/{name}/Maildir/courierimapuiddb"
        self.root.run(["sed", "-i", f"1s/^1 [0-9]*/1 {uidvalidity}/", numbers])

    def start(self) -> None:
        """Start it, and return once it answers."""
        mount = _MOUNT.format(root=self.root.path, made=self._made)
        own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mount]
        self._process = Process([*AS_ROOT, *own], self._log)
        wait_until(lambda: answers(self.port, b"* OK") and answers(self.pop_port, b"+OK"), 60, "Courier answers")

    def stop(self) -> None:
        """End it, and all its children."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def said(self) -> str:
        """Return what it printed."""
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Courier:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        gone = [str(self.root.path / self._made.lstrip("/")), str(self._log)]
        subprocess.run([*AS_ROOT, "rm", "-rf", "--one-file-system", *gone], check=False)
