"""The registry of experiments and their lifecycle."""
