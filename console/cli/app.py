"""The tree of commands. Each imports what it needs when it runs, so that --help is immediate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from console.cli import looking, people, privacy, registry

app = typer.Typer(
    name="truelift",
    help="Measure what marketing caused: holdouts, lift, attribution, reconciliation, reports.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
score = typer.Typer(help="Validate propensity and uplift scores.", rich_markup_mode=None)
app.add_typer(score, name="score")

Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON; - prints it."),
]
Key = Annotated[str, typer.Argument(metavar="KEY", help="Key of a registered experiment.")]
Acting = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="Who you are; else TRUELIFT_USER, else the account."),
]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="As of this moment (ISO 8601); now if left out."),
]
Target = Annotated[
    str, typer.Argument(metavar="KEY|SPEC.yaml", help="A registered experiment or a specification.")
]
Period = Literal["day", "week", "month"]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Measure what marketing caused: holdouts, lift, attribution, reconciliation, reports."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"truelift {installed('truelift')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR")] = Path("truelift-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another world.")] = 7,
    customers: Annotated[int, typer.Option(min=2_000, help="Size of the world.")] = 200_000,
    json: Json = None,
) -> None:
    """Build a world whose truth is known, run the whole loop on it, and say which page to open."""
    from console.cli.commands import demo as run

    run.demo(folder, seed=seed, customers=customers, json=json)


@app.command()
def example(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which data set: hillstrom.")],
    folder: Annotated[Path | None, typer.Argument(metavar="DIR")] = None,
    json: Json = None,
) -> None:
    """Put a real, public data set and its specification into a folder."""
    from console.cli.commands import workspace

    workspace.example(name, folder, json=json)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    time_zone: Annotated[str, typer.Option(help="IANA name used in reports.")] = "UTC",
    currency: Annotated[str, typer.Option(help="ISO 4217 code used in reports.")] = "EUR",
    json: Json = None,
) -> None:
    """Make a workspace: settings, folders and a secret key."""
    from console.cli.commands import workspace

    workspace.init(folder, time_zone=time_zone, currency=currency, json=json)


@app.command()
def load(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="customers, activations, …")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="CSV, Parquet, JSON.")],
    time_zone: Annotated[
        str | None,
        typer.Option("--time-zone", metavar="ZONE", help="IANA name of the zone of local times."),
    ] = None,
    epoch: Annotated[
        Literal["s", "ms", "us"] | None,
        typer.Option("--epoch", help="Numbers for times count these since 1970."),
    ] = None,
    json: Json = None,
) -> None:
    """Load files into the warehouse exactly once; what is refused goes to quarantine."""
    from console.cli.commands import workspace

    workspace.load(table, files, time_zone=time_zone, epoch=epoch, json=json)


@app.command()
def clocks(
    correct: Annotated[
        str | None,
        typer.Option("--correct", metavar="PLATFORM", help="Put a correction on record."),
    ] = None,
    seconds: Annotated[
        int | None,
        typer.Option("--seconds", help="Seconds to add, instead of the estimate; 0 takes it back."),
    ] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Say how far platforms' clocks are off, and put corrections on record."""
    from console.cli.commands import clocks as run

    run.clocks(correct, seconds=seconds, acting=acting, json=json)


@app.command()
def plan(
    target: Annotated[str | None, typer.Argument(metavar="[KEY|SPEC.yaml]")] = None,
    *,
    following: Annotated[
        bool, typer.Option("--next", help="Rank the candidates: which test next?")
    ] = False,
    assume: Annotated[
        Path | None, typer.Option("--assume", metavar="FILE", help="Assumptions as YAML.")
    ] = None,
    lift: Annotated[float | None, typer.Option(help="Expected lift: 0.05 is +5%.")] = None,
    lift_sd: Annotated[float | None, typer.Option(help="How unsure that is.")] = None,
    power: Annotated[float | None, typer.Option(help="Wanted power.")] = None,
    looks: Annotated[
        int | None, typer.Option(help="Looks at the result, the last one too.")
    ] = None,
    runs: Annotated[int | None, typer.Option(help="Draws per simulated point; 0: none.")] = None,
    repeats: Annotated[float | None, typer.Option(help="Repetitions if it is good.")] = None,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="Write the page for sign-off.")
    ] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Say before a test runs what it can tell: power, duration, price of peeking, cost, risks."""
    from console.cli.commands import planning

    options = {"lift": lift, "lift_sd": lift_sd, "power": power, "looks": looks, "runs": runs}
    planning.plan(
        target,
        following=following,
        assume=assume,
        options={**options, "repeats": repeats},
        page=page,
        acting=acting,
        json=json,
    )


registry.add_to(app)
people.add_to(app)
privacy.add_to(app)


@app.command()
def assign(
    key: Key,
    ids: Annotated[
        Path | None, typer.Option("--ids", metavar="FILE", help="One unit id per line.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the arms as CSV.")
    ] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Assign arms to given units, or to the whole population."""
    from console.cli.commands import assignment

    assignment.assign(key, ids=ids, out=out, acting=acting, json=json)


