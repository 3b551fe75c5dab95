"""Retrieval: mail that waits in a mailbox of another system is fetched, and goes on as if it had been sent here.

Any mailbox store may be a source this way. `config` says which mailboxes are emptied and for whom; `envelope` finds
out, in a mailbox of many people, for whom a message was; `taken` remembers across a crash what was taken; `source`
runs it all.
"""
