"""The way of a hand-over: to the daemon by its socket, or else into the drop folder. Blocks.

Imported is what costs little: `socket` alone would take as long as all the rest, for classes that are not needed here.
"""

from __future__ import annotations

import _socket
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FOLDER = "/var/spool/gatepost-sendmail"
"""Where socket and drop folder are; $GATEPOST_SENDMAIL names another one."""
SOCKET = "socket"
DROP = "drop"
DONE = ".msg"
BEGUN = ".new"
ANSWER_S = 60.0
MOST_ANSWER = 16 * 1024 * 1024
PIECE = 256 * 1024


class Unreachable(Exception):
    """No daemon answers, or it has to be asked later; the text says why."""


class Unkept(Exception):
    """There is no room for what came on standard input; the text says where."""


def folder() -> str:
    """Return the folder of socket and drop folder."""
    return os.environ.get("GATEPOST_SENDMAIL") or FOLDER


def ask(where: str, pieces: Iterable[bytes]) -> tuple[int, str]:
    """Hand over to the daemon; return its exit status and its words. Raises: Unreachable."""
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        end.settimeout(ANSWER_S)
        end.connect(os.path.join(where, SOCKET))
        try:
            for piece in pieces:
                end.sendall(piece)
            end.shutdown(_socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has said why already
        answer = bytearray()
        try:
            while len(answer) < MOST_ANSWER and (octets := end.recv(PIECE)):
                answer += octets
        except ConnectionResetError:
            pass  # it read not all of what we said; what it said before that counts
    except OSError as fault:
        raise Unreachable(fault.strerror or str(fault)) from None
    finally:
        end.close()
    status, blank, text = answer.decode("utf-8", "replace").partition(" ")
    if not blank or not status.isdigit():
        raise Unreachable("the daemon hung up")
    return int(status), text


def drop(where: str, id: str, pieces: Iterable[bytes]) -> None:
    """Put a hand-over into the drop folder. Durable when this returns. Raises: OSError.

    The folder lets everybody put files in and nobody list them, and gives them its group: so only the daemon's group
    can read what is 0640 there, and only the daemon and the owner can take it away again (the sticky bit).
    """
    begun = os.path.join(where, DROP, id + BEGUN)
    done = os.path.join(where, DROP, id + DONE)
    file = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[os.write(file, view) :]
            os.fchmod(file, 0o640)
            os.fsync(file)
            os.rename(begun, done)
        except BaseException:
            os.unlink(begun)
            raise
        # The folder may not be opened by who may not list it. A file that was renamed and then synced has its name on
        # disk with it on the file systems of Linux: the rename is in the same journal, before what this waits for.
        os.fsync(file)
    finally:
        os.close(file)
    try:
        listed = os.open(os.path.join(where, DROP), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.fsync(listed)
    finally:
        os.close(listed)


class Kept:
    """What came on standard input, kept until it is handed over: in memory, beyond a mebibyte in a file."""

    MOST = 1024 * 1024

    def __init__(self) -> None:
        self._octets = bytearray()
        self._file = -1
        self.size = 0

    def add(self, octets: bytes) -> None:
        """Raises: Unkept."""
        self.size += len(octets)
        self._octets += octets
        if len(self._octets) > self.MOST:
            try:
                self._spill()
            except OSError as fault:
                raise Unkept(f"there is no room for the message in a temporary file: {fault.strerror}") from None

    def _spill(self) -> None:
        if self._file < 0:
            import tempfile

            with tempfile.TemporaryFile() as made:
                self._file = os.dup(made.fileno())
        view = memoryview(bytes(self._octets))
        while view:
            view = view[os.write(self._file, view) :]
        self._octets.clear()

    def pieces(self) -> Iterator[bytes]:
        """Yield the octets; may be called again."""
        at = 0
        while self._file >= 0 and (octets := os.pread(self._file, PIECE, at)):
            at += len(octets)
            yield octets
        if self._octets:
            yield bytes(self._octets)
