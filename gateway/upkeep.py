"""Upkeep of what a gateway keeps: backup, restore, check and upgrade of the spool, with the encapsulation key and the
state of syncs; and the end of what is parked.

Promises: a backup is consistent with the content files, and holds the key without which the addresses that were
shown cannot be answered; a restored spool starts held, so that nothing is sent twice unasked; what was parked and
never looked at is dropped after its time, each with a trace event and a log line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from gateway.config import KEY_FILE
from gateway.control import ControlError
from gateway.mapping import FILE as MAPPING_FILE
from gateway.mapping import MappingDatabase
from gateway.operate import Arguments, Desk, Function
from gateway.spool.api import DeliveryId, QueueFilter, Spool, SpoolUnusable
from gateway.spool.backup import restore_spool
from gateway.spool.copying import copy_durably
from gateway.spool.open import upgrade_spool
from gateway.sync import backup as syncs
from gateway.sync.backup import FILE as SYNC_FILE
from gateway.sync.database import StateUnusable


async def backup(desk: Desk, given: Arguments) -> dict[str, Any]:
    """Write a backup into the folder `to` (absolute). Durable when this returns: all of it."""
    folder = Path(str(given.get("to", "")))
    if not folder.is_absolute():
        raise ControlError("the backup's folder is named by an absolute path")
    try:
        await desk.spool.backup(folder)
        await asyncio.to_thread(_copy_key, desk.state_dir, folder)
        await asyncio.to_thread(_dump_mapping, desk.mapping, folder)
        await asyncio.to_thread(_dump_syncs, desk.mapping, folder)
    except FileExistsError:
        raise ControlError(f"{folder} holds a backup already; name another folder") from None
    except (SQLAlchemyError, StateUnusable) as e:
        raise ControlError(f"mapping and syncs cannot be copied to {folder}: {e}") from None
    except OSError as e:
        raise ControlError(f"the backup cannot be written to {folder}: {e.strerror or e}") from None
    return {"to": str(folder)}


async def fsck(desk: Desk, given: Arguments) -> dict[str, Any]:
    """Check rows against each other and against contents; `repair` mends what can be mended without losing mail."""
    found = await desk.spool.fsck(repair=bool(given.get("repair")))
    return {"findings": [{"kind": f.kind, "what": f.subject, "text": f.text, "repaired": f.repaired} for f in found]}


async def drop_parked(spool: Spool, now: float, parked_days: float, log: Any) -> list[DeliveryId]:
    """Drop what has been parked for `parked_days`, in bites that hold up nobody's accept; return what it was.

    Raises: SpoolError.
    """
    dropped = await spool.drop(
        QueueFilter(parked_before=now - parked_days * 86_400), f"parked for {parked_days:g} days, and nobody looked"
    )
    for id in dropped:
        log.warning("parked_dropped", message_id=id[0], n=id[1], parked_days=parked_days)
    return dropped


async def restore(url: str, base: Path, state_dir: Path, source: Path) -> dict[str, Any]:
    """Make a spool of a backup; the gateway does not run meanwhile. Its deliveries are held.

    Raises: ControlError.
    """
    try:
        await restore_spool(url, base, source)
        await asyncio.to_thread(_restore_mapping, source, url, base)
        await asyncio.to_thread(_restore_syncs, source, url, base)
        has_key = await asyncio.to_thread(_restore_key, source, state_dir)
    except SpoolUnusable as e:
        raise ControlError(str(e)) from None
    except OSError as e:
        raise ControlError(f"{source} cannot be restored: {e.strerror or e}") from None
    return {"from": str(source), "key": has_key}


async def upgrade(url: str, base: Path) -> dict[str, Any]:
    """Bring the tables of spool and mapping to this release; the gateway does not run meanwhile.

    Raises: ControlError.
    """
    try:
        done = await upgrade_spool(url, base)
        done += await asyncio.to_thread(_upgrade_mapping, url, base)
    except SpoolUnusable as e:
        raise ControlError(str(e)) from None
    return {"upgraded": done}


def _dump_mapping(database: MappingDatabase | None, to: Path) -> None:
    if database is not None and database.exists() and not (to / MAPPING_FILE).exists():
        database.dump(to / MAPPING_FILE)


def _restore_mapping(source: Path, url: str, base: Path) -> None:
    if not (source / MAPPING_FILE).exists():
        return
    database = MappingDatabase(url, base)
    try:
        database.restore(source / MAPPING_FILE)
    except SQLAlchemyError as e:
        raise SpoolUnusable(f"the mapping cannot be restored: {e}") from e
    finally:
        database.close()


def _state_of_syncs(database: MappingDatabase) -> Path | str:
    """Return where the state of syncs is: beside the mapping."""
    return database.url if database.folder is None else database.folder / SYNC_FILE


def _dump_syncs(database: MappingDatabase | None, to: Path) -> None:
    if database is None or (to / SYNC_FILE).exists():
        return
    where = _state_of_syncs(database)
    if syncs.is_there(where):
        syncs.dump(where, to / SYNC_FILE)


def _restore_syncs(source: Path, url: str, base: Path) -> None:
    if not (source / SYNC_FILE).exists():
        return
    try:
        syncs.restore(source / SYNC_FILE, _state_of_syncs(MappingDatabase(url, base)))
    except (SQLAlchemyError, StateUnusable) as e:
        raise SpoolUnusable(f"the state of the syncs cannot be restored: {e}") from e


def _copy_key(state_dir: Path | None, to: Path) -> None:
    if state_dir is not None and (state_dir / KEY_FILE).exists() and not (to / KEY_FILE).exists():
        copy_durably(state_dir / KEY_FILE, to / KEY_FILE)
        (to / KEY_FILE).chmod(0o600)


def _restore_key(source: Path, state_dir: Path) -> bool:
    """Put the key back; returns whether the state folder has one then. One that is there already stays."""
    target = state_dir / KEY_FILE
    if not target.exists() and (source / KEY_FILE).exists():
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy_durably(source / KEY_FILE, target)
        target.chmod(0o600)
    return target.exists()


def _upgrade_mapping(url: str, base: Path) -> list[str]:
    database = MappingDatabase(url, base)
    if not database.exists():
        return []
    try:
        return [f"{database.name}: {revision}" for revision in database.upgrade()]
    except SpoolUnusable as e:
        raise ControlError(str(e)) from None
    finally:
        database.close()


COMMANDS: Final[Mapping[str, Function]] = {"db.backup": backup, "db.fsck": fsck}
