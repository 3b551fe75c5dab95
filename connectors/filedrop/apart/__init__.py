"""An inbox read by a process of its own, which hands its messages over to the gateway.

Why a process: beside a busy event loop a thread waits for the interpreter after each of the many small calls that a
folder takes, which costs more than the calls do; here they run beside the loop on another core. And what decodes
foreign octets has its own memory and time: a file that breaks it, or a share that hangs, stops nothing else.

The process runs the source as it is (`source.py`), against an Intake that asks the gateway's (`child.py`); the
gateway's side starts it, answers it, and starts it anew (`parent.py`). Between them are frames on a socket pair
(`wire.py`). Nothing of the promises changes: a file is finished only after the gateway has answered, which it does
after the commit; and whichever of the two dies, the claimed files are taken up again under their tokens.
"""
