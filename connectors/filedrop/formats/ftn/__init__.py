"""ftn: FidoNet technology networks, gated to and from internet mail.

In: packets of types 2, 2+ and 2.2, and stored messages (*.MSG). Netmail goes where it is addressed, or where its first
lines say; echomail to the address that its area has. Out: netmail in packets, for a tosser's inbound folder or in a
BinkleyTerm-style outbound.
The documents followed are named in the modules: FTS-0001 for the formats, FTS-0009 and GATEBAU for message identifiers,
FSC-0035 for gateways. Tried against CrashMail II 1.7, types 2 and 2+, both ways; other programs were not tried.
"""
