"""Programs that read and write mailboxes: mutt, nmh, mailutils and procmail, each with a home of its own.

Nothing of them stays running: each call is one process, ended by a bound.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

TIMEOUT_S: Final = 30
NMH: Final = Path("/usr/bin/mh")
Kind = Literal["mbox", "MMDF", "MH", "Maildir"]


@dataclass(frozen=True)
class MailPrograms:
    """`home` holds their settings."""

    home: Path

    def run(self, *command: str | Path, octets: bytes = b"", good: tuple[int, ...] = (0,), **more: str) -> str:
        """Run a program to its end; return what it prints. Raises: CalledProcessError."""
        done = subprocess.run(
            [str(word) for word in command],
            input=octets,
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
            env={**self._environment(), **more},
            cwd=self.home,
        )
        if done.returncode not in good:
            done.check_returncode()
        return done.stdout.decode("utf-8", "replace")

    def _environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm"}

    def mutt_copy(self, source: Path, target: Path, kind: Kind) -> None:
        """Let mutt read a mailbox and write all of its messages into another, of this kind."""
        settings = self.home / "muttrc"
        settings.write_text(
            f"set mbox_type={kind} folder={self.home}\n"  # it would ask whether to make another
            "set confirmappend=no confirmcreate=no quit=yes move=no mark_old=no wait_key=no sort=mailbox-order\n"
            f'push "<tag-pattern>~A<enter><tag-prefix><copy-message>{target}<enter><quit>"\n'
        )
        self._run_in_terminal("mutt", "-n", "-F", settings, "-R", "-f", source)

    def _run_in_terminal(self, *command: str | Path) -> None:
        """Run a program that wants a terminal, with nobody at it. Raises: CalledProcessError."""
        ours, its = os.openpty()
        try:
            with subprocess.Popen(
                [str(word) for word in command],
                stdin=its,
                stdout=its,
                stderr=its,
                env=self._environment(),
                cwd=self.home,
                start_new_session=True,
            ) as process:
                os.close(its)
                shown = b""
                until = time.monotonic() + TIMEOUT_S
                while select.select([ours], [], [], max(0.0, until - time.monotonic()))[0]:
                    try:
                        shown += os.read(ours, 65536)
                    except OSError:  # how Linux tells that the other end is closed
                        break
                else:
                    process.kill()
                status = process.wait(TIMEOUT_S)
        finally:
            os.close(ours)
        if status:
            raise subprocess.CalledProcessError(status, [str(word) for word in command], shown)

    def nmh(self, program: str, *words: str | Path) -> str:
        """Run a program of nmh; folders lie in `home`/Mail."""
        profile = self.home / ".mh_profile"
        profile.write_text("Path: Mail\nUnseen-Sequence: unseen\n")
        (self.home / "Mail").mkdir(exist_ok=True)
        return self.run(NMH / program, *words, MH=str(profile))

    def frm(self, box: Path) -> list[str]:
        """Let mailutils list a mailbox: a line a message, its sender's name and its subject."""
        return self.run("frm", box, good=(0, 1)).splitlines()  # its status tells whether there is new mail

    def movemail(self, box: Path, target: Path) -> None:
        """Let mailutils take all messages out of a mailbox and put them into another."""
        self.run("movemail", "--no-config", box, target)

    def procmail(self, box: Path, octets: bytes, sender: str) -> None:
        """Let procmail deliver a message into a mailbox, under its locks."""
        self.run(
            "procmail", "-f", sender, "LOCKSLEEP=1", f"DEFAULT={box}", f"ORGMAIL={box}", "/dev/null", octets=octets
        )

    def formail_count(self, box: Path) -> int:
        """Let formail part a mailbox; return into how many messages."""
        # A program that leaves without reading its message may end formail too.
        return self.run("formail", "-s", "sh", "-c", "cat >/dev/null; echo x", octets=box.read_bytes()).count("x")
