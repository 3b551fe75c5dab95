"""A private Dovecot: configuration and mailboxes in a folder of its own, on free loopback ports, gone afterwards.

Every user exists, with the password `secret`, and has what `mail_location` says, Maildir by default.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.peers.process import Process, answers, free_port, wait_until
from tests.scratch import SCRATCH

PASSWORD: Final = "secret"
_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

_CONFIG: Final = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols = imap pop3 {protocols}
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
first_valid_gid = 1
mail_uid = {user}
mail_gid = {group}
mail_home = {folder}/mail/%u
mail_location = {location}
mail_max_userip_connections = 100
auth_mechanisms = plain login
auth_master_user_separator = *
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {pop_port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
namespace inbox {{
  inbox = yes
  separator = {separator}
  mailbox Sent {{
    special_use = \\Sent
  }}
  mailbox Trash {{
    special_use = \\Trash
  }}
}}
{settings}
"""


def program(name: str) -> str:
    """Return where a program of Dovecot's is. Raises: RuntimeError that says how to get it."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise RuntimeError(f"there is no {name} here (Debian: apt-get install dovecot-imapd dovecot-pop3d)")
    return found


class Dovecot:
    """A server; `with` starts it, and so does `start`. `settings`: more lines of its configuration."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        separator: str = "/",
        location: str = "maildir:~/Maildir",
        settings: str = "",
        protocols: str = "",
    ) -> None:
        self._is_ours = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="gatepost-dovecot-", dir=SCRATCH))
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        self.port, self.pop_port = free_port(), free_port()
        self._process: Process | None = None
        user, group = ("nobody", "nogroup") if os.geteuid() == 0 else (_me(), _my_group())
        for each in ("run", "mail"):
            (self.folder / each).mkdir(exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder / "mail", user, group)
        self._config = self.folder / "dovecot.conf"
        self._config.write_text(
            _CONFIG.format(
                folder=self.folder,
                user=user,
                group=group,
                password=PASSWORD,
                port=self.port,
                pop_port=self.pop_port,
                separator=separator,
                location=location,
                settings=settings,
                protocols=protocols,
            )
        )

    def start(self) -> None:
        """Start it, and return once it answers."""
        command = [program("dovecot"), "-c", str(self._config), "-F"]
        self._process = Process(command, self.folder / "out", {"PATH": _PATH})
        wait_until(lambda: answers(self.port), 60, "Dovecot answers")

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

    def log(self) -> str:
        """Return what it has logged."""
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def adm(self, *args: str, timeout_s: float = 60) -> str:
        """Run doveadm, and return what it printed. Raises: CalledProcessError."""
        command = [program("doveadm"), "-c", str(self._config), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout_s).stdout

    def __enter__(self) -> Dovecot:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()  # to stop, it waits six seconds for processes that have nothing to do
        if self._is_ours:
            shutil.rmtree(self.folder, ignore_errors=True)


def _me() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _my_group() -> str:
    import grp

    return grp.getgrgid(os.getegid()).gr_name
