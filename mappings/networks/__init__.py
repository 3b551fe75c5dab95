"""The networks that ship with Gatepost, one file each: pure, and found by entry points like anyone's."""
