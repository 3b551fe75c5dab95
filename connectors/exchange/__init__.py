"""exchange: mailboxes of an Exchange organisation, by EWS (`ews`) or by Microsoft Graph (`graph`).

Promises: an item leaves its folder after its mail's commit; a mail is delivered once the mailbox has it, or, in send
mode, once Exchange has taken it over; none is created blindly a second time, since each carries the id of its delivery
and is looked up by that after an unknown result. Notifications are hints, the folder's own list is the truth.
Refuses: recipients outside the organisation where it delivers into mailboxes, drafts, what is over the size.
Known limits: Exchange makes a message anew from its own properties, and Graph rewrites headers; what that changes is
told in the trace. No more than a look-up knows: a user who purges a delivered item while its result is unknown gets it
a second time, and so does one whose server ends the request of a killed process only after its successor looked.
"""
