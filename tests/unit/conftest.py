"""Settings of the property tests: a busy machine is no failure; tests that bound time say so themselves."""

from hypothesis import settings

settings.register_profile("batches-mcp", deadline=None)
settings.load_profile("batches-mcp")
