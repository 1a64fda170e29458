"""The registry of experiments and their lifecycle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from designs.registry.store import Entry, Event, Registry

__all__ = ["Entry", "Event", "Registry"]


def __getattr__(name: str) -> Any:
    """Import the store when it is first used, so that ``--help`` stays fast."""
    if name in __all__:
        from designs.registry import store

        return getattr(store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
