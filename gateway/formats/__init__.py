"""Mailbox formats, each once: mbox and its dialects, MMDF, Maildir, MH. Pure: octets and names in, values out.

Used by whatever reads or writes mailboxes: file drops, stores, local delivery. Nothing here opens a file; a file that
may be large is a Blob, read a window at a time.
"""
