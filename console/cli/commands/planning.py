"""`plan` and `plan --next`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.cli.output import MARKS, check_destination, deliver, table
from console.progress import step, tell
from measure.errors import InputError, MissingFile, TrueliftError

if TYPE_CHECKING:
    from console.workspace import Workspace
    from designs.experiment import Experiment
    from designs.planning.assumptions import Assumptions
    from designs.planning.ranking import Evidence, Ranking
    from designs.planning.results import DesignPlan, Money, Precision
    from designs.registry import Entry
    from measure.results import Analysis
    from reports.design_facts import Approval
    from reports.numbers import Number

_APPROVING = {"submit", "approve", "reject"}
_WAYS = {
    "fixed": "one look, at the end",
    "obrien_fleming": "O'Brien–Fleming spending",
    "anytime": "anytime-valid",
    "naive": "naive (not valid)",
}


def plan(
    target: str | None,
    *,
    following: bool,
    assume: Path | None,
    options: dict[str, Any],
    page: Path | None,
    acting: str | None,
    json: str | None,
) -> None:
    """Plan one experiment, or rank the candidates of the workspace."""
    from console.permission import permit_around
    from designs.registry.access import Action

    check_destination(json)
    if page is not None and not page.resolve().parent.is_dir():
        raise InputError(f"--page {page}: the folder {page.parent} does not exist.")
    assumptions = _assumptions(assume, options)
    permit_around(Path.cwd(), Action.READ, acting)
    if following:
        if target is not None or page is not None:
            raise InputError("--next ranks all candidates; leave out SPEC and --page with it.")
        ranking = rank_candidates(assumptions)
        deliver(ranking.to_dict(), json, describe_ranking(ranking))
        return
    if target is None:
        raise InputError("plan: name a specification or an experiment, or give --next.")
    experiment, base = _read(target)
    found = plan_one(experiment, base, assumptions)
    lines = describe_plan(found)
    if page is not None:
        _write_page(page, experiment, base, found)
        lines += ["", f"Design page: {page}"]
    deliver(found.to_dict(), json, lines)


def plan_one(experiment: Experiment, base: Path, assumptions: Assumptions) -> DesignPlan:
    """Read history and what else runs, and plan; paths are relative to ``base``."""
    from designs.planning.planner import plan_experiment
    from designs.planning.ranking import prior_from

    workspace = _workspace(base)
    evidence = [] if workspace is None else [
        found for found in _evidence(workspace) if found.experiment != experiment.key
    ]  # fmt: skip
    with step("history"):
        history = _history(workspace, experiment, base, assumptions)
    with step("plan"):
        return plan_experiment(
            experiment,
            history,
            assumptions,
            others=_others(workspace),
            earlier=prior_from(evidence, experiment.channels) if evidence else None,
            progress=tell,
        )


def rank_candidates(assumptions: Assumptions) -> Ranking:
    """Drafts of the registry and specifications in experiments/ that nobody has started."""
    from console.workspace import Workspace
    from designs.planning.ranking import rank

    workspace = Workspace.find()
    lean = assumptions.model_copy(update={"runs": 0})
    plans, refused = [], []
    for experiment, base in _candidates(workspace):
        try:
            plans.append(plan_one(experiment, base, lean))
        except InputError as error:
            refused.append((experiment.key, str(error)))
    if not plans and not refused:
        raise MissingFile.at(
            workspace.root / "experiments", "Write a specification there, or register a draft."
        )
    return rank(plans, refused)


def describe_plan(found: DesignPlan) -> list[str]:
    """The plan in a few lines: precision, price of looking, money, warnings."""
    from reports.numbers import count
    from reports.plan_statements import assumption_sentence, reached_sentence

    span = f", {found.history_from} to {found.history_to}" if found.history_from else ""
    lines = [
        f"{found.experiment}: {count(found.units)} units; history: {found.source}{span}",
        assumption_sentence(found),
        *([reached] if (reached := reached_sentence(found)) else []),
        "",
    ]
    header = ("metric", "arm", "estimator", "test", "held out", "MDE", "power", "units needed")
    lines += table(header, [_precision_row(p) for p in found.precision], left=4)
    notes = [f"  {p.metric}, {p.arm}, {p.estimator}: {p.note}" for p in found.precision
             if p.note and (p.metric == found.primary or p.method != "normal")]  # fmt: skip
    lines += ["", *notes] if notes else []
    if found.duration:
        lines += ["", *_duration_lines(found)]
    lines += _season_lines(found)
    lines += ["", *_peeking_lines(found), ""]
    for money in found.money:
        lines += _money_lines(money)
    lines += ["", *(f"  {MARKS[c.outcome]} {c.code:<4} {c.message}" for c in found.checks)]
    return [*lines, *(f"  {note}" for note in found.provenance["notes"])]


def _season_lines(found: DesignPlan) -> list[str]:
    """How much of the days is pattern, and what a reading without a control would have said."""
    from reports.plan_statements import placebo_sentence, season_sentence

    said = [season_sentence(found.season), placebo_sentence(found.placebo)]
    return ["", *(text for text in said if text)] if any(said) else []


def describe_ranking(ranking: Ranking) -> list[str]:
    """One line per candidate, the one to run first in front."""
    from reports.numbers import NONE, money_short, number, percent

    rows = []
    for c in ranking.candidates:
        if c.information is None or c.cost is None or c.currency is None:
            rows.append((str(c.rank), c.experiment, NONE, NONE, NONE, NONE))
            continue
        ratio = "costs nothing" if c.ratio is None else number(c.ratio, 2)
        worth, cost = (money_short(x, c.currency) for x in (c.information, c.cost))
        rows.append((str(c.rank), c.experiment, worth, cost, ratio, percent(c.power)))
    header = ("rank", "experiment", "answer worth", "holdout costs", "worth / cost", "power")
    lines = table(header, rows, left=2)
    lines += [f"  {c.experiment}: {c.note}" for c in ranking.candidates if c.note]
    return [*lines, "", *(f"Expected lifts from {source}" for source in ranking.evidence)]


def _precision_row(p: Precision) -> tuple[str, ...]:
    from reports.numbers import NONE, count, percent

    mde = NONE if p.mde_relative is None else percent(p.mde_relative, signed=True)
    power = NONE if p.power is None else percent(p.power)
    if p.power_low is not None:
        power += f" ({percent(p.power_low)} to {percent(p.power_high)})"
    needed = NONE if p.units_needed is None else count(p.units_needed)
    return (p.metric, p.arm, p.estimator, p.method, count(p.n_control), mde, power, needed)


def _duration_lines(found: DesignPlan) -> list[str]:
    from reports.numbers import NONE, count, number, percent

    rows = [
        (
            str(d.days), count(d.units), count(d.active), count(d.newcomers), number(d.mean, 4),
            number(d.sd, 4),
            NONE if d.mde_relative is None else percent(d.mde_relative, signed=True), d.method,
        )
        for d in found.duration
    ]  # fmt: skip
    header = ("days", "units", "active", "newcomers", "mean", "sd", "MDE", "test")
    lines = table(header, rows)
    if any(d.method == "permutation" for d in found.duration):
        lines.append(
            "  MDE by formula; where the analysis uses a permutation test, it finds less than that."
        )
    return lines


def _peeking_lines(found: DesignPlan) -> list[str]:
    from reports.numbers import NONE, number, percent

    def factor(x: Number) -> str:
        return NONE if x is None else f"× {number(x, 2)}"

    rows = [
        (
            _WAYS[p.way], str(p.looks), percent(p.false_positives), factor(p.units_factor),
            factor(p.mde_factor), factor(p.expected_factor),
        )
        for p in found.peeking
    ]  # fmt: skip
    header = ("looking", "looks", "false positives", "units", "MDE", "expected units")
    return table(header, rows)


def _money_lines(m: Money) -> list[str]:
    from reports.numbers import money_short, number

    def write(x: float) -> str:
        return money_short(x if abs(x) >= 0.005 else 0, m.currency)

    verb = "cost" if m.cost >= 0 else "save"
    lines = [
        f"{m.arm}: the holdout is expected to {verb} {write(abs(m.cost))} "
        f"({write(m.forgone)} margin forgone, {write(m.saved)} treatment saved).",
        f"  Its answer is worth {write(m.information)} for a decision about "
        f"{m.decision_units:,} units; perfect information {write(m.perfect_information)}.",
    ]
    if m.rule_value is not None:
        lines.append(f"  Deciding by {m.rule}: {write(m.rule_value)} over deciding now.")
    if m.break_even_repeats is not None:
        lines.append(f"  It pays from {number(m.break_even_repeats, 1)} repetitions on.")
    return [*lines, *([f"  {m.note}"] if m.note else [])]


def _assumptions(path: Path | None, options: dict[str, Any]) -> Assumptions:
    """What the file says, then what the command line says."""
    from pydantic import ValidationError

    from designs.planning.assumptions import Assumptions, PlanningFile
    from designs.specification import load_model

    written: dict[str, Any] = {}
    if path is not None:
        written = load_model(path, PlanningFile).assumptions.model_dump(exclude_unset=True)
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Assumptions.model_validate({**written, **given})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        text = first["msg"].removeprefix("Value error, ")
        raise InputError(": ".join(part for part in (name, text) if part) + ".") from error


def _read(target: str) -> tuple[Experiment, Path]:
    """The experiment and the folder its paths are relative to."""
    from console.measuring import is_specification
    from designs.specification import load_experiment

    if is_specification(target):
        return load_experiment(target), Path(target).resolve().parent
    from console.workspace import Workspace
    from designs.registry import Registry

    workspace = Workspace.find()
    with Registry(workspace.registry_url) as registry:
        return registry.get(target).experiment, workspace.root / "experiments"


def _workspace(base: Path) -> Workspace | None:
    """The workspace around a folder, or around the current one; ``None`` without either."""
    from console.workspace import Workspace

    for start in (base, Path.cwd()):
        try:
            return Workspace.find(start)
        except MissingFile:
            continue
    return None


def _history(
    workspace: Workspace | None, experiment: Experiment, base: Path, assumptions: Assumptions
) -> Any:
    from designs.planning.history import source_history
    from designs.planning.warehouse import warehouse_history
    from measure.engine.connection import connect

    from_file = experiment.source is not None and experiment.source.path is not None
    if not from_file and workspace is None:
        raise MissingFile.at(
            base / "truelift.toml", "History is read from a workspace; or point source at a file."
        )
    engine = connect() if from_file or workspace is None else workspace.connect()
    with engine:
        if experiment.source is not None:
            return source_history(engine, experiment, base, assumptions)
        return warehouse_history(engine, experiment, assumptions)


def _entries(workspace: Workspace | None) -> tuple[Entry, ...]:
    if workspace is None:
        return ()
    from designs.registry import Registry

    with Registry(workspace.registry_url) as registry:
        return registry.entries()


def _others(workspace: Workspace | None) -> list[Experiment]:
    """Experiments that run now or are approved to."""
    states = {"running", "approved"}
    return [entry.experiment for entry in _entries(workspace) if entry.state.value in states]


def _evidence(workspace: Workspace) -> Iterator[Evidence]:
    """The lift on the primary metric that each analysed experiment found."""
    from console.store import read
    from measure.results import Analysis

    for entry in _entries(workspace):
        analysis = read(workspace.results(entry.key), "analysis", Analysis)
        if analysis is not None:
            yield from _lifts(entry.experiment, analysis)


def _lifts(experiment: Experiment, analysis: Analysis) -> Iterator[Evidence]:
    from designs.planning.ranking import Evidence
    from measure.value.posterior import Posterior

    plan = experiment.analysis_plan()
    for arm in plan.treatments[:1]:
        try:
            found = analysis.find(plan.primary.name, arm, plan.estimators[0])
        except KeyError:
            continue
        posterior = Posterior.of_lift(found)
        if posterior is not None and posterior.sd > 0:
            yield Evidence(experiment.key, posterior.mean, posterior.sd, experiment.channels)


def _candidates(workspace: Workspace) -> Iterator[tuple[Experiment, Path]]:
    """Every experiment that nobody has started, by key; the registry's text counts."""
    from designs.registry.lifecycle import OPEN
    from designs.specification import load_experiment

    folder = workspace.root / "experiments"
    entries = {entry.key: entry for entry in _entries(workspace)}
    found = {key: e.experiment for key, e in entries.items() if e.state in OPEN}
    for path in sorted(folder.glob("*.y*ml")):
        try:
            experiment = load_experiment(path)
        except TrueliftError:
            continue  # `truelift plan FILE` says what is wrong with it
        if experiment.key not in entries:
            found[experiment.key] = experiment
    for key in sorted(found):
        yield found[key], folder