@app.command()
def explain(
    key: Key,
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="Id of one unit.")],
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Show why a unit got its arm, with the arithmetic of each decision."""
    from console.cli.commands import assignment

    assignment.explain(key, unit, acting=acting, json=json)


@app.command()
def suppress(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="email, social, …")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV or Parquet.")],
    at: At = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """List whom campaigns must not reach on a channel: holdouts, and controls of what runs."""
    from console.cli.commands import assignment

    assignment.suppress(channel, out=out, at=at, acting=acting, json=json)


@app.command()
def audience(
    key: Key,
    channel: Annotated[str, typer.Option("--channel", metavar="CHANNEL")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV or Parquet.")],
    at: At = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """List whom an experiment's campaign may reach: treated, consenting and not held out."""
    from console.cli.commands import assignment

    assignment.audience(key, channel=channel, out=out, at=at, acting=acting, json=json)


@app.command()
def holdout(
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="Id of one unit.")],
    at: At = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Say whether a unit is held out, and from what, with the arithmetic."""
    from console.cli.commands import assignment

    assignment.holdout(unit, at=at, acting=acting, json=json)


@app.command()
def schedule(
    target: Target,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="CSV or Parquet.")
    ] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Lay out a switchback: which unit has which arm in which block of time."""
    from console.cli.commands import assignment

    assignment.schedule(target, out=out, acting=acting, json=json)


@app.command()
def analyze(
    target: Target,
    draws: Annotated[
        Path | None,
        typer.Option("--draws", metavar="DIR", help="Keep posterior draws there, as zarr."),
    ] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Run the checks, then estimate the effect per metric, arm and cohort."""
    from console.cli.commands import analysis

    analysis.analyze(target, acting=acting, json=json, draws=draws)


@app.command()
def attribute(
    key: Annotated[str | None, typer.Argument(metavar="[KEY]")] = None,
    paths: Annotated[
        Path | None, typer.Option("--paths", metavar="FILE", help="Channel paths as CSV.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="NAME", help="Repeat for several models.")
    ] = None,
    cohort: Annotated[
        str | None, typer.Option("--cohort", metavar="COLUMN", help="Credits per value of this.")
    ] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Credit channels with conversions under named definitions, with intervals."""
    from console.cli.commands import analysis

    analysis.attribute(key, paths=paths, models=model, cohort=cohort, acting=acting, json=json)


@app.command()
def reconcile(
    key: Annotated[str | None, typer.Argument(metavar="[KEY]")] = None,
    check: Annotated[
        str | None, typer.Option("--check", metavar="CODE", help="One check, with --rows.")
    ] = None,
    rows: Annotated[
        Path | None, typer.Option("--rows", metavar="FILE", help="All rows it flags, as CSV.")
    ] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Hold logs and claims against conversions: checks, and the bridge to incremental."""
    from console.cli.commands import analysis, flagged

    if check is None and rows is None:
        analysis.reconcile(key, acting=acting, json=json)
    else:
        flagged.rows(key, check=check, out=rows, acting=acting, json=json)


looking.add_to(app)


@app.command()
def proxy(
    targets: Annotated[list[str], typer.Argument(metavar="KEY|SPEC.yaml…")],
    quick: Annotated[str, typer.Option("--proxy", metavar="METRIC", help="The quick metric.")],
    slow: Annotated[str, typer.Option("--target", metavar="METRIC", help="The slow metric.")],
    json: Json = None,
) -> None:
    """Ask experiments that are over whether effects on a quick metric predict a slow one."""
    from console.cli.commands import proxy as run

    run.proxy(targets, quick=quick, slow=slow, json=json)


@app.command()
def curve(
    target: Target,
    by: Annotated[
        Period | None, typer.Option("--by", help="Periods since assignment, or calendar months.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", metavar="NAME", help="This metric only.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Where the record ends; else its last day."),
    ] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Follow the effect through time: per period, cumulative, and whether it fades."""
    from console.cli.commands import curve as run

    run.curve(target, by=by, metric=metric, until=until, acting=acting, json=json)


@score.command()
def validate(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.yaml")],
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Validate a score column against a randomised holdout: Qini, and uplift by decile."""
    from console.cli.commands import analysis

    analysis.score_validate(spec, acting=acting, json=json)


@app.command()
def report(
    target: Annotated[str | None, typer.Argument(metavar="[KEY|SPEC.yaml]")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for the pages.")
    ] = None,
    acting: Acting = None,
    json: Json = None,
) -> None:
    """Write the pages people read: index, experiment, attribution, reconciliation."""
    from console.cli.commands import reporting

    reporting.report(target, out=out, acting=acting, json=json)
