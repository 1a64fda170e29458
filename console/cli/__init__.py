"""The `truelift` command."""
