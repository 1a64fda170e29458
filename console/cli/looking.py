"""The commands that look at single rows and at the data themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from console.cli.registry import Acting, Json

At = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="As of this moment (ISO 8601); else as of the data."),
]


def path(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="A customer id.")],
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Follow one person: arms, touches, orders, claims, consent and scores, in order of time."""
    from console.cli.commands import following

    following.path(person, acting=acting, json=json)


def trace(
    conversion: Annotated[
        str, typer.Argument(metavar="CONVERSION", help="A conversion id or an order id.")
    ],
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", metavar="KEY", help="Whose credits and bridge are meant."),
    ] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Walk a conversion down to every raw row behind it, and up to the figures it is part of."""
    from console.cli.commands import following

    following.trace(conversion, experiment=experiment, acting=acting, json=json)


def health(
    at: At = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Look at the data themselves: fresh, whole, timely, filled, matched, and since when not."""
    from console.cli.commands import health as run

    run.health(at=at, acting=acting, json=json)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    for command in (path, trace, health):
        app.command()(command)