def _write_page(path: Path, experiment: Experiment, base: Path, found: DesignPlan) -> None:
    from console.files import write_atomically
    from console.measuring import versions
    from reports.design_facts import design_facts
    from reports.pages import design
    from reports.render import render

    facts = design_facts(
        experiment,
        found,
        generated_on=_today(),
        approvals=_approvals(_workspace(base), experiment),
        versions={name: versions()[name] for name in ("truelift", "numpy", "scipy")},
    )
    write_atomically(path, render(design.build(facts, path.name, ())))


def _approvals(workspace: Workspace | None, experiment: Experiment) -> Sequence[Approval]:
    """Who submitted and signed this very design, as the registry recorded it.

    A signature stands under one version. What was signed of another one is not on the page.
    """
    if workspace is None or experiment.key not in {e.key for e in _entries(workspace)}:
        return ()
    from designs.registry import Registry
    from reports.design_facts import Approval

    with Registry(workspace.registry_url) as registry:
        versions = {
            version.version
            for version in registry.versions(experiment.key)
            if version.spec_hash == experiment.content_hash()
        }
        return [
            Approval(e.who, e.role, e.what, e.at, str(e.detail.get("reason", "")))
            for e in registry.events(experiment.key)
            if e.what in _APPROVING and e.detail.get("version") in versions
        ]


def _today() -> date:
    return datetime.now(UTC).date()
