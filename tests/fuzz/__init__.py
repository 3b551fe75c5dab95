"""Fuzz: generated inputs for every parser of what others write: `make fuzz`, or `python -m tests.fuzz`.

A target is one parser with what it promises (`tests.fuzz.target`): octets from the wire and from files, each network's
addresses, each format of directories, and the mapping table asked about any address. An input that raises what is not
declared, breaks a promise or takes too long is made as short as it can be, kept in `tests/corpus`, and ends the run
with status 1; from then on each run of the tests replays it.
"""
