"""Notes of results: short phrases, joined by semicolons."""

from __future__ import annotations


def joined(*notes: str) -> str:
    """The notes there are, each once, in their order."""
    return "; ".join(dict.fromkeys(note for note in notes if note))
