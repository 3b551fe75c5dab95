"""`gatepost-sendmail`: mail from programs of this machine, by the command that they have called for forty years.

The command runs as whoever calls it, with no privilege of its own: neither set-user-ID nor set-group-ID. It hands the
message to the daemon over a local socket, whose kernel tells the daemon who is at the other end; where no daemon
answers, it puts the same hand-over into a drop folder, from which the daemon takes it when it is back.

Promises: exit status 0 once the message is in the spool, or on disk in the drop folder; each hand-over has an id, so
that one which came both ways is taken once; who handed it in is told by the kernel (the peer of the socket, the owner
of the file), never by the caller; nobody can read, change or remove what another has handed in.

The parts: `options` reads the command line, `command` does what it says, `way` carries a hand-over to the daemon,
`handover` is its form, `dialogue` speaks SMTP for -bs; `source` is the daemon's side, `taken` makes messages of what
came. What the command imports is little on purpose: a start costs more than the message.
"""
