pytest_plugins = ["gateway.testing"]
