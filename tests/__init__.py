"""The tests mirror the source; `peers` are real servers and clients, `integration` and `crash` go whole ways."""
