"""The commands about people: who is one person, and what weak links do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def identities(
    spec: Annotated[
        Path | None, typer.Argument(metavar="[SPEC.yaml]", help="Outcomes found over links.")
    ] = None,
    probability: Annotated[
        str | None,
        typer.Option("--probability", metavar="COLUMN", help="How likely each link is right."),
    ] = None,
    acting: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Who you are; else TRUELIFT_USER."),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write the result as JSON; - prints it."),
    ] = None,
) -> None:
    """Say who is one person and what weak links do: to persons and credit, or to an effect."""
    from console.cli.commands import identities as run

    run.identities(spec, probability=probability, acting=acting, json=json)


def add_to(app: typer.Typer) -> None:
    """Give the command line its commands about people."""
    app.command()(identities)
