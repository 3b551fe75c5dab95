// Microsoft's EWS Managed API in JavaScript against the peer; prints one JSON object: step -> value, or {error}.
// node steps.js URL USER PASSWORD OTHER
const e = require("ews-javascript-api");
const [url, user, password, other] = process.argv.slice(2);
e.EwsLogging.DebugLogEnabled = false;

const service = new e.ExchangeService(e.ExchangeVersion.Exchange2013_SP1);
service.Credentials = new e.WebCredentials(user, password);
service.Url = new e.Uri(url);
service.UserAgent = "ews-javascript-api";

const said = {};
async function step(name, work) {
  try {
    said[name] = await work();
  } catch (error) {
    said[name] = { error: String(error.ErrorCode ?? ""), text: String(error.message ?? error).slice(0, 300) };
  }
}

(async () => {
  let ids = [];
  await step("inbox", async () => {
    const inbox = await e.Folder.Bind(service, e.WellKnownFolderName.Inbox);
    return [inbox.DisplayName, inbox.TotalCount, inbox.UnreadCount];
  });
  await step("find", async () => {
    const found = await service.FindItems(e.WellKnownFolderName.Inbox, new e.ItemView(10));
    ids = found.Items.map((each) => each.Id);
    return found.Items.map((each) => each.Subject);
  });
  await step("search", async () => {
    const wanted = new e.SearchFilter.ContainsSubstring(e.ItemSchema.Subject, "second");
    const found = await service.FindItems(e.WellKnownFolderName.Inbox, wanted, new e.ItemView(10));
    return [found.TotalCount, found.MoreAvailable, found.Items.map((each) => each.Subject)];
  });
  await step("message", async () => {
    const all = new e.PropertySet(e.BasePropertySet.FirstClassProperties, [e.ItemSchema.MimeContent]);
    const message = await e.EmailMessage.Bind(service, ids[0], all);
    return {
      subject: message.Subject,
      from: message.From.Address,
      sender: message.Sender.Address,
      to: message.ToRecipients.GetEnumerator().map((each) => each.Address),
      id: message.InternetMessageId,
      read: message.IsRead,
      body: message.Body.Text,
      mime: message.MimeContent.Content,
      received: message.DateTimeReceived.ToISOString(),
    };
  });
  await step("read", async () => {
    const message = await e.EmailMessage.Bind(service, ids[0]);
    message.IsRead = true;
    await message.Update(e.ConflictResolutionMode.AutoResolve);
    return (await e.EmailMessage.Bind(service, ids[0])).IsRead;
  });
  await step("send", async () => {
    const message = new e.EmailMessage(service);
    message.Subject = "by JavaScript";
    message.Body = new e.MessageBody(e.BodyType.Text, "hello");
    message.ToRecipients.Add(other);
    await message.SendAndSaveCopy();
    return true;
  });
  await step("sync", async () => {
    const scope = e.SyncFolderItemsScope.NormalItems;
    const inbox = new e.FolderId(e.WellKnownFolderName.Inbox);
    const first = await service.SyncFolderItems(inbox, e.PropertySet.IdOnly, null, 10, scope, null);
    const message = await e.EmailMessage.Bind(service, ids[1]);
    await message.Move(e.WellKnownFolderName.JunkEmail);
    const next = await service.SyncFolderItems(inbox, e.PropertySet.IdOnly, null, 10, scope, first.SyncState);
    return [first.Count, first.MoreChangesAvailable, next.Count, e.ChangeType[next.GetEnumerator()[0].ChangeType]];
  });
  await step("gone", async () => (await e.EmailMessage.Bind(service, ids[1])).Subject);
  await step("resolve", async () => {
    const found = await service.ResolveName("bob");
    return found.GetEnumerator().map((each) => [each.Mailbox.Name, each.Mailbox.Address, each.Mailbox.RoutingType]);
  });
  await step("folders", async () => {
    const found = await service.FindFolders(e.WellKnownFolderName.MsgFolderRoot, new e.FolderView(50));
    return found.Folders.map((each) => each.DisplayName);
  });
  await step("folder", async () => {
    const made = new e.Folder(service);
    made.DisplayName = "By JavaScript";
    await made.Save(e.WellKnownFolderName.MsgFolderRoot);
    return (await e.Folder.Bind(service, made.Id)).DisplayName;
  });
  console.log(JSON.stringify(said));
})();
