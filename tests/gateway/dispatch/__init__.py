"""Dispatch: pure parts by tables and properties, the whole under a simulated clock."""
