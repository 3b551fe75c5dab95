"""A private CrashMail II: own settings, inbound, outbound and message areas below one folder; the real FidoNet tosser.

Nothing of it stays running: each call is one run of a program that ends. Debian's package is `crashmail`.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

SETTINGS = """\
SYSOP "Sys Op"
LOGFILE "{folder}/log"
LOGLEVEL 6
DUPEFILE "{folder}/dupes" 200
DUPEMODE BAD
LOOPMODE LOG+BAD
DEFAULTZONE {zone}
INBOUND "{folder}/inbound"
OUTBOUND "{folder}/outbound"
TEMPDIR "{folder}/temp"
CREATEPKTDIR "{folder}/temp"
PACKETDIR "{folder}/packets"
STATSFILE "{folder}/stats"
PACKER "ZIP" "zip -j %a %f" "unzip -j -o %a" "PK"
AKA {aka}
DOMAIN "fidonet"
{nodes}
ROUTE "*:*/*.*" "{link}" {aka}
NETMAIL "NETMAIL" {aka} MSG "{folder}/netmail"
{more}
AREA "BAD" {aka} MSG "{folder}/bad"
AREA "TESTAREA" {aka} MSG "{folder}/testarea"
EXPORT {link}
"""


class Crashmail:
    """One system at `aka`, linked with the node `link`; `password` is the one of packets between them.

    `points` of its own are nodes that it exports to; `more` are further lines of its settings.
    """

    def __init__(
        self, folder: Path, *, aka: str, link: str, password: str = "", points: Sequence[str] = (), more: str = ""
    ) -> None:
        folder.mkdir(parents=True)
        # It keeps paths in buffers of some eighty characters, and cuts what is longer without a word.
        short = Path(tempfile.mkdtemp(prefix="cm-", dir="/tmp"))
        weakref.finalize(self, shutil.rmtree, short, ignore_errors=True)
        folder, target = short / "f", folder
        folder.symlink_to(target)
        self.folder = folder
        self.aka = aka
        self.inbound, self.outbound, self.netmail = (folder / name for name in ("inbound", "outbound", "netmail"))
        for name in ("inbound", "outbound", "temp", "packets", "netmail", "bad", "testarea"):
            (folder / name).mkdir(parents=True)
        nodes = [f'NODE {link} "" "{password}"', *(f'NODE {point} "" ""' for point in points)]
        words = {"folder": folder, "zone": aka.partition(":")[0], "aka": aka, "link": link}
        text = SETTINGS.format(**words, nodes="\n".join(nodes), more=more)
        self._settings = folder / "crashmail.prefs"
        self._settings.write_text(text)

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text("latin-1") if path.exists() else ""

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(arguments, cwd=self.folder, capture_output=True, timeout=30, check=False)
        if done.returncode:
            text = (done.stdout + done.stderr).decode("latin-1")
            raise AssertionError(f"{arguments[0]} ended with {done.returncode}:\n{text}\n{self.log}")

    def toss(self) -> None:
        """Take the packets of the inbound into the areas, or on to other nodes."""
        self._run("crashmail", "SETTINGS", str(self._settings), "TOSS")

    def scan(self) -> None:
        """Bring what was written into the areas to the outbound."""
        self._run("crashmail", "SETTINGS", str(self._settings), "SCAN")

    def write(
        self, folder: Path, *, sender: tuple[str, str], to: tuple[str, str], subject: str, text: bytes, **more: str
    ) -> None:
        """Have `crashwrite` make a packet in a folder; `sender` and `to` are name and node."""
        file = self.folder / "text"
        file.write_bytes(text)
        words = ["crashwrite", "DIR", str(folder), "FROMNAME", sender[0], "FROMADDR", sender[1]]
        words += ["TONAME", to[0], "TOADDR", to[1], "SUBJECT", subject, "TEXT", str(file)]
        for key, value in more.items():
            words += [key.upper(), value] if value else [key.upper()]
        self._run(*words)

    def stored(self, area: str = "netmail") -> list[bytes]:
        """Return the messages of an area, in the order of their numbers."""
        files = [path for path in (self.folder / area).glob("*.msg") if path.stem.isdigit()]
        return [path.read_bytes() for path in sorted(files, key=lambda path: int(path.stem))]
