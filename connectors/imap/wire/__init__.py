"""The IMAP protocol without input or output: what a server says, and what is said to it."""
