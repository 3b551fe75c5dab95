"""One class an operation of EWS: `ask` builds the payload and asks once; `read_*` beside it are pure.

Children stand in the order of the schemas (MS-OXWSMSG, MS-OXWSCORE, MS-OXWSFOLD, MS-OXWSSYNC, MS-OXWSNTIF,
MS-OXWSRSLNM): Exchange refuses any other.
"""
