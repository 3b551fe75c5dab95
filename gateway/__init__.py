"""The core: it stores, maps, routes, adapts, retries and reports, and knows no network."""
