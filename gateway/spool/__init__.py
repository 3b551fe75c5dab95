"""The spool: the durable store of messages and deliveries.

Promises: what `accept` returned for is on disk (message, content, deliveries, trace, in one transaction);
nothing leaves before its outcome is committed; a delivery is leased to one node at a time, and every
outcome commit is conditional on that lease. Transactions that wait together are committed together.
Refuses: a database of a newer schema; new mail below the free-space limit.
Known limit: an unclean stop may repeat what was in flight, never lose it.
"""
