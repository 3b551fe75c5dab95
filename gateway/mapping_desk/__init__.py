"""The mapping desk: what an operator asks of the stored mapping and does to it, apart from how it is asked and shown.

The command line calls these functions, and whatever else serves an operator may. Each answers with values that print
as JSON. Promises: what changes the mapping is one revision, stored whole or not at all, with who did it and why; it
works beside a running gateway, which follows by itself; a refusal (`DeskError`) says what is wrong, where, and what to
do. Everything here blocks.
"""
