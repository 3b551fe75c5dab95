"""records: files of records whose form an operator describes in TOML, for systems that nobody has a codec for.

Fields between signs, in fixed positions (also EBCDIC, with zoned, packed and binary numbers), `Name: value` lines,
JSON, JSON lines and XML; see `description` for what can be said, `expression` for how fields are put together. The same
description reads and writes: what is written is read back as the same message, as far as the notes on it say.

Promises: a record that cannot be used is a Bad of its own, with its place and its mend, and is kept alone; of a file
that is to have a trailer and lacks it nothing is taken; fields, depth, records and messages are bounded.
"""
