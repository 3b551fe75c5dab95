"""Real servers and clients as test peers: each is private, on free loopback ports, and ends with its test."""
