"""One module a schema version, named by it."""
