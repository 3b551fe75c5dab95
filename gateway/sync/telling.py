"""What is known of mailboxes that are kept in step, told to a person in plain words, or as plain values."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gateway.quantity import show_size
from gateway.sync.passes import Counts, Passes, Told
from gateway.sync.preview import FolderPreview, Preview
from gateway.sync.progress import as_counts, as_named, names, refusal, show_count, told
from gateway.sync.stages import PLANNED
from gateway.sync.state import State
from gateway.sync.values import Noted, Pairing, Problem
from gateway.telling import clock_time, moment, span

COLUMNS: Final = ("mailbox", "batch", "stage", "last pass", "items", "not done", "how it went")


# -- what a pass would do


def preview_lines(
    found: Sequence[tuple[Pairing, Preview | str]], before: Mapping[str, Sequence[str]], *, folders: bool
) -> Iterator[str]:
    """Yield what passes would do, mailbox by mailbox, and in all. `before`: what is to be known before, by pairing."""
    copies = octets = bad = 0
    seconds = 0.0
    for pairing, preview in found:
        if isinstance(preview, str):
            bad += 1
            yield f"{names(pairing)}: cannot be read: {preview}"
            continue
        copies, octets, seconds = copies + preview.copies, octets + preview.octets, seconds + preview.estimate_s
        yield f"{names(pairing)}: {_to_do(preview)}"
        yield from (f"  {line}" for line in _notable(preview))
        yield from (f"  before it is moved: {line}" for line in before.get(pairing.id, ()))
        if folders:
            for folder in preview.folders:
                yield f"  {_place(folder)}: {_in_folder(folder)}"
    trouble = f"; {bad} cannot be read" if bad else ""
    yield (
        f"in all {show_count(len(found))} mailboxes, {show_count(copies)} items to copy ({show_size(octets)}), about "
        f"{span(seconds)} one after the other{trouble}; nothing was written"
    )


def _place(folder: FolderPreview) -> str:
    here, there = "/".join(folder.path), "/".join(folder.across)
    return here if here == there else f"{here} → {there}"


def _in_folder(folder: FolderPreview) -> str:
    parts = [f"{show_count(folder.items)} items"] if folder.items else []
    parts += ["to be made"] if folder.is_new else []
    parts += [f"{show_count(folder.copies)} to copy ({show_size(folder.octets)})"] if folder.copies else []
    parts += _counted(
        ("there already", folder.adopted),
        ("to be compared by their octets", folder.doubtful),
        ("flags to set", folder.flags),
        ("to move", folder.moves),
        ("to remove", folder.removals),
        ("left out by the limits", folder.skipped),
        ("too large", folder.too_large),
    )
    return ", ".join(parts) or "empty"


def _to_do(preview: Preview) -> str:
    some = preview.folders
    parts = [f"{show_count(preview.copies)} to copy ({show_size(preview.octets)})"] if preview.copies else []
    parts += _counted(
        ("folders to make", sum(each.is_new for each in some)),
        ("there already", sum(each.adopted for each in some)),
        ("to be compared by their octets", preview.doubtful),
        ("flags to set", sum(each.flags for each in some)),
        ("to move", sum(each.moves for each in some)),
        ("to remove", preview.removals),
        ("left out by the limits", sum(each.skipped for each in some)),
        ("too large", sum(each.too_large for each in some)),
        ("not done before", preview.problems),
    )
    if not parts:
        return "in step already"
    return ", ".join(parts) + f"; about {span(preview.estimate_s)}"


def _counted(*counts: tuple[str, int]) -> list[str]:
    return [f"{show_count(n)} {word}" for word, n in counts if n]


def _notable(preview: Preview) -> Iterator[str]:
    if (refused := preview.refused) is not None and refused.is_lost:
        yield refusal(refused)
    elif refused is not None:
        yield (
            f"{show_count(refused.removals)} of {show_count(refused.total)} items would go, and at most "
            f"{show_count(refused.allowed)} may: a run removes none without --allow-removal"
        )
    if preview.short_bytes is not None:
        yield f"the destination's quota lacks {show_size(preview.short_bytes)} for it"
    yield from (f"names collide: {each}" for each in preview.collisions)
    yield from (f"left out: {each}" for each in preview.left_out)
    yield from (f"to be renamed: {each}" for each in preview.renamed)
    yield from (f"changed on both sides: {each}" for each in preview.conflicts)
    yield from (f"cannot be carried: {what}, {show_count(n)} times" for what, n in preview.cannot.items())
    for side, facts in zip(("source", "destination"), preview.facts, strict=True):
        if facts.used_bytes is not None:
            most = f" of {show_size(facts.limit_bytes)}" if facts.limit_bytes is not None else ""
            yield f"{side}'s quota: {show_size(facts.used_bytes)}{most} used"
        yield from (f"{side}'s rights: {right}" for right in facts.rights)


def preview_as_json(pairing: Pairing, preview: Preview | str, before: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a pass would do as plain values."""
    if isinstance(preview, str):
        return {**as_named(pairing), "error": preview}
    left, right = preview.facts
    return {
        **as_named(pairing),
        "error": None,
        "copies": preview.copies,
        "octets": preview.octets,
        "doubtful": preview.doubtful,
        "removals": preview.removals,
        "estimate_s": round(preview.estimate_s, 1),
        **{key: value for key, value in asdict(preview).items() if key != "facts"},
        "facts": {"from": asdict(left), "to": asdict(right)},
        "before": list(before),
    }


