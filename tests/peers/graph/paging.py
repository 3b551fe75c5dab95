"""A list as pages: filtered, ordered, cut, and with the link to the next one."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from functools import partial
from typing import Any

from tests.peers.graph import odata
from tests.peers.graph.call import Answer, Call
from tests.peers.graph.trouble import Trouble


def page(
    call: Call,
    context: str,
    found: Sequence[dict[str, Any]],
    usual: int,
) -> Answer:
    """Answer the page that the query asks for. `usual`: how many entries a page has by default."""
    query = call.query
    if "$filter" in query:
        test = odata.predicate(query["$filter"])
        found = [each for each in found if test(each)]
    if "$orderby" in query:
        for each in reversed(query["$orderby"].split(",")):
            name, _, way = each.strip().partition(" ")
            if way.strip() not in ("", "asc", "desc"):
                raise Trouble("BadRequest", "Invalid $orderby.")
            found = sorted(found, key=partial(_text, name), reverse=way.strip() == "desc")
    skip, size = int(query.get("$skip") or query.get("$skiptoken") or 0), call.page_size(usual)
    shown = [odata.selected(each, query.get("$select")) for each in found[skip : skip + size]]
    body: dict[str, Any] = {"@odata.context": f"{call.base}/$metadata#{context}"}
    if query.get("$count") == "true":
        body["@odata.count"] = len(found)
    if skip + size < len(found):
        more = urllib.parse.urlencode({**query, "$skip": str(skip + size)}, safe="$/")
        body["@odata.nextLink"] = f"{call.base}/{urllib.parse.quote(call.path.removeprefix('/v1.0/'))}?{more}"
    body["value"] = shown
    return Answer(200, body)


def _text(name: str, fields: dict[str, Any]) -> str:
    return str(fields.get(name) or "")
