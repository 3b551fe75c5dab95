"""Addresses, networks, identities and rules: who is meant by an address, and how others may write it.

Imports nothing of the gateway. `store` is what uses a database, `snapshot` and `reader` what keeps a file of it.
"""
