"""A configuration that was checked, kept for the next run that looks whether anything has changed.

To read a configuration as models and to check all of it takes several times as long as to ask two servers for their
folders. A run keeps beside the state what such a look needs: the values as the models had them, and a digest of all
that they came from.

Promises: what was kept is used for the same octets of the same file alone, and by the installation that checked them;
else, and where it cannot be read, is incomplete, or could have been written by another user, there is none. No secret
is kept, nor a digest of one: they are read anew from where the configuration has them, as are all files it names.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from gateway.expansion import expanded, has_expansion
from gateway.mailbox import Looking, QuickStore
from gateway.places import DEFAULT_SPOOL, spool_folder, state_folder
from gateway.sync.values import Policy

if TYPE_CHECKING:
    from gateway.config import Config, ConnectorSection
    from gateway.config_sync import SyncSection

FILE: Final = "sync-checked.json"
MAX_OCTETS: Final = 4 * 1024 * 1024
_HERE: Final = Path(__file__).parent
_SOURCES: Final = (str(_HERE), str(_HERE.parent))


class NotKept(Exception):
    """There is nothing that was kept of this configuration as it is now."""


class Checked:
    """A configuration as far as it was kept. `secrets` are those that it holds now, for a log to leave out."""

    def __init__(
        self, base: Path, spool: Path, state_dir: Path, kept: Mapping[str, Any], data: Mapping[str, Any]
    ) -> None:
        self.base_dir = base
        self.spool_dir = spool
        self.state_dir = state_dir
        self.log_format: Any = kept["log_format"]
        self.syncs: dict[str, Any] = {name: _section(values) for name, values in kept["syncs"].items()}
        self.policies = {name: _policy(values["policy"]) for name, values in kept["syncs"].items()}
        self.secrets: set[str] = set()
        self._connectors = kept["connectors"]
        self._data = data
        self._given = {
            name: {option: self._secret(("connector", name, key)) for option, key in each["secrets"].items()}
            for name, each in kept["connectors"].items()
        }
        for place in kept["put_in"]:
            self._secret(place)

    def looking(self, name: str) -> Looking:
        """Return what looks at the mailboxes of a connector. Raises: NotKept."""
        kept = self._connectors.get(name)
        if kept is None:
            raise NotKept
        options = SimpleNamespace(**kept["options"], **self._given[name])
        module, _, cls = kept["looking"].partition(":")
        made: Looking = getattr(import_module(module), cls)(options, self.base_dir)
        return made

    def _secret(self, place: Iterable[str | int]) -> str | None:
        """Return a secret as it is now, None where there is none. Raises: NotKept where what it is in can't be read."""
        text: Any = self._data
        try:
            for each in place:
                text = text[each]
        except KeyError:
            return None
        secret = expanded(text, self.base_dir, os.environ, _not_kept) if has_expansion(text) else str(text)
        self.secrets.add(secret)
        return secret


def keep(config: Config) -> None:
    """Keep a configuration that was checked just now, where its values are all its own but for secrets.

    A folder that nothing can be written to keeps nothing.
    """
    spool = config.spool_dir
    if spool is None or not config.syncs or not config.digest:
        return
    if not all(_is_secret(config, place) for place in config.expanded):
        return  # what a variable says may be something else next time
    names = {name for each in config.syncs.values() for name in (each.from_, each.to)}
    connectors = {name: kept for name in sorted(names) if (kept := _connector(config.connectors[name])) is not None}
    if not connectors:
        return
    kept = {
        "log_format": config.gateway.log_format,
        "connectors": connectors,
        "syncs": {name: _sync(section) for name, section in config.syncs.items()},
        "put_in": sorted(config.expanded),
        "sources": sorted({*_SOURCES, *(folder for each in connectors.values() if (folder := each.pop("source")))}),
    }
    written = json.dumps(kept, ensure_ascii=False)
    with suppress(OSError, ValueError):
        digest = _digest(config.path, config.digest, written, kept["sources"])
        for folder in (spool, config.state_dir):  # parents that are made along would be open to others
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(config.state_dir / FILE, f"{digest}\n{written}".encode())


