"""Writing of a password file: one account set or removed, everything else in it left as it was.

Promises: a reader sees the file before or after, never between; its mode and owner stay, a new one is 0600; two writers
wait for each other. Durable when a function returns.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from connectors.smtp.login.accounts import folded, pattern_fault, read_accounts, split_line
from connectors.smtp.login.passwords import Form, store
from connectors.smtp.login.saslprep import saslprep


class AccountFault(Exception):
    """It cannot be done; the text says why, and shows no password."""


def set_account(path: Path, name: str, password: str | None, addresses: tuple[str, ...] | None, form: Form) -> bool:
    """Make an account, or change one: None leaves its password or its addresses. Returns whether it is new.

    Raises: AccountFault, OSError.
    """
    if saslprep(name) != name or ":" in name or name.startswith("#") or name != name.strip():
        raise AccountFault(f"{name!r} can be no name: it has to be printable, without : and not begin with #")
    for pattern in addresses or ():
        if why := pattern_fault(pattern):
            raise AccountFault(why)
    prepared = None
    if password is not None and (prepared := saslprep(password)) is None:
        raise AccountFault("the password is empty, too long, or holds what cannot be typed everywhere")
    stored = None if prepared is None else store(prepared, form)
    was_there = False

    def changed(line: str) -> str:
        nonlocal was_there
        was_there = True
        _, old_stored, old_addresses, _ = split_line(line)
        return _line(name, stored or old_stored, old_addresses if addresses is None else addresses)

    with _rewriting(path) as rewrite:
        lines = rewrite(name, changed)
        if not was_there:
            if stored is None:
                raise AccountFault(f"there is no account {name!r}, and a new one needs a password")
            lines.append(_line(name, stored, addresses or ()))
    return not was_there


def remove_account(path: Path, name: str) -> None:
    """Remove an account. Raises: AccountFault where there is none; OSError."""
    was_there = False

    def gone(line: str) -> None:
        nonlocal was_there
        was_there = True

    with _rewriting(path) as rewrite:
        rewrite(name, gone)
        if not was_there:
            raise AccountFault(f"there is no account {name!r} in {path}")


def _line(name: str, stored: str, addresses: tuple[str, ...]) -> str:
    return f"{name}:{stored}" + (f":{','.join(addresses)}" if addresses else "")


Rewrite = Callable[[str, Callable[[str], str | None]], list[str]]


@contextmanager
def _rewriting(path: Path) -> Iterator[Rewrite]:
    """Give a function that puts another line, or none, in the place of an account's; the list that it returns is
    written when the block ends without an exception."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    made: list[list[str]] = []
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        exists = path.exists()
        if exists:
            try:
                read_accounts(path)  # what is not understood is not written anew
            except ValueError as e:
                raise AccountFault(str(e)) from None

        def rewrite(name: str, change: Callable[[str], str | None]) -> list[str]:
            lines = path.read_text(encoding="utf-8").splitlines() if exists else []
            kept: list[str] = []
            for line in lines:
                own = line.strip() and not line.startswith("#") and folded(split_line(line)[0]) == folded(name)
                new = change(line) if own else line
                if new is not None:
                    kept.append(new)
            made.append(kept)
            return kept

        yield rewrite
        _write(path, "".join(f"{line}\n" for line in made[-1]), path.stat() if exists else None)
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(path: Path, text: str, like: os.stat_result | None) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            if like is not None:
                os.fchmod(descriptor, like.st_mode & 0o777)
                with suppress(PermissionError):  # it is ours then, as it was
                    os.fchown(descriptor, like.st_uid, like.st_gid)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.rename(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
