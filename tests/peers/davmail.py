"""DavMail, headless, on loopback: IMAP, POP and SMTP in front of an Exchange server's web services.

It is a program that none of us wrote, and so a witness of what the EWS test peer answers. Debian's davmail-server;
without libjna-jni it dies after it has opened its ports, so an answered CAPABILITY is waited for.
"""

from __future__ import annotations

import contextlib
import imaplib
import shutil
import tempfile
from pathlib import Path
from typing import Final

from tests.peers.process import Process, free_port, wait_until
from tests.scratch import SCRATCH

_JAR: Final = Path("/usr/share/davmail/davmail.jar")
_PARTS: Final = (
    "httpclient", "commons-logging", "httpcore", "commons-codec", "htmlcleaner", "javax.mail", "jackrabbit-webdav",
    "jcifs", "jdom2", "jettison", "log4j-1.2", "stax2-api", "woodstox-core-asl", "woodstox-core", "jna", "jna-platform",
)  # fmt: skip


def missing() -> str | None:
    """Return what is missing here to run it, and how to get it; None: nothing."""
    if shutil.which("java") is None or not _JAR.is_file():
        return "there is no DavMail here (Debian: apt-get install davmail-server libjna-jni)"
    if not list(Path("/usr/lib").glob("*/jni/libjnidispatch*.so")):
        return "DavMail needs libjna-jni (Debian: apt-get install libjna-jni)"
    return None


class DavMail:
    """The program; `with` starts it. `url`: of the web service it stands in front of; ports not given are free ones."""

    def __init__(
        self, url: str, folder: Path | None = None, *, imap_port: int | None = None, smtp_port: int | None = None
    ) -> None:
        self._is_ours = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="gatepost-davmail-", dir=SCRATCH))
        self.url = url
        self.imap_port, self.smtp_port = imap_port or free_port(), smtp_port or free_port()
        self.pop_port = free_port()
        self.process: Process | None = None

    def __enter__(self) -> DavMail:
        why_not = missing()
        if why_not is not None:
            raise RuntimeError(why_not)
        settings = self.folder / "davmail.properties"
        settings.write_text(self._settings())
        jars = [_JAR, *(Path("/usr/share/java") / f"{each}.jar" for each in _PARTS)]
        natives = next(iter(Path("/usr/lib").glob("*/jni")))
        args = ["java", "-Djava.awt.headless=true", f"-Djna.boot.library.path={natives}", "-Xmx256m"]
        args += ["-cp", ":".join(str(each) for each in jars if each.exists()), "davmail.DavGateway", str(settings)]
        self.process = Process(args, self.folder / "davmail.out")
        try:
            wait_until(lambda: self._answers() or not self._process().is_alive, 90, "DavMail answers", pause_s=0.2)
            if not self._process().is_alive:
                raise RuntimeError(f"DavMail did not start:\n{self._process().said()[-2000:]}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
        if self._is_ours:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _process(self) -> Process:
        assert self.process is not None
        return self.process

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            connection = imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=5)
            connection.shutdown()
            return "IMAP4REV1" in connection.capabilities
        return False

    def said(self) -> str:
        """Return its log."""
        return (self.folder / "davmail.log").read_text(errors="replace")

    def _settings(self) -> str:
        said = {
            "davmail.server": "true",
            "davmail.mode": "EWS",
            "davmail.url": self.url,
            "davmail.bindAddress": "127.0.0.1",
            "davmail.allowRemote": "false",
            "davmail.imapPort": self.imap_port,
            "davmail.smtpPort": self.smtp_port,
            "davmail.popPort": self.pop_port,
            "davmail.caldavPort": "",
            "davmail.ldapPort": "",
            "davmail.disableUpdateCheck": "true",
            "davmail.ssl.nosecureimap": "true",
            "davmail.ssl.nosecuresmtp": "true",
            "davmail.ssl.nosecurepop": "true",
            "davmail.enableProxy": "false",
            "davmail.useSystemProxies": "false",
            "davmail.disableGuiNotifications": "true",
            "davmail.logFilePath": self.folder / "davmail.log",
            "davmail.folderSizeLimit": 0,
            "davmail.imapIdleDelay": "",
            "log4j.rootLogger": "WARN",
            "log4j.logger.davmail": "INFO",
        }
        return "".join(f"{key}={value}\n" for key, value in said.items())
