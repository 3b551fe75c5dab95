"""Addresses, networks, identities and rules: who is meant by an address, and how others may write it.

Imports nothing of the gateway; the one place with I/O is `mappings.store`.
"""
