"""A private Postfix: own configuration, queue and port, started by `postfix -c`; the real sender and next hop.

Tuned as its own TUNING_README says for a busy relay, so that a comparison is fair: no pause on inflow, no limit of
clients, processes and concurrency enough for 20 sessions, no look-ups. Its log goes to a file.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.peers.process import AS_ROOT, answers, cpu_s, descendants, free_port, wait_until

MASTER = """\
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """One instance.

    `next_hop` is the loopback port that mail is relayed to. `mailboxes` are addresses it holds itself (a Maildir
    each); others of their domains are unknown to it. `settings` are lines of main.cf that come last.
    """

    def __init__(
        self,
        *,
        next_hop: int | None = None,
        mailboxes: tuple[str, ...] = (),
        settings: Mapping[str, str] | None = None,
        folder: Path | None = None,
        hostname: str = "mail.peer.example",
    ) -> None:
        # Not pytest's folder: its mode keeps the user `postfix` out.
        self.folder = Path(tempfile.mkdtemp(prefix="postfix-", dir=folder))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.log = self.folder / "maillog"
        self.mail = self.folder / "mail"
        self._write(next_hop, mailboxes, settings or {}, hostname)

    def _write(
        self, next_hop: int | None, mailboxes: tuple[str, ...], settings: Mapping[str, str], hostname: str
    ) -> None:
        config, queue, data = (self.folder / each for each in ("etc", "queue", "data"))
        for each in (config, queue, data, self.mail):
            each.mkdir()
        owner = pwd.getpwnam("postfix")
        # While its logger is down its tools write for themselves, as another user.
        self.log.touch()
        self.log.chmod(0o666)
        for each in (data, self.mail):
            _chown(each, owner.pw_uid, owner.pw_gid)
        main = {
            "compatibility_level": "3.6",
            "queue_directory": str(queue),
            "data_directory": str(data),
            "mail_owner": "postfix",
            "myhostname": hostname,
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "maillog_file": str(self.log),
            "maillog_file_prefixes": str(self.folder),
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            "smtpd_peername_lookup": "no",
            "smtpd_client_event_limit_exceptions": "static:all",
            "smtp_dns_support_level": "disabled",
            "smtp_host_lookup": "native",
            "smtp_tls_security_level": "none",
            "alias_maps": "",
            "alias_database": "",
            "message_size_limit": "0",
            "mailbox_size_limit": "0",
            "virtual_mailbox_limit": "0",
            # Shipped values hold back under the load of a test, a second of pause for each inflow.
            "in_flow_delay": "0",
            "default_process_limit": "200",
            "smtpd_client_connection_count_limit": "0",
            "smtpd_client_connection_rate_limit": "0",
            "initial_destination_concurrency": "20",
            "default_destination_concurrency_limit": "50",
            "qmgr_message_active_limit": "20000",
            "minimal_backoff_time": "2s",
            "maximal_backoff_time": "5s",
            "queue_run_delay": "2s",
            "confirm_delay_cleared": "no",
        }
        if next_hop is not None:
            main["relayhost"] = f"[127.0.0.1]:{next_hop}"
        if mailboxes:
            # `virtual` takes no substitution from a pattern, so every mailbox has its line.
            boxes = config / "boxes"
            boxes.write_text("".join(f"{each} {each}/\n" for each in mailboxes))
            main |= {
                "virtual_mailbox_domains": " ".join(sorted({each.rpartition("@")[2] for each in mailboxes})),
                "virtual_mailbox_base": str(self.mail),
                "virtual_mailbox_maps": f"texthash:{boxes}",
                "virtual_uid_maps": f"static:{owner.pw_uid}",
                "virtual_gid_maps": f"static:{owner.pw_gid}",
            }
        main |= settings
        (config / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in main.items()))
        (config / "master.cf").write_text(MASTER.format(port=f"127.0.0.1:{self.port}"))

    def _postfix(self, verb: str) -> subprocess.CompletedProcess[str]:
        args = [*AS_ROOT, "postfix", "-c", str(self.folder / "etc"), verb]
        env = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
        return subprocess.run(args, capture_output=True, text=True, timeout=60, env=env, stdin=subprocess.DEVNULL)

    def start(self) -> Postfix:
        """Start it and wait until it greets. Raises: RuntimeError with what it said."""
        ran = self._postfix("start")
        try:
            wait_until(lambda: answers(self.port, b"220"), 60, "Postfix greets")
        except TimeoutError as fault:
            raise RuntimeError(f"Postfix did not start: {ran.stdout}{ran.stderr}{self.said()[-2000:]}") from fault
        return self

    @property
    def pid(self) -> int:
        """Return the pid of its master."""
        return int((self.folder / "queue" / "pid" / "master.pid").read_text())

    def said(self) -> str:
        """Return its log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its processes, ended ones included."""
        return cpu_s(self.pid)

    def kill(self) -> None:
        """End all of its processes at once: SIGKILL."""
        # A child that the master starts after the list was read would keep the port from the next master.
        _signal([self.pid], signal.SIGSTOP)
        pids = list(descendants(self.pid))
        _kill(pids)
        wait_until(lambda: not any(Path(f"/proc/{each}").exists() for each in pids), 60, "Postfix is gone")

    def stop(self) -> None:
        """End it and remove its folder."""
        try:
            pids = list(descendants(self.pid))
        except (OSError, ValueError):
            pids = []
        self._postfix("abort")
        if pids:
            try:
                wait_until(lambda: not any(Path(f"/proc/{each}").exists() for each in pids), 60, "Postfix has stopped")
            except TimeoutError:
                _kill(pids)
        if AS_ROOT:
            subprocess.run([*AS_ROOT, "rm", "-rf", str(self.folder)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def flush(self) -> None:
        """Try everything in the queue now."""
        self._postfix("flush")

    def queue_files(self) -> Iterator[Path]:
        """Yield the files of messages in the queue (incoming, active, deferred)."""
        for name in ("maildrop", "incoming", "active", "deferred"):
            for root, _, names in os.walk(self.folder / "queue" / name):
                yield from (Path(root) / each for each in names)

    def is_empty(self) -> bool:
        return next(self.queue_files(), None) is None

    def mailbox(self, address: str) -> list[Path]:
        """Return the messages that came for one of its mailboxes."""
        folder = self.mail / address / "new"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def __enter__(self) -> Postfix:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _chown(path: Path, uid: int, gid: int) -> None:
    if AS_ROOT:
        subprocess.run([*AS_ROOT, "chown", f"{uid}:{gid}", str(path)], check=True)
    else:
        os.chown(path, uid, gid)


def _kill(pids: list[int]) -> None:
    _signal(pids, signal.SIGKILL)


def _signal(pids: list[int], which: signal.Signals) -> None:
    if AS_ROOT:
        said = [*AS_ROOT, "kill", f"-{which.value}", *map(str, pids)]
        subprocess.run(said, check=False, stderr=subprocess.DEVNULL)
        return
    for each in pids:
        try:
            os.kill(each, which)
        except ProcessLookupError:
            continue
