"""Operations on mail folders and on the directory.

Source: learn.microsoft.com "mailFolder resource type", "List mailFolders", "List users", "List groups".
"""

from __future__ import annotations

from typing import Any

from tests.peers.graph import ids, odata
from tests.peers.graph.call import Answer, Call, operation
from tests.peers.graph.paging import page
from tests.peers.graph.store import TOP, Folder, Mailbox
from tests.peers.graph.trouble import Trouble

_LIST = ("$top", "$skip", "$filter", "$select", "$count", "$orderby", "includeHiddenFolders")


def resource(call: Call, folder: Folder) -> dict[str, Any]:
    """Return a folder as a client gets it."""
    store = call.service.store
    items = store.one("select count(*), coalesce(sum(1 - is_read), 0) from item where folder=?", folder.id)
    children = store.one("select count(*) from folder where parent=?", folder.id)
    assert items is not None
    assert children is not None
    return {
        "id": ids.folder(folder.id),
        "displayName": folder.name,
        "parentFolderId": ids.folder(folder.parent or folder.id),
        "childFolderCount": children[0],
        "unreadItemCount": items[1],
        "totalItemCount": items[0],
        "isHidden": False,
    }


@operation("ListFolders", "GET", "users/{user}/mailFolders", *_LIST)
def list_folders(call: Call, owner: Mailbox) -> Answer:
    """List the folders below the top."""
    return _children(call, owner, call.folder(owner, TOP))


@operation("ListChildFolders", "GET", "users/{user}/mailFolders/{folder}/childFolders", *_LIST)
def list_child_folders(call: Call, owner: Mailbox, folder: str) -> Answer:
    """List the folders below another."""
    return _children(call, owner, call.folder(owner, folder))


@operation("FolderDelta", "GET", "users/{user}/mailFolders/delta", "$select", "$deltatoken", "$skiptoken")
def folder_delta(call: Call, owner: Mailbox) -> Answer:
    """List all folders, again each time: the peer keeps no record of changes to folders."""
    shown = [resource(call, each) for each in call.service.store.folders(owner.id) if each.known != TOP]
    link = f"{call.base}/users/{owner.address}/mailFolders/delta?$deltatoken=all"
    return Answer(
        200, {"@odata.context": f"{call.base}/$metadata#mailFolders", "@odata.deltaLink": link, "value": shown}
    )


@operation("GetFolder", "GET", "users/{user}/mailFolders/{folder}", "$select")
def get_folder(call: Call, owner: Mailbox, folder: str) -> Answer:
    """Return one folder, by id or well-known name."""
    return _entity(call, 200, call.folder(owner, folder))


@operation("CreateFolder", "POST", "users/{user}/mailFolders")
def create_folder(call: Call, owner: Mailbox) -> Answer:
    """Make a folder below the top."""
    return _create(call, call.folder(owner, TOP))


@operation("CreateFolder", "POST", "users/{user}/mailFolders/{folder}/childFolders")
def create_child_folder(call: Call, owner: Mailbox, folder: str) -> Answer:
    """Make a folder below another."""
    return _create(call, call.folder(owner, folder))


@operation("UpdateFolder", "PATCH", "users/{user}/mailFolders/{folder}")
def update_folder(call: Call, owner: Mailbox, folder: str) -> Answer:
    """Rename a folder."""
    found = call.folder(owner, folder)
    found.name = _name(call)
    call.service.store.do("update folder set name=? where id=?", found.name, found.id)
    return _entity(call, 200, found)


@operation("MoveFolder", "POST", "users/{user}/mailFolders/{folder}/move")
def move_folder(call: Call, owner: Mailbox, folder: str) -> Answer:
    """Put a folder, with all in it, below another."""
    found = call.folder(owner, folder)
    found.parent = call.folder(owner, str(call.json().get("destinationId"))).id
    call.service.store.do("update folder set parent=? where id=?", found.parent, found.id)
    return _entity(call, 201, found)


@operation("DeleteFolder", "DELETE", "users/{user}/mailFolders/{folder}")
def delete_folder(call: Call, owner: Mailbox, folder: str) -> Answer:
    """Delete a folder with all in it; well-known ones are kept."""
    store, found = call.service.store, call.folder(owner, folder)
    if found.known:
        raise Trouble("ErrorDeleteDistinguishedFolder", "Distinguished folders cannot be deleted.")
    bin_ = store.folder(owner.id, known="deleteditems")
    assert bin_ is not None
    if found.parent == bin_.id:
        for each in store.items(found.id):
            store.remove(each)
        store.do("delete from folder where id=?", found.id)
    else:
        store.do("update folder set parent=? where id=?", bin_.id, found.id)
    return Answer(204)


