"""One package per connector; each imports the public contract (`gateway.contract`, `mappings.network`) alone."""