def read(path: Path) -> Checked:
    """Return what was kept of a configuration as it is now.

    Raises: NotKept, OSError; of a configuration that is wrong now ValueError, LookupError, TypeError, AttributeError.
    """
    path = path.absolute()
    octets = path.read_bytes()
    data = tomllib.loads(octets.decode())
    gateway = data["gateway"]
    place, state = gateway.get("spool", DEFAULT_SPOOL), gateway.get("state")
    if has_expansion(place) or (state is not None and has_expansion(state)):
        raise NotKept
    base = path.parent
    spool = spool_folder(place, base)
    if spool is None:
        raise NotKept
    folder = state_folder(state, place, base)
    digest, _, written = _read(folder / FILE).decode().partition("\n")
    kept = json.loads(written)
    if digest != _digest(path, blake2b(octets, digest_size=32).digest(), written, kept["sources"]):
        raise NotKept
    return Checked(base, spool, folder, kept, data)


def _digest(path: Path, config: bytes, written: str, sources: Sequence[str]) -> str:
    """Return a digest of what was kept, of the configuration it is of, and of what is installed: each folder of
    modules, which is another one once anything was put in or taken out, and the modules that make and use it."""
    said = [sys.version, str(path), config.hex(), written]
    for each in sys.path:
        with suppress(OSError):
            said.append(f"{each} {os.stat(each).st_mtime_ns}")
    for source in sources:
        with os.scandir(source) as found:
            modules = sorted((each.name, each.stat()) for each in found if each.name.endswith(".py"))
        said += [f"{source}/{name} {at.st_mtime_ns} {at.st_size}" for name, at in modules]
    return blake2b("\0".join(said).encode("utf-8", "surrogateescape"), digest_size=32).hexdigest()


def _read(file: Path) -> bytes:
    """Return what stands in a file that this user alone can have written."""
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(handle, "rb") as opened:
        told = os.fstat(handle)
        if not stat.S_ISREG(told.st_mode) or told.st_uid != os.geteuid() or told.st_mode & 0o077:
            raise NotKept
        return opened.read(MAX_OCTETS)


def _write(file: Path, octets: bytes) -> None:
    """Write a file for this user alone, whole or not at all."""
    with suppress(OSError, NotKept):
        if _read(file) == octets:
            return
    made = file.with_name(f".{file.name}.{os.getpid()}")
    handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(handle, "wb") as opened:
        opened.write(octets)
    made.replace(file)


def _is_secret(config: Config, place: Sequence[str | int]) -> bool:
    from gateway.config import MappingSection
    from gateway.config_model import is_secret_at

    if place[0] == "mapping":
        return is_secret_at(MappingSection, tuple(place[1:]))
    section = config.connectors.get(str(place[1])) if place[0] == "connector" else None
    return section is not None and is_secret_at(section.cls.Config, tuple(place[2:]))


def _connector(section: ConnectorSection) -> dict[str, Any] | None:
    """Return what is kept of a connector, None where it has nothing that looks at folders alone."""
    from gateway.config_model import fields_of, is_secret

    if not issubclass(section.cls, QuickStore):
        return None
    values: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    for key, (name, field) in fields_of(section.cls.Config).items():
        value = getattr(section.config, name)
        if is_secret(key, field):
            if not isinstance(value, str | None):
                return None
            secrets[name] = key
        elif isinstance(value, str | int | float | None):
            values[name] = value
    source = getattr(sys.modules[section.cls.__module__], "__file__", None)
    folder = None if source is None else str(Path(source).parent)
    return {"looking": section.cls.looking, "options": values, "secrets": secrets, "source": folder}


def _sync(section: SyncSection) -> dict[str, Any]:
    return {
        "from_": section.from_,
        "to": section.to,
        "mode": section.mode,
        "mailboxes": section.mailboxes,
        "mailboxes_at_once": section.mailboxes_at_once,
        "pair": [each.model_dump() for each in section.pair],
        "policy": asdict(section.policy()),
    }


def _section(kept: Mapping[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(**{**kept, "pair": [SimpleNamespace(**each) for each in kept["pair"]]})


def _policy(kept: Mapping[str, Any]) -> Policy:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
    return Policy(**values)


def _not_kept(found: str, expected: str, among: Collection[str]) -> None:
    raise NotKept
