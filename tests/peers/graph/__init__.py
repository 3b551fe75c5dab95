"""A Microsoft Graph server for tests: the mail, directory and batch parts that a mail gateway uses, on SQLite.

What it does and by what evidence stands in EVIDENCE.md; whatever it is asked beyond that it refuses, and the test
fails. Start it by hand with `python -m tests.peers.graph --port N`; tests use `tests.peers.graph.process.GraphPeer`.
"""
