"""Private instances of the filters that Debian has: rspamd, clamd with clamav-milter, OpenDKIM. Each in a folder of its
own, at a free loopback port, gone afterwards; none asks the network anything."""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.peers.process import Process, answers, free_port, wait_until
from tests.scratch import SCRATCH

_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_PACKAGES: Final = {
    "rspamd": "rspamd",
    "clamd": "clamav-daemon",
    "clamav-milter": "clamav-milter",
    "opendkim": "opendkim",
}
_START_S: Final = 60.0

EICAR: Final = b"".join((b"X5O!P%@AP[4\\PZX54(P^)7CC)7}", b"$EICAR-STANDARD-", b"ANTIVIRUS-TEST-FILE!$H+H*"))
"""What every scanner calls a virus, and is none; in parts, so that no scanner takes this file for it."""
GTUBE: Final = b"".join((b"XJS*C4JDBQADN1.NSBN3*2IDNEN*", b"GTUBE-STANDARD-ANTI-UBE-", b"TEST-EMAIL*C.34X"))
"""What every spam filter refuses."""


def program(name: str) -> str:
    """Return where a program is. Raises: RuntimeError that says how to get it."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise RuntimeError(f"there is no {name} here (Debian: apt-get install {_PACKAGES[name]})")
    return found


class _Peer(ABC):
    """A filter; `with` starts it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-milter-", dir=SCRATCH))
        self.port = free_port()
        self._processes: list[Process] = []

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    @abstractmethod
    def start(self) -> None:
        """Start it, and wait until it listens."""

    def _run(self, *args: str | Path) -> Process:
        process = Process(args, self.folder / f"out{len(self._processes)}.log")
        self._processes.append(process)
        return process

    def _wait(self, process: Process) -> None:
        def listens() -> bool:
            if not process.is_alive:
                raise RuntimeError(f"{process.args[0]} has ended:\n{process.said()[-2000:]}")
            return answers(self.port)

        wait_until(listens, _START_S, f"{process.args[0]} listens")

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def said(self) -> str:
        return "".join(process.said() for process in self._processes)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()
        self._processes.clear()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Rspamd(_Peer):
    """rspamd as a milter that scans by itself, with one rule of ours: a subject with `cheap pills` is spam, to be told
    by a field; `refused pills` is refused for now."""

    def start(self) -> None:
        folder = self.folder
        # Without a list of its own it compiles ten thousand names of domains at every start.
        self._write("domains", "com\nexample\n")
        self._write(
            "rules.lua",
            "rspamd_config.CHEAP_PILLS = {score = 7.0, callback = function(task)\n"
            "  local s = task:get_subject(); return s and s:find('cheap pills') ~= nil end}\n"
            "rspamd_config.LATER_PILLS = {score = 0.0, callback = function(task)\n"
            "  local s = task:get_subject(); if s and s:find('later pills') then\n"
            "  task:set_pre_result('soft reject', 'try the pills later') end return false end}\n",
        )
        conf = self._write(
            "rspamd.conf",
            f"""
            options {{
              filters = ""; pidfile = "{folder}/pid"; tempdir = "{folder}"; hs_cache_dir = "{folder}";
              url_tld = "{folder}/domains"; disable_hyperscan = true; rrd = ""; stats_file = "{folder}/stats.ucl";
              history_file = ""; control_socket = "{folder}/control.sock mode=0600";
              dns {{ nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }}
            }}
            logging {{ type = "console"; level = "info"; }}
            lang_detection {{ languages = "{folder}/none"; }}
            lua = "{folder}/rules.lua";
            actions {{ reject = 15; "add header" = 6; }}
            modules {{ path = "/usr/share/rspamd/plugins/milter_headers.lua"; }}
            milter_headers {{ use = ["x-spam-status"]; skip_local = false; skip_authenticated = false; }}
            worker "rspamd_proxy" {{
              bind_socket = "127.0.0.1:{self.port}"; milter = yes; timeout = 30s; count = 1;
              upstream "local" {{ default = yes; self_scan = yes; }}
            }}
            """,
        )
        user = ("-i", "-u", "root", "-g", "root") if os.geteuid() == 0 else ()
        self._wait(self._run(program("rspamd"), "-f", *user, "-c", conf))


class Clamav(_Peer):
    """clamd, which knows one virus, the test file of its makers, and clamav-milter in front of it."""

    def start(self) -> None:
        folder = self.folder
        (folder / "db").mkdir(exist_ok=True)
        (folder / "clamd.sock").unlink(missing_ok=True)
        self._write("db/eicar.ndb", f"Eicar-Test-Signature:0:0:{EICAR.hex()}\n")
        user = "User root\n" if os.geteuid() == 0 else ""
        clamd = self._write(
            "clamd.conf",
            f"{user}LocalSocket {folder}/clamd.sock\nDatabaseDirectory {folder}/db\nForeground yes\nBytecode no\n",
        )
        milter = self._write(
            "milter.conf",
            f"{user}MilterSocket inet:{self.port}@127.0.0.1\nClamdSocket unix:{folder}/clamd.sock\nForeground yes\n"
            "OnInfected Reject\nOnFail Defer\nAddHeader Add\nRejectMsg infected by %v\n",
        )
        daemon = self._run(program("clamd"), "-c", clamd)
        wait_until(lambda: (folder / "clamd.sock").exists() or not daemon.is_alive, _START_S, "clamd listens")
        self._wait(self._run(program("clamav-milter"), "-c", milter))


class Opendkim(_Peer):
    """OpenDKIM as a milter: it signs mail from `signs` by `key_file` and selector `s`, and verifies all other mail by
    the keys in `keys`, the text of their TXT records by name."""

    def __init__(self, *, signs: str = "", key_file: Path | None = None, keys: dict[str, str] | None = None) -> None:
        super().__init__()
        self._signs = signs
        self._key_file = key_file
        self._keys = keys or {}

    def start(self) -> None:
        folder = self.folder
        lines = [
            f"Socket inet:{self.port}@127.0.0.1",
            "Background no",
            "Syslog no",
            f"TemporaryDirectory {folder}",
            f"Mode {'sv' if self._signs else 'v'}",
            "AuthservID filter.example",
            "Canonicalization relaxed/simple",
            "RequireSafeKeys no",
            "Nameservers 127.0.0.1",
        ]
        if os.geteuid() == 0:
            lines.append("UserID root")
        if self._signs:
            assert self._key_file is not None
            lines += [f"Domain {self._signs}", f"KeyFile {self._key_file}", "Selector s"]
        lines.append("InternalHosts csl:192.0.2.200" if not self._signs else "InternalHosts csl:127.0.0.1")
        if self._keys:
            listed = "".join(f"{name} {text}\n" for name, text in self._keys.items())
            lines.append(f"TestPublicKeys {self._write('keys', listed)}")
        conf = self._write("opendkim.conf", "\n".join(lines) + "\n")
        self._wait(self._run(program("opendkim"), "-f", "-x", conf))
