"""A test peer that speaks Exchange Web Services on a real store, and is kept honest by Microsoft's schema.

Every request and every answer is validated; each behaviour has a test that asserts values, and EVIDENCE.md names what
it rests on: the schema, a document, a client that none of us wrote, or nothing but an assumption.
"""
