"""Stories told to the peer by msgraph-sdk and azure-identity, Microsoft's own clients; runs in their environment.

`python sdk_client.py` reads lines from standard input, each a story's name and how to reach the peer, as JSON, and
prints a line for each: `{"told": ...}` with what came of it, or `{"failed": ...}`; its imports alone take three
seconds. Nothing of the gateway's or the peer's is imported: what the SDK understands is what counts.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import re
import ssl
import sys
import traceback
from typing import Any

# mypy: disable-error-code="import-not-found"


def connect(given: dict[str, Any]) -> Any:
    """Return the SDK's client, logged in by secret or certificate."""
    import httpx
    from azure.identity import CertificateCredential, ClientSecretCredential
    from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
    from msgraph import GraphRequestAdapter, GraphServiceClient
    from msgraph_core import GraphClientFactory

    host = given["origin"].removeprefix("https://")
    how = {"authority": host, "disable_instance_discovery": True, "connection_verify": given["ca_file"]}
    if "certificate" in given:
        credential: Any = CertificateCredential(given["tenant"], given["client_id"], given["certificate"], **how)
    else:
        credential = ClientSecretCredential(given["tenant"], given["client_id"], given["client_secret"], **how)
    scopes = [f"{given['origin']}/.default"]
    provider = AzureIdentityAuthenticationProvider(credential, scopes=scopes, allowed_hosts=[host.partition(":")[0]])
    plain = httpx.AsyncClient(verify=ssl.create_default_context(cafile=given["ca_file"]), timeout=60)
    adapter = GraphRequestAdapter(provider, GraphClientFactory.create_with_default_middleware(client=plain))
    adapter.base_url = given["origin"] + "/v1.0"
    return GraphServiceClient(request_adapter=adapter)


def options(builder: Any, query: str = "", **parameters: Any) -> Any:
    """Return a request's configuration: immutable ids, and query parameters of the builder's own class."""
    from kiota_abstractions.base_request_configuration import RequestConfiguration

    made = RequestConfiguration(query_parameters=getattr(builder, query)(**parameters) if query else None)
    made.headers.add("Prefer", 'IdType="ImmutableId"')
    return made


async def directory(given: dict[str, Any]) -> Any:
    """Read users and folders."""
    client = connect(given)
    users = await client.users.get()
    folders = await client.users.by_user_id(given["user"]).mail_folders.get()
    inbox = await client.users.by_user_id(given["user"]).mail_folders.by_mail_folder_id("inbox").get()
    return {
        "users": [each.mail for each in users.value],
        "folders": [each.display_name for each in folders.value],
        "inbox": [inbox.display_name, inbox.total_item_count, inbox.unread_item_count],
    }


