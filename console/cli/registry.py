"""The commands of the registry: the lifecycle of an experiment, its history, and the audit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON; - prints it."),
]
Key = Annotated[str, typer.Argument(metavar="KEY", help="Key of a registered experiment.")]
Acting = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="Who you are; else TRUELIFT_USER, else the account."),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Goes into the record.")]

audit = typer.Typer(help="Verify the audit chain, export its head.", rich_markup_mode=None)


def register(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.yaml")],
    acting: Acting = None,
    expected: Annotated[
        int | None,
        typer.Option("--expect", metavar="N", help="The version you edited; refused if outdated."),
    ] = None,
    json: Json = None,
) -> None:
    """Enter an experiment as a draft, or a change to it as its next version."""
    from console.cli.commands import lifecycle

    lifecycle.register(spec, acting=acting, expected=expected, json=json)


def submit(key: Key, acting: Acting = None, json: Json = None) -> None:
    """Hand a draft in for review."""
    from console.cli.commands import lifecycle

    lifecycle.submit(key, acting=acting, json=json)


def approve(
    key: Key,
    reason: Reason = "",
    expected: Annotated[
        int | None,
        typer.Option("--expect", metavar="N", help="The version you read; refused if outdated."),
    ] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Approve a design that somebody else wrote; sign off a high-impact rule."""
    from console.cli.commands import lifecycle

    lifecycle.approve(key, reason=reason, expected=expected, acting=acting, json=json)


def reject(key: Key, reason: Reason = "", acting: Acting = None, json: Json = None) -> None:
    """Send a design back to draft, with a reason."""
    from console.cli.commands import lifecycle

    lifecycle.reject(key, reason=reason, acting=acting, json=json)


def start(key: Key, acting: Acting = None, json: Json = None) -> None:
    """Start an experiment: its analysis plan is frozen by hash."""
    from console.cli.commands import lifecycle

    lifecycle.start(key, acting=acting, json=json)


def stop(key: Key, reason: Reason = "", acting: Acting = None, json: Json = None) -> None:
    """End a running experiment; its result is still to be recorded."""
    from console.cli.commands import lifecycle

    lifecycle.stop(key, reason=reason, acting=acting, json=json)


def conclude(key: Key, acting: Acting = None, json: Json = None) -> None:
    """Analyse an experiment a last time and close it with that result."""
    from console.cli.commands import lifecycle

    lifecycle.conclude(key, acting=acting, json=json)


def archive(key: Key, reason: Reason = "", acting: Acting = None, json: Json = None) -> None:
    """Put an experiment away; nothing of it is deleted."""
    from console.cli.commands import lifecycle

    lifecycle.archive(key, reason=reason, acting=acting, json=json)


def list_experiments(acting: Acting = None, json: Json = None) -> None:
    """List the experiments of the registry and their states."""
    from console.cli.commands import lifecycle

    lifecycle.list_experiments(acting=acting, json=json)


def history(key: Key, acting: Acting = None, json: Json = None) -> None:
    """Show what was done to an experiment, by whom, and what each change changed."""
    from console.cli.commands import lifecycle

    lifecycle.history(key, acting=acting, json=json)


def diff(
    key: Key,
    before: Annotated[int | None, typer.Argument(metavar="[OLD]")] = None,
    after: Annotated[int | None, typer.Argument(metavar="[NEW]")] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Show how two versions of an experiment differ, field by field; the last two by default."""
    from console.cli.commands import lifecycle

    lifecycle.diff(key, before, after, acting=acting, json=json)


def jobs(acting: Acting = None, json: Json = None) -> None:
    """List what takes a while: what runs, what is done, what was cut off."""
    from console.cli.commands import lifecycle

    lifecycle.jobs(acting=acting, json=json)


@audit.command()
def verify(
    head: Annotated[
        Path | None,
        typer.Option("--head", metavar="FILE", help="An exported head: was the end cut off?"),
    ] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Walk the audit chain and name the first row that is wrong or missing."""
    from console.cli.commands import audit as run

    run.verify(head=head, acting=acting, json=json)


@audit.command(name="head")
def export_head(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")],
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Write down how far the audit chain has come, to be kept where nobody can write."""
    from console.cli.commands import audit as run

    run.head(out=out, acting=acting, json=json)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree, in the order in which an experiment meets them."""
    steps = (register, submit, approve, reject, start, stop, conclude, archive)
    commands: tuple[Callable[..., None], ...] = (*steps, history, diff, jobs)
    for command in commands:
        app.command()(command)
    app.command(name="list")(list_experiments)
    app.add_typer(audit, name="audit")