# -- after a run


async def problems(state: State, pairing: Pairing) -> list[str]:
    """Return what did not get across of a mailbox, a line each."""
    paths = {folder.id: "/".join(folder.path) for folder in await state.folders(pairing.id)}
    return [_problem(each, paths) for each in await state.problems(pairing.id)]


def _problem(problem: Problem, paths: Mapping[int, str]) -> str:
    tries = f", tried {problem.tries} times" if problem.tries > 1 else ""
    if not problem.item:
        return f"folder {paths.get(problem.folder, '')}: {problem.code} {problem.text}{tries}"
    return f"{_item(problem, paths)}: {problem.code} {problem.text}{tries}"


def _item(problem: Problem, paths: Mapping[int, str]) -> str:
    print = problem.print
    parts = [print.message_id or "without a Message-ID"]
    parts += [f"of {clock_time(print.received_at)}"] if print.received_at is not None else []
    parts += [show_size(print.size)] if print.size is not None else []
    return f"{paths.get(problem.folder, '')}: {', '.join(parts)}"


# -- how things stand


@dataclass(frozen=True, slots=True)
class Standing:
    """How a mailbox stands. Details are there where they were asked for."""

    pairing: Pairing
    stage: str
    counts: Counts
    told: Told | None
    problems: tuple[Problem, ...] = ()
    notes: tuple[Noted, ...] = ()
    paths: Mapping[int, str] = field(default_factory=dict)
    journal: tuple[tuple[str, str, float], ...] = ()


async def standings(state: State, pairings: Sequence[Pairing], *, details: bool) -> list[Standing]:
    """Return how mailboxes stand, in their order."""
    passes = Passes(state)
    stages = {pairing.id: stage for pairing, stage in await state.pairings()}
    told, counts = await passes.all(), await passes.counts()
    made: list[Standing] = []
    for pairing in pairings:
        id = pairing.id
        standing = Standing(pairing, stages.get(id, PLANNED), counts.get(id, Counts()), told.get(id))
        if details:
            standing = Standing(
                pairing,
                standing.stage,
                standing.counts,
                standing.told,
                tuple(await state.problems(id)),
                tuple(await state.notes(id)),
                {folder.id: "/".join(folder.path) for folder in await state.folders(id)},
                tuple(await state.journal(id)),
            )
        made.append(standing)
    return made


def standing_row(standing: Standing, now: float) -> list[str]:
    """Return a mailbox's row under COLUMNS."""
    last = standing.told
    when = "" if last is None else moment(last.ended_at or last.began_at, now)
    return [
        names(standing.pairing),
        standing.pairing.batch,
        standing.stage,
        when,
        show_count(standing.counts.items),
        show_count(standing.counts.problems),
        "no pass yet" if last is None else how(last, now),
    ]


def how(last: Told, now: float) -> str:
    """Return in words how a pass goes or went."""
    report = last.report
    if last.is_running(now):
        at = report.waiting or report.folder
        return f"under way: {show_count(report.passed)} of {show_count(report.expected)}{', ' if at else ''}{at}"
    if last.ended_at is None:
        return "was cut; the next pass goes on from there"
    return last.fault or told(report)


def standing_as_json(standing: Standing) -> dict[str, Any]:
    """Return how a mailbox stands, as plain values."""
    last = standing.told
    now = time.time()
    return {
        **as_named(standing.pairing),
        "stage": standing.stage,
        "items": standing.counts.items,
        "not_done": standing.counts.problems,
        "mended": standing.counts.mended,
        "last_pass": None
        if last is None
        else {
            "running": last.is_running(now),
            "began_at": last.began_at,
            "ended_at": last.ended_at,
            "ok": last.is_done,
            "error": last.fault or None,
            "by": last.who,
            **as_counts(last.report),
        },
        "passes": last.passes if last is not None else 0,
        "copied_in_all": last.copied if last is not None else 0,
        "octets_in_all": last.octets if last is not None else 0,
        "problems": [
            {
                "folder": standing.paths.get(each.folder, ""),
                "side": each.side,
                "message_id": each.print.message_id,
                "received_at": each.print.received_at,
                "octets": each.print.size,
                "code": each.code,
                "text": each.text,
                "tries": each.tries,
                "at": each.at,
            }
            for each in standing.problems
        ],
        "notes": [
            {"folder": standing.paths.get(each.folder, ""), "side": each.side, "text": each.text, "at": each.at}
            for each in standing.notes
        ],
        "journal": [{"step": step, "detail": detail, "at": at} for step, detail, at in standing.journal],
    }


def problem_lines(standings: Sequence[Standing]) -> Iterator[str]:
    """Yield what did not get across of mailboxes, and what was changed on its way."""
    for standing in standings:
        lines = [_problem(each, standing.paths) for each in standing.problems]
        lines += [f"{standing.paths.get(each.folder, '')}: got across changed: {each.text}" for each in standing.notes]
        if lines:
            yield ""
            yield f"{names(standing.pairing)}:"
            yield from (f"  {line}" for line in lines)
