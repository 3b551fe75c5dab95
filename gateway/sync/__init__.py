"""Two mailboxes kept in step: what is there is compared with what both held last, and only then acted on."""
