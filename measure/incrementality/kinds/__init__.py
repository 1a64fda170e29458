"""The difference between two arms by kind of metric; one module per kind."""
