"""A draft is sent (MS-OXWSCORE §3.1.4.8)."""

from __future__ import annotations

from connectors.exchange.ews.answer import Answer
from connectors.exchange.ews.call import Single
from connectors.exchange.ews.calls.paths import Place, item_ids
from connectors.exchange.ews.xml import element


class SendItem(Single):
    """Sends a draft, with a copy into a folder; one answer. The version must be the draft's own."""

    SERVICE_NAME = "SendItem"

    def ask(self, id: str, version: str, copy_to: Place) -> list[Answer]:
        return self._answers(
            element(
                "m:SendItem",
                item_ids([(id, version)]),
                element("m:SavedItemFolderId", copy_to.element()),
                SaveItemToFolder="true",
            )
        )
