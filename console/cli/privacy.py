"""The command about what a person may ask for."""

from __future__ import annotations

from typing import Annotated

import typer

from console.cli.registry import Acting, Json


def erase(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="Id of the customer.")],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; never names the person.")
    ],
    days: Annotated[
        int | None,
        typer.Option("--remember", metavar="DAYS", help="How long old files are kept out."),
    ] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Erase a person from tables, results, pages and lists; old files do not bring them back."""
    from console.cli.commands import erase as run

    run.erase(customer, reason=reason, days=days, acting=acting, json=json)


def add_to(app: typer.Typer) -> None:
    """Add this command to the tree."""
    app.command()(erase)
