"""A private Exim in a root folder of its own: it takes batches by `exim -bS`, and writes them by `use_bsmtp`.

Debian's mail servers exclude each other, and the machine has Postfix. Exim runs once for each message, as its
command line has it; no daemon. It adds no field of its own, so that octets can be compared.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.peers.chroot import Chroot, chroot
from tests.peers.process import AS_ROOT

CONFIG = """\
primary_hostname = exim.peer.example
domainlist here = {domains}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
received_header_text =
message_logs = false
keep_environment =
local_from_check = false
untrusted_set_sender = *
smtp_accept_queue_per_connection = 0
acl_not_smtp = accept
begin acl
begin routers
batches:
  driver = accept
  domains = {batched}
  transport = batch
here:
  driver = accept
  domains = +here
  local_parts = {users}
  transport = box
begin transports
box:
  driver = appendfile
  directory = {folder}/mail/${{local_part_data}}@${{domain_data}}
  maildir_format
  user = Debian-exim
batch:
  driver = appendfile
  {batch_place}
  use_bsmtp
  batch_max = {batch_max}
  batch_id = one
  user = Debian-exim
begin retry
* * F,1h,10m
"""


@dataclass(frozen=True)
class Said:
    """How a run of `exim -bS` ended: its status, and what it answered, which is nothing where all went well."""

    status: int
    out: str


class Exim:
    """One instance. `mailboxes` are addresses that have a Maildir each; mail for `batched` becomes batches.

    `one_file` appends all batches to one file; else each is a file of its own.
    """

    def __init__(
        self,
        *,
        mailboxes: tuple[str, ...] = ("bob@here.example",),
        batched: str = "far.example",
        one_file: bool = True,
        batch_max: int = 100,
    ) -> None:
        self.root: Chroot = chroot("exim4-daemon-light")
        made = self.root.run(["mktemp", "-d", "/srv/exim-XXXXXX"]).stdout.decode().strip()
        self.folder = self.root.path / made.lstrip("/")
        self.out = self.folder / "out"
        place = f"file = {made}/out/batch" if one_file else f"directory = {made}/out"
        config = CONFIG.format(
            users=_listed(each.partition("@")[0] for each in mailboxes),
            domains=_listed(each.partition("@")[2] for each in mailboxes),
            folder=made,
            batched=batched,
            batch_place=place,
            batch_max=batch_max,
        )
        self._config = f"{made}/exim.conf"
        self.root.run(["tee", self._config], stdin=config.encode())
        self.root.run(["mkdir", *(f"{made}/{name}" for name in ("spool", "log", "mail", "out"))])
        self.root.run(["chown", "-R", "Debian-exim:Debian-exim", *(f"{made}/{n}" for n in ("spool", "log", "mail"))])
        self.root.run(["chown", "Debian-exim:Debian-exim", f"{made}/out"])
        self.root.run(["chmod", "755", made])

    def take(self, batch: bytes) -> Said:
        """Hand a batch to `exim -bS`, and let it deliver at once."""
        ran = self.root.run(["exim4", "-C", self._config, "-odi", "-bS"], stdin=batch, check=False)
        return Said(ran.returncode, ran.stdout.decode(errors="replace"))

    def send(self, sender: str, recipients: list[str], message: bytes) -> None:
        """Hand a message to Exim, lines ended by LF, for delivery at once."""
        words = ["exim4", "-C", self._config, "-odi", "-oi", "-f", sender or "<>", *recipients]
        self.root.run(words, stdin=message)

    def mailbox(self, address: str) -> list[bytes]:
        """Return the messages that came for an address."""
        folder = self.folder / "mail" / address / "new"
        return [_read(each) for each in _names(folder)]

    def batches(self) -> list[bytes]:
        """Return the files that it wrote for `batched`."""
        return [_read(each) for each in _names(self.out)]

    def said(self) -> str:
        """Return its main log."""
        log = self.folder / "log" / "mainlog"
        return _read(log).decode(errors="replace") if log.exists() else ""

    def stop(self) -> None:
        """Remove its folder; nothing of it runs."""
        subprocess.run([*AS_ROOT, "rm", "-rf", "--one-file-system", str(self.folder)], check=False)

    def __enter__(self) -> Exim:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _listed(words: Iterable[str]) -> str:
    return " : ".join(sorted(set(words)))


def _names(folder: Path) -> list[Path]:
    """Return a folder's files, those that others may not look at too."""
    listed = subprocess.run([*AS_ROOT, "ls", "-A1", str(folder)], capture_output=True, text=True)
    return [folder / name for name in sorted(listed.stdout.splitlines()) if not name.endswith(".lock")]


def _read(file: Path) -> bytes:
    if not AS_ROOT:
        return file.read_bytes()
    return subprocess.run([*AS_ROOT, "cat", str(file)], capture_output=True, check=True).stdout
