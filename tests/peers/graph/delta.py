"""The changes of a folder since a token.

A token names the folder, how far the client is, and the query of the first request; it is void after `expire_sync`.
The first round lists what lies in the folder; later ones what was created or changed since, and `@removed` for what was
deleted or moved away. An item may come again that the client has seen; none is left out.
Source: learn.microsoft.com "message: delta", "Get incremental changes to messages in a folder".
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from typing import Any

from tests.peers.graph import ids, odata
from tests.peers.graph.call import Answer, Call, operation
from tests.peers.graph.messages import view
from tests.peers.graph.store import Mailbox
from tests.peers.graph.trouble import Trouble

_FIRST = ("$select", "$top", "$filter", "$orderby", "$expand", "changeType")


@operation("Delta", "GET", "users/{user}/mailFolders/{folder}/messages/delta", *_FIRST, "$deltatoken", "$skiptoken")
@operation("Delta", "GET", "users/{user}/mailFolders/{folder}/messages/delta()", *_FIRST, "$deltatoken", "$skiptoken")
def delta(call: Call, owner: Mailbox, folder: str) -> Answer:
    """Answer a page of changes and the link to what comes next."""
    place = call.folder(owner, folder)
    token = call.query.get("$deltatoken") or call.query.get("$skiptoken")
    state = _opened(call, token, place.id) if token else _first(call, place.id)
    query: dict[str, str] = state["query"]
    changed = _changed(call, state)
    size = call.page_size(int(query.get("$top") or 10))
    shown = _entries(call, owner, state, changed[state["at"] : state["at"] + size])
    here = f"{call.base}/users/{owner.address}/mailFolders/{folder}/messages/delta"
    body: dict[str, Any] = {"@odata.context": f"{call.base}/$metadata#Collection(message)"}
    if state["at"] + size < len(changed):
        body["@odata.nextLink"] = f"{here}?$skiptoken={_sealed({**state, 'at': state['at'] + size})}"
    else:
        ended = {**state, "since": state["until"], "at": 0, "is_first": False, "until": None}
        body["@odata.deltaLink"] = f"{here}?$deltatoken={_sealed(ended)}"
    body["value"] = shown
    return Answer(200, body)


def _first(call: Call, folder: int) -> dict[str, Any]:
    query = {name: value for name, value in call.query.items() if name in _FIRST}
    if "$filter" in query and not re.fullmatch(r"receivedDateTime (ge|gt) [\dTZ:.+-]+", query["$filter"]):
        raise Trouble("ErrorInvalidUrlQueryFilter", "The query filter contains one or more invalid nodes.")
    if query.get("$orderby", "receivedDateTime desc") != "receivedDateTime desc":
        raise Trouble("ErrorInvalidUrlQuery", "The order is not supported.")
    return {
        "folder": folder, "since": 0, "until": call.service.store.last_change(), "at": 0, "is_first": True,
        "query": query, "generation": call.service.generation.get(call.company, 0), "company": call.company,
    }  # fmt: skip


def _changed(call: Call, state: dict[str, Any]) -> list[tuple[int, tuple[int, str]]]:
    """Return (item, (its moves, what happened)) of a round: the last change of each, up to where the round began.

    It is the same for each page of the round, whatever happens meanwhile, so that no page misses what another had.
    """
    store = call.service.store
    last: dict[int, tuple[int, str]] = {}
    for seq, item, moves, kind in store.changes(state["folder"], state["since"]):
        if seq <= state["until"]:
            before = last.pop(item, (moves, ""))
            last[item] = (moves, "created" if kind == "updated" and before[1] == "created" else kind)
    return list(last.items())


def _entries(
    call: Call, owner: Mailbox, state: dict[str, Any], changed: list[tuple[int, tuple[int, str]]]
) -> list[dict[str, Any]]:
    """Return what a client gets of some changes: items as they are now."""
    store, query = call.service.store, state["query"]
    test = odata.predicate(query["$filter"]) if "$filter" in query else lambda _: True
    expand = odata.expansions(query.get("$expand"))
    wanted = query.get("changeType")
    entries = []
    for number, (moves, kind) in changed:
        found = store.item(owner.id, number)
        if found is None or found.folder != state["folder"]:
            if not state["is_first"] and wanted in (None, "deleted"):
                gone = ids.item(number, moves, call.form)
                entries.append(
                    {"@odata.type": "#microsoft.graph.message", "id": gone, "@removed": {"reason": "deleted"}}
                )
            continue
        shown = view(call, found, expand)
        if wanted in (None, kind) and test(shown):
            kept = odata.selected(shown, query.get("$select"))
            kept.update({name: shown[name] for name in expand if name in shown})
            entries.append({"@odata.type": "#microsoft.graph.message", **kept})
    return entries


def _sealed(state: dict[str, Any]) -> str:
    return urllib.parse.quote(base64.urlsafe_b64encode(json.dumps(state).encode()).decode())


def _opened(call: Call, token: str, folder: int) -> dict[str, Any]:
    try:
        state = json.loads(base64.urlsafe_b64decode(token))
        fits = state["folder"] == folder and state["company"] == call.company
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise Trouble("ErrorInvalidSyncStateData", "Badly formed token.")
    if state["generation"] != call.service.generation.get(call.company, 0):
        raise Trouble("syncStateNotFound", "The sync state generation is not found.")
    if state["until"] is None:
        state["until"] = call.service.store.last_change()
    return state  # type: ignore[no-any-return]