async def messages(given: dict[str, Any]) -> Any:
    """Make, read, change, move, copy and delete messages."""
    from msgraph.generated.models.body_type import BodyType
    from msgraph.generated.models.email_address import EmailAddress
    from msgraph.generated.models.file_attachment import FileAttachment
    from msgraph.generated.models.followup_flag import FollowupFlag
    from msgraph.generated.models.followup_flag_status import FollowupFlagStatus
    from msgraph.generated.models.item_body import ItemBody
    from msgraph.generated.models.message import Message
    from msgraph.generated.models.recipient import Recipient
    from msgraph.generated.models.single_value_legacy_extended_property import SingleValueLegacyExtendedProperty
    from msgraph.generated.users.item.messages.item.move.move_post_request_body import MovePostRequestBody

    user = connect(given).users.by_user_id(given["user"])
    draft = Message(
        subject="Grüße",
        body=ItemBody(content_type=BodyType.Text, content="Hello\r\n"),
        to_recipients=[Recipient(email_address=EmailAddress(name="Bob", address="bob@y.example"))],
        attachments=[
            FileAttachment(odata_type="#microsoft.graph.fileAttachment", name="a.bin", content_bytes=b"\x00\x01")
        ],
        single_value_extended_properties=[
            SingleValueLegacyExtendedProperty(id="Integer 0x0E07", value="4"),
            SingleValueLegacyExtendedProperty(id="SystemTime 0x0E06", value="2020-02-03T04:05:06Z"),
        ],
    )
    made = await user.mail_folders.by_mail_folder_id("inbox").messages.post(draft, options(user.messages))
    one = user.messages.by_message_id(made.id)
    read = await one.get(options(one, "MessageItemRequestBuilderGetQueryParameters", expand=["attachments"]))
    octets = await one.content.get()
    change = Message(is_read=True, categories=["Red"], flag=FollowupFlag(flag_status=FollowupFlagStatus.Flagged))
    changed = await one.patch(change, options(one))
    moved = await one.move.post(MovePostRequestBody(destination_id="archive"), options(one))
    text = f"internetMessageId eq '{made.internet_message_id}'"
    found = await user.messages.get(options(user.messages, "MessagesRequestBuilderGetQueryParameters", filter=text))
    await one.delete()
    return {
        "made": [made.subject, made.is_draft, made.is_read, made.received_date_time.isoformat(), made.has_attachments],
        "read": [read.body.content_type.value, read.body.content, read.to_recipients[0].email_address.name],
        "attachment": [read.attachments[0].name, base64.b64encode(read.attachments[0].content_bytes).decode()],
        "octets": octets.decode(),
        "changed": [changed.is_read, changed.categories, changed.flag.flag_status.value],
        "moved": [moved.id == made.id, moved.parent_folder_id != made.parent_folder_id],
        "found": [each.id == made.id for each in found.value],
        "left": len((await user.messages.get()).value),
    }


async def mime(given: dict[str, Any]) -> Any:
    """Make a draft from MIME, which the SDK has only as a request of one's own, and send it."""
    from kiota_abstractions.method import Method
    from kiota_abstractions.request_information import RequestInformation
    from msgraph.generated.models.message import Message

    user = connect(given).users.by_user_id(given["user"])
    request = RequestInformation(Method.POST, user.messages.url_template, user.messages.path_parameters)
    request.set_stream_content(base64.b64encode(given["octets"].encode()), "text/plain")
    request.headers.add("Accept", "application/json")
    made = await user.request_adapter.send_async(request, Message, {})
    await user.messages.by_message_id(made.id).send.post()
    sent = await user.mail_folders.by_mail_folder_id("sentitems").messages.get()
    return {
        "made": [made.subject, made.is_draft, made.from_.email_address.address],
        "sent": [m.subject for m in sent.value],
    }


async def delta(given: dict[str, Any]) -> Any:
    """Follow a folder's changes by the SDK's own links."""
    user = connect(given).users.by_user_id(given["user"])
    builder = user.mail_folders.by_mail_folder_id("inbox").messages.delta
    page = await builder.get(options(builder, "DeltaRequestBuilderGetQueryParameters", top=2, select=["subject"]))
    subjects, pages = [each.subject for each in page.value], 1
    while page.odata_next_link:
        page, pages = await builder.with_url(page.odata_next_link).get(options(builder)), pages + 1
        subjects += [each.subject for each in page.value]
    await user.messages.by_message_id(given["id"]).delete()
    page = await builder.with_url(page.odata_delta_link).get(options(builder))
    gone = [(each.id, each.additional_data.get("@removed")) for each in page.value]
    return {"subjects": subjects, "pages": pages, "gone": gone, "token": bool(page.odata_delta_link)}


async def batch(given: dict[str, Any]) -> Any:
    """Read two folders and what is not there in one request."""
    from msgraph_core.requests.batch_request_content import BatchRequestContent

    client = connect(given)
    folders = client.users.by_user_id(given["user"]).mail_folders
    content = BatchRequestContent()
    for name in ("inbox", "nowhere", "drafts"):
        content.add_request_information(folders.by_mail_folder_id(name).to_get_request_information())
    answer = await client.batch.post(content)
    return sorted(answer.get_response_status_codes().values())


async def errors(given: dict[str, Any]) -> Any:
    """Ask for what is not there, or not now, and say what the SDK makes of the answers."""
    from kiota_abstractions.api_error import APIError

    user = connect(given).users.by_user_id(given["user"])
    told = []
    for id in ("nonsense", given["gone"]):
        try:
            await user.messages.by_message_id(id).get()
        except APIError as error:
            told.append([error.response_status_code, error.error.code])
    return told


