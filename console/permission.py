"""May whoever acts do this here? Asked before a command or a page touches what others own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measure.errors import MissingFile

if TYPE_CHECKING:
    from pathlib import Path

    from console.workspace import Workspace
    from designs.registry.access import Action


def permit(workspace: Workspace, action: Action, key: str = "", acting: str | None = None) -> None:
    """Let somebody do something to an experiment, or to the workspace where no key is given.

    :class:`measure.errors.AccessError` when their role may not, which is written into the audit.
    Where the settings name no people, everybody who can open the workspace may do everything.
    """
    from console.workspace import acting_person

    if not workspace.settings.people:
        return
    with workspace.open_registry() as registry:
        registry.permit(action, key, by=acting_person(acting))


def permit_around(folder: Path, action: Action, acting: str | None = None) -> None:
    """The same for the workspace that a file lies in; without one there is nobody to ask."""
    from console.workspace import Workspace

    try:
        workspace = Workspace.find(folder)
    except MissingFile:
        return
    permit(workspace, action, acting=acting)
