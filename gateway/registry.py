"""The installed connectors, by entry point: our own are found like anyone's.

Promises: nothing is imported before it is asked for; a connector that cannot be imported, is of another contract, or
whose name two distributions claim is a sentence for an operator, never a traceback, and never keeps the others from
being found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any, Final

from gateway.contract import Connector, ConnectorConfig
from mappings.contract_version import CONTRACT_VERSION, OLDEST_CONTRACT_VERSION, deprecation, misfit
from mappings.installed import installed

GROUP: Final = "gatepost.connectors"
PUBLIC: Final = ("gateway.contract", "gateway.testing", "mappings.network")
"""The modules that plugins import: the contract, by its one version."""


class ConnectorUnavailable(Exception):
    """A connector type cannot be used; the text names the distribution and the mend."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One connector type: who brings it, and how it is loaded. `rivals` are others that claim its name."""

    name: str
    point: EntryPoint
    rivals: tuple[EntryPoint, ...] = ()

    @property
    def distribution(self) -> str:
        """Return the distribution and its version, or the import path where it has none."""
        return _distribution(self.point)

    def load(self) -> type[Connector]:
        """Import the connector's class.

        Raises: ConnectorUnavailable, whatever the plugin's import raises.
        """
        if self.rivals:
            claims = " and ".join(f"{_distribution(p)} ({p.value})" for p in (self.point, *self.rivals))
            raise ConnectorUnavailable(
                f"connector type {self.name!r} is claimed by {claims}; uninstall all but one of them"
            )
        try:
            found: Any = self.point.load()
        except ImportError as e:
            raise ConnectorUnavailable(self._newer_name(e) or self._not_imported(e)) from e
        except (Exception, SystemExit) as e:  # a plugin's import may raise anything, and must not take the others along
            raise ConnectorUnavailable(self._not_imported(e)) from e
        if not (isinstance(found, type) and issubclass(found, Connector)):
            raise ConnectorUnavailable(f"{self.point.value} of {self.distribution} is not a Connector class")
        wrong = misfit(self._described, found.contract_version, CONTRACT_VERSION, OLDEST_CONTRACT_VERSION)
        if wrong is not None:
            raise ConnectorUnavailable(wrong)
        options: Any = found.Config
        if not (isinstance(options, type) and issubclass(options, ConnectorConfig)):
            raise ConnectorUnavailable(f"Config of {self.point.value} of {self.distribution} is not a ConnectorConfig")
        connector: type[Connector] = found
        return connector

    def deprecation(self) -> str | None:
        """Return what to tell an operator of a connector that is made for the contract's version before this one.

        None where it is of this version. Raises: ConnectorUnavailable.
        """
        return deprecation(self._described, self.load().contract_version, CONTRACT_VERSION)

    @property
    def _described(self) -> str:
        return f"connector type {self.name!r} of {self.distribution}"

    def _not_imported(self, e: BaseException) -> str:
        return f"{self._described} cannot be imported: {_reason(e)}; install what it needs, or remove the distribution"

    def _newer_name(self, e: ImportError) -> str | None:
        """Return the text for an import of what the contract does not have: it fails before a version can be read."""
        if e.name not in PUBLIC or "cannot import name" not in str(e):
            return None
        missing = str(e).split("'")[1:2]
        return (
            f"{self._described} imports {missing[0] if missing else 'a name'} from {e.name}, which version "
            f"{CONTRACT_VERSION} of the connector contract does not have: it is made for another version; "
            "upgrade gatepost, or install a release of it that fits"
        )


class Connectors(Mapping[str, Entry]):
    """The connector types by name, sorted; made of entry points."""

    def __init__(self, points: Iterable[EntryPoint]) -> None:
        found: dict[str, list[EntryPoint]] = {}
        for point in points:
            same = found.setdefault(point.name, [])
            # One distribution may be seen twice (an editable install and its build folder): that is no clash.
            if all((p.value, _distribution(p)) != (point.value, _distribution(point)) for p in same):
                same.append(point)
        self._entries = {name: Entry(name, p[0], tuple(p[1:])) for name, p in sorted(found.items())}

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


@cache
def connectors() -> Mapping[str, Entry]:
    """Return the installed connector types; none of them is imported yet."""
    return Connectors(installed(GROUP))


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value


def _reason(e: BaseException) -> str:
    return f"{e}" if isinstance(e, ImportError) else f"{type(e).__name__}: {e}"
