"""Tasks: read and made field by field, since they have no MIME (MS-OXWSTASK)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final

from connectors.exchange.calendars import Task
from connectors.exchange.ews.answer import Answer, when
from connectors.exchange.ews.call import Single
from connectors.exchange.ews.calls.items import items_of, read_categories
from connectors.exchange.ews.calls.paths import Place, delivery, field, item_ids, shape, valued
from connectors.exchange.ews.xml import Element, T, element, local, truth

_FIELDS: Final = (
    "item:Subject",
    "item:Sensitivity",
    "item:Body",
    "item:Categories",
    "item:Importance",
    "task:CompleteDate",
    "task:DueDate",
    "task:IsRecurring",
    "task:PercentComplete",
    "task:StartDate",
    "task:Status",
)


class GetTasks(Single):
    """Asks for what tasks say, their body as text; one answer an item."""

    SERVICE_NAME = "GetItem"

    def ask(self, ids: Sequence[str]) -> list[Answer]:
        made = shape(*(field(each) for each in _FIELDS))
        made.insert(1, element("t:BodyType", text="Text"))
        return self._answers(element("m:GetItem", made, item_ids([(each, "") for each in ids])))


class CreateTasks(Single):
    """Makes tasks in a folder; one answer an item."""

    SERVICE_NAME = "CreateItem"

    def ask(self, folder: Place, items: Sequence[tuple[str, Task]]) -> list[Answer]:
        return self._answers(
            element(
                "m:CreateItem",
                element("m:SavedItemFolderId", folder.element()),
                element("m:Items", *(task_item(key, task) for key, task in items)),
                MessageDisposition="SaveOnly",
            )
        )


def task_item(key: str, task: Task) -> Element:
    """Return a task to be created, its fields in the order of the schema."""
    categories = element("t:Categories", *(element("t:String", text=each) for each in task.categories))
    return element(
        "t:Task",
        element("t:Subject", text=task.subject),
        element("t:Sensitivity", text=task.sensitivity),
        element("t:Body", text=task.body, BodyType="Text") if task.body else None,
        categories if task.categories else None,
        element("t:Importance", text=task.importance),
        valued(delivery(), key),
        _dated("t:CompleteDate", task.completed),
        _dated("t:DueDate", task.due),
        element("t:PercentComplete", text=str(task.percent)),
        _dated("t:StartDate", task.starts),
        element("t:Status", text=task.status),
    )


def read_task(message: Element) -> Task | None:
    """Return a task; None where the item is none, or comes again: there is no form here for how."""
    for item in items_of(message):
        if local(item) != "Task" or truth(item.findtext(f"{T}IsRecurring")):
            return None
        percent = (item.findtext(f"{T}PercentComplete") or "0").partition(".")[0]
        found = item.find(f"{T}ItemId")
        return Task(
            item.findtext(f"{T}Subject") or "",
            (item.findtext(f"{T}Body") or "").replace("\r\n", "\n"),
            _day(item.findtext(f"{T}StartDate")),
            _day(item.findtext(f"{T}DueDate")),
            _day(item.findtext(f"{T}CompleteDate")),
            int(percent) if percent.isascii() and percent.isdigit() and len(percent) < 4 else 0,
            item.findtext(f"{T}Status") or "NotStarted",
            item.findtext(f"{T}Importance") or "Normal",
            item.findtext(f"{T}Sensitivity") or "Normal",
            tuple(read_categories(item)),
            "" if found is None else found.get("Id", ""),
        )
    return None


def _dated(name: str, day: date | None) -> Element | None:
    return None if day is None else element(name, text=f"{day:%Y-%m-%d}T00:00:00Z")


def _day(text: str | None) -> date | None:
    seconds = when(text)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).date()