async def upload(given: dict[str, Any]) -> Any:
    """Attach a large file by the SDK's own upload task."""
    import io

    from msgraph.generated.models.attachment_item import AttachmentItem
    from msgraph.generated.models.attachment_type import AttachmentType
    from msgraph.generated.models.message import Message
    from msgraph.generated.users.item.messages.item.attachments.create_upload_session.create_upload_session_post_request_body import (  # noqa: E501
        CreateUploadSessionPostRequestBody,
    )

    user = connect(given).users.by_user_id(given["user"])
    made = await user.messages.post(Message(subject="big"))
    content = bytes(range(256)) * 4 * 1024 * 4
    item = AttachmentItem(attachment_type=AttachmentType.File, name="big.bin", size=len(content))
    attachments = user.messages.by_message_id(made.id).attachments
    session = await attachments.create_upload_session.post(CreateUploadSessionPostRequestBody(attachment_item=item))
    import httpx

    context = ssl.create_default_context(cafile=given["ca_file"])
    stream, statuses = io.BytesIO(content), []
    async with httpx.AsyncClient(verify=context, timeout=60) as http:
        at = 0
        while octets := stream.read(2 * 1024 * 1024):
            said = {"Content-Range": f"bytes {at}-{at + len(octets) - 1}/{len(content)}"}
            statuses.append((await http.put(session.upload_url, content=octets, headers=said)).status_code)
            at += len(octets)
    found = await attachments.get()
    return {"statuses": statuses, "found": [[e.name, e.size, e.content_bytes == content] for e in found.value]}


async def shapes(given: dict[str, Any]) -> Any:
    """Return the fields and types of the SDK's models, in the peer's words."""
    return {name: _shape(name) for name in given["names"]}


def _shape(name: str) -> dict[str, str]:
    """Read a model's deserialisers; of `attachment`, those of its two kinds too."""
    module = re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()
    entity = ("message", "attachment", "mailFolder", "user", "group", "orgContact", "subscription")
    also = {
        "attachment": ("fileAttachment", "itemAttachment"),
        "message": ("outlookItem",),
        "singleValueLegacyExtendedProperty": ("entity",),
        **dict.fromkeys(entity[2:], ("entity",)),
    }
    found = _shape("entity") if name in entity[:2] else {}
    for more in also.get(name, ()):
        found |= _shape(more)
    source = importlib.import_module(f"msgraph.generated.models.{module}")
    model = getattr(source, name[0].upper() + name[1:])
    import inspect

    text = inspect.getsource(model.get_field_deserializers)
    for field, read in re.findall(r'"([\w@.]+)": lambda n ?: setattr\(self, \'\w+\', n\.(.+)\),', text):
        found[field] = _kind(module, read)
    return found


def _kind(module: str, read: str) -> str:
    simple = {"str": "text", "bool": "bool", "int": "int", "datetime": "time", "bytes": "bytes", "uuid": "text"}
    method, _, argument = read.partition("(")
    argument = argument.rstrip(")")
    if method == "get_collection_of_primitive_values":
        return {"str": "text"}.get(argument, argument) + "[]"
    if method in ("get_collection_of_object_values", "get_object_value"):
        name = argument[0].lower() + argument[1:]
        name = {"outlookItem": "message"}.get(name, name)
        return name + ("[]" if "collection" in method else "")
    if method == "get_enum_value":
        snake = re.sub(r"(?<!^)([A-Z])", r"_\1", argument).lower()
        values = getattr(importlib.import_module(f"msgraph.generated.models.{snake}"), argument)
        return "enum:" + "|".join(each.value for each in values)
    return simple.get(method.removeprefix("get_").removesuffix("_value"), method)


if __name__ == "__main__":
    for line in sys.stdin:
        story, given = json.loads(line)
        try:
            answer = {"told": asyncio.run(globals()[story](given))}
        except Exception:  # noqa: BLE001 - told to the test, which fails with it
            answer = {"failed": traceback.format_exc()}
        print(json.dumps(answer), flush=True)