def _children(call: Call, owner: Mailbox, parent: Folder) -> Answer:
    found = [each for each in call.service.store.folders(owner.id) if each.parent == parent.id]
    hidden = {"recoverableitemsdeletions"}
    return page(call, "mailFolders", [resource(call, each) for each in found if each.known not in hidden], 10)


def _create(call: Call, parent: Folder) -> Answer:
    name = _name(call)
    if call.service.store.child(parent, name):
        raise Trouble("ErrorFolderExists", "A folder with the specified name already exists.")
    return _entity(call, 201, call.service.store.add_folder(parent, name))


def _name(call: Call) -> str:
    body = call.json()
    name = str(body.get("displayName") or "")
    if set(body) - {"displayName", "isHidden", "@odata.type"} or not name:
        raise Trouble("ErrorInvalidRequest", "A folder is made by its displayName.")
    return name


def _entity(call: Call, status: int, folder: Folder) -> Answer:
    shown = odata.selected(resource(call, folder), call.query.get("$select"))
    return Answer(status, {"@odata.context": f"{call.base}/$metadata#mailFolders/$entity", **shown})


_DIRECTORY = ("$top", "$skiptoken", "$filter", "$select", "$count", "$orderby", "$skip")


@operation("ListUsers", "GET", "users", *_DIRECTORY)
def list_users(call: Call) -> Answer:
    """List the users, mailboxes all."""
    return page(call, "users", [_entry(each) for each in _directory(call, "mailbox")], 100)


@operation("GetUser", "GET", "users/{name}", "$select")
def get_user(call: Call, name: str) -> Answer:
    """Return one user, by address or id."""
    found = call.service.store.mailbox(call.company, name)
    if found is None or found.kind != "mailbox":
        raise Trouble("Request_ResourceNotFound", f"Resource '{name}' does not exist.", status=404)
    shown = odata.selected(_entry(found), call.query.get("$select"))
    return Answer(200, {"@odata.context": f"{call.base}/$metadata#users/$entity", **shown})


@operation("ListGroups", "GET", "groups", *_DIRECTORY)
def list_groups(call: Call) -> Answer:
    """List the distribution groups."""
    extra = {"mailEnabled": True, "securityEnabled": False, "groupTypes": []}
    return page(call, "groups", [{**each, **extra} for each in _others(call, "group")], 100)


@operation("ListContacts", "GET", "contacts", *_DIRECTORY)
def list_contacts(call: Call) -> Answer:
    """List the mail contacts of the organisation."""
    found = [
        {k: v for k, v in _entry(each).items() if k != "userPrincipalName"} for each in _directory(call, "contact")
    ]
    return page(call, "contacts", found, 100)


@operation("TranslateIds", "POST", "users/{user}/translateExchangeIds")
def translate_ids(call: Call, owner: Mailbox) -> Answer:
    """Give the other form of up to 1,000 ids. Source: learn.microsoft.com "user: translateExchangeIds"."""
    body = call.json()
    inputs, source, target = body.get("inputIds") or [], body.get("sourceIdType"), body.get("targetIdType")
    forms = {"restId": "default", "restImmutableEntryId": "immutable"}
    if len(inputs) > 1000 or source not in forms or target not in forms:
        raise Trouble("ErrorInvalidArgument", "At most 1000 ids, between restId and restImmutableEntryId.")
    value = []
    for each in inputs:
        found = call.item(owner, each)
        value.append({"sourceId": each, "targetId": ids.item(found.id, found.moves, forms[target])})  # type: ignore[arg-type]
    context = f"{call.base}/$metadata#Collection(microsoft.graph.convertIdResult)"
    return Answer(200, {"@odata.context": context, "value": value})


def _others(call: Call, kind: str) -> list[dict[str, Any]]:
    """Return entries that no one can log in as."""
    found = [_entry(each) for each in _directory(call, kind)]
    return [{name: value for name, value in each.items() if name != "userPrincipalName"} for each in found]


def _directory(call: Call, kind: str) -> list[Mailbox]:
    return [each for each in call.service.store.directory(call.company) if each.kind == kind]


def _entry(mailbox: Mailbox) -> dict[str, Any]:
    return {
        "id": mailbox.guid,
        "displayName": mailbox.name,
        "mail": mailbox.address,
        "userPrincipalName": mailbox.address,
        "proxyAddresses": mailbox.proxies,
    }
