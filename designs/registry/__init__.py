"""The registry of experiments: lifecycle, approvals, audit chain, jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from designs.registry.lifecycle import State
    from designs.registry.policy import Policy
    from designs.registry.records import Entry, Event, Version
    from designs.registry.store import Registry

__all__ = ["Entry", "Event", "Policy", "Registry", "State", "Version"]

_HOMES = {"Registry": "store", "State": "lifecycle", "Policy": "policy"}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is first used, so that ``--help`` stays fast."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"designs.registry.{_HOMES.get(name, 'records')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
