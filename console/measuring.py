"""From a specification or a registered experiment to its analysis: what connects the floors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.progress import tell
from measure.errors import InputError, MissingFile
from measure.results import Analysis

if TYPE_CHECKING:
    from console.workspace import Workspace
    from designs.experiment import Experiment
    from designs.registry import Entry
    from measure.engine.connection import Engine
    from measure.engine.expressions import Table
    from measure.engine.units import UnitTable
    from measure.people.measured import Gate
    from measure.plan import AnalysisPlan

PACKAGES = ("truelift", "numpy", "scipy", "duckdb", "pymc", "econml")


@dataclass(frozen=True, slots=True)
class Measured:
    """An analysed experiment."""

    experiment: Experiment
    analysis: Analysis


def is_specification(target: str) -> bool:
    """Whether a target names a file rather than a key."""
    return target.endswith((".yaml", ".yml")) or Path(target).is_file()


def measure(target: str, draws: Path | None = None) -> Measured:
    """Analyse a registered experiment, or a specification that brings its results along.

    ``draws`` is a folder for posterior draws.
    """
    if is_specification(target):
        return measure_specification(Path(target), draws)
    from console.workspace import Workspace

    return measure_registered(Workspace.find(), target, draws)


def measure_specification(path: Path, draws: Path | None = None) -> Measured:
    """Analyse the unit table that a specification points at; no registry is needed."""
    from console.draws import located
    from designs.specification import load_experiment

    experiment = load_experiment(path)
    if experiment.source is None:
        found = _measure_revised(experiment, path, draws)
    else:
        registered, exploratory = _standing(experiment, path)
        found = _measure_brought(
            experiment, path.parent, registered=registered, exploratory=exploratory, draws=draws
        )
    analysis = located(found.analysis, None if draws is None else str(draws))
    return dataclasses.replace(found, analysis=analysis)


def measure_registered(workspace: Workspace, key: str, draws: Path | None = None) -> Measured:
    """Analyse a running or concluded experiment under the plan frozen at its start.

    Results brought along are read from where the registered specification says they are.
    """
    from console.draws import with_draws
    from designs.registry import Registry

    with Registry(workspace.registry_url) as registry:
        entry = registry.get(key)
    base = None if entry.experiment.source is None else _folder_of(workspace, entry)

    def run(folder: Path | None) -> Analysis:
        experiment = entry.experiment
        if base is None:
            return _measure_assigned(workspace, experiment, folder).analysis
        return _measure_brought(
            experiment, base, registered=True, exploratory=False, draws=folder
        ).analysis

    return Measured(entry.experiment, with_draws(workspace, entry, draws, run))


def _measure_brought(
    experiment: Experiment,
    base: Path,
    *,
    registered: bool,
    exploratory: bool,
    draws: Path | None,
) -> Measured:
    """Analyse results brought along; paths are relative to ``base``, tables in its workspace."""
    from console.workspace import Workspace
    from measure.engine.connection import connect
    from measure.engine.units import open_source

    source = experiment.source
    if source is None:
        raise InputError(f"{experiment.key}: source: is missing, so there are no results to read.")
    with Workspace.find(base).connect() if source.table else connect() as engine:
        if experiment.switchback is not None:
            from console.designed import analyse_switchback

            analysis, data_hash = analyse_switchback(engine, experiment, base)
            return _with_provenance(
                experiment, analysis, data_hash, registered=registered, exploratory=exploratory
            )
        units = open_source(engine, source, experiment.analysis_plan(), base)
        return _analyse(
            experiment, units, registered=registered, exploratory=exploratory, draws=draws
        )


def _folder_of(workspace: Workspace, entry: Entry) -> Path:
    """The folder that the source of a started experiment is relative to.

    It is that of its specification, which is looked for in the workspace and its ``experiments``;
    the registry knows what was written, not where the file lies.
    """
    from designs.registry import Registry
    from designs.specification import load_experiment

    key, source, root = entry.key, entry.experiment.source, workspace.root
    if entry.started_at is None:
        rule = "was not started, so no plan is frozen"
        way_out = f"Run `truelift start {key}`, or name the file: truelift analyze SPEC.yaml"
        raise InputError.rule("KEY", key, rule, way_out)
    if source is None or source.path is None or Path(source.path).is_absolute():
        return root
    folders = []
    with Registry(workspace.registry_url) as registry:
        for path in sorted([*root.glob("*.y*ml"), *root.glob("experiments/*.y*ml")]):
            try:
                same = registry.is_as_registered(key, load_experiment(path))
            except InputError:  # a file that cannot be read is not the registered one
                continue
            if same:
                folders.append(path.parent)
    if len({(folder / source.path).resolve() for folder in folders}) == 1:
        return folders[0]
    found = "none is" if not folders else "several are"
    raise InputError(
        f"{key}: source.path == {source.path!r} is relative to the specification, and of the files "
        f"in {root} and experiments/ {found} the registered one. Name it: truelift analyze "
        "SPEC.yaml"
    )


def assigned_units(engine: Engine, experiment: Experiment) -> UnitTable:
    """Return the unit table of a registry-run experiment: assignments and their outcomes."""
    from measure.engine.units import unit_table

    plan = experiment.analysis_plan()
    outcomes = assigned_outcomes(engine, experiment)
    own = "unit_id" if experiment.balance else None  # ids say which unit is drawn again
    return unit_table(engine, outcomes, "arm", plan, id_column=own)


def assigned_outcomes(engine: Engine, experiment: Experiment) -> Table:
    """Return outcomes with one row per unit of randomisation: a customer, or a cluster of them."""
    from measure.journeys.outcomes import unit_outcomes

    plan = experiment.analysis_plan()
    if experiment.switchback is not None:
        raise InputError(
            f"{experiment.key}: blocks of time were assigned, not customers. Bring one row per "
            "unit and block along with source: {path, arm}; docs/assignment.md says how."
        )
    for table in ("assignments", "conversions"):
        if not engine.has(table):
            raise MissingFile.at(f"table {table}", f"Load it with `truelift load {table} FILE…`.")
    outcomes = unit_outcomes(
        engine,
        experiment.key,
        plan.window_days or 28,
        numeric=plan.covariates,
        campaigns=_exposing(engine, experiment),
        columns=[column for metric in plan.metrics for column in metric.columns],
    )
    if experiment.cluster is None:
        return outcomes
    from designs.assignment.population import cluster_keys, recorded_time
    from measure.journeys.clusters import cluster_outcomes

    at = recorded_time(engine, experiment.key)
    return cluster_outcomes(engine, outcomes, cluster_keys(engine, experiment.cluster, at))


def _exposing(engine: Engine, experiment: Experiment) -> tuple[str, ...]:
    """Campaigns whose touches say who was reached, where the plan asks for that column.

    An attribute of the customers with the same name stands for itself.
    """
    from measure.journeys.outcomes import EXPOSED

    if experiment.exposure != EXPOSED:
        return ()
    if engine.has("customers") and EXPOSED in engine.table("customers").columns:
        return ()
    if not experiment.campaigns:
        raise InputError(
            f"{experiment.key}: exposure: {EXPOSED} counts the touches of the campaigns under "
            "test, and campaigns: is empty. Name them."
        )
    return experiment.campaigns


def versions() -> Mapping[str, str]:
    """Versions of the packages that a number depends on."""
    from importlib.metadata import version

    return {name: version(name) for name in PACKAGES}


def _standing(experiment: Experiment, path: Path) -> tuple[bool, bool]:
    """Whether results brought along are those of an experiment that was started, and beyond it."""
    from console.workspace import Workspace
    from designs.registry import Registry

    try:
        workspace = Workspace.find(path.resolve().parent)
    except MissingFile:
        return False, False
    with Registry(workspace.registry_url) as registry:
        started = {entry.key for entry in registry.entries() if entry.started_at}
        if experiment.key not in started:
            return False, False
        return True, not registry.is_as_registered(experiment.key, experiment)


def _measure_revised(experiment: Experiment, path: Path, draws: Path | None) -> Measured:
    """Analyse a registered experiment by a plan other than the frozen one: exploratory."""
    from console.workspace import Workspace
    from designs.registry import Registry

    try:
        workspace = Workspace.find(path.parent)
        with Registry(workspace.registry_url) as registry:
            registry.get(experiment.key)
    except InputError as error:
        raise InputError(
            f"{path}: source: is missing, so there are no results to read. Point it at a file or "
            f"table, or run `truelift register {path}` in a workspace."
        ) from error
    return _measure_assigned(workspace, experiment, draws)


def _measure_assigned(workspace: Workspace, experiment: Experiment, draws: Path | None) -> Measured:
    """Analyse what was assigned; whatever is not the frozen plan is labelled exploratory.

    Only units with consent to be measured are analysed; who is left out is compared between arms.
    """
    from console.accounting import period_of
    from console.draws import without_draws
    from console.gates import people_checks, report_gate
    from designs.registry import Registry
    from measure.incrementality.left_out import with_checks

    with Registry(workspace.registry_url) as registry:
        entry = registry.get(experiment.key)
        planned = registry.is_as_registered(experiment.key, experiment)
    with workspace.connect() as engine:
        gate = report_gate(engine, period_of(entry).end)
        found = _measure_through(gate, experiment, draws, exploratory=not planned)
        checks = people_checks(gate, experiment)
        analysis = with_checks(found.analysis, checks, experiment.analysis_plan())
        return dataclasses.replace(found, analysis=without_draws(analysis, draws))


def _measure_through(
    gate: Gate, experiment: Experiment, draws: Path | None, *, exploratory: bool
) -> Measured:
    """Analyse the units that the gate lets through."""
    if experiment.allocation is not None:
        analysis = _analyse_allocated(gate.engine, experiment)
        return _with_provenance(
            experiment, analysis, None, registered=True, exploratory=exploratory
        )
    units = assigned_units(gate.engine, experiment)
    found = _analyse(experiment, units, registered=True, exploratory=exploratory, draws=draws)
    if experiment.balance is None:
        return found
    from console.designed import judged_by_redrawing

    # What is drawn again is everybody; only the units that were analysed are then compared.
    analysis = judged_by_redrawing(gate.whole, experiment, units, found.analysis)
    return dataclasses.replace(found, analysis=analysis)


def _analyse_allocated(engine: Engine, experiment: Experiment) -> Analysis:
    """Analyse each cohort with its own shares under these shares, and pool."""
    from designs.assignment.allocation import OTHERS, designed_shares
    from measure.engine.units import unit_table
    from measure.incrementality.stratified import analyze_strata

    allocation = experiment.allocation
    if allocation is None:
        raise InputError(f"{experiment.key}: has no allocation.")
    outcomes = engine.materialize(assigned_outcomes(engine, experiment))
    column = outcomes[allocation.attribute].cast("string")
    listed = list(allocation.shares)

    def units_of(stratum: str, plan: AnalysisPlan) -> UnitTable:
        mine = column == stratum
        if stratum == OTHERS:
            mine = column.isnull() | ~column.isin(listed)
        where = f"the units with {allocation.attribute} {stratum}"
        return unit_table(engine, outcomes.filter(mine), "arm", plan, where=where)

    present = set(engine.fetch(column.name("value").as_table().distinct())["value"].to_pylist())
    shares = designed_shares(experiment, present)
    return analyze_strata(units_of, experiment.analysis_plan(), shares, experiment=experiment.key)


def _analyse(
    experiment: Experiment,
    units: UnitTable,
    *,
    registered: bool,
    exploratory: bool,
    draws: Path | None = None,
) -> Measured:
    """Run the plan and write down where its numbers come from."""
    from console.concluded import learned
    from measure.incrementality import analyze

    plan = experiment.analysis_plan()
    analysis = analyze(
        units,
        plan,
        experiment=experiment.key,
        progress=tell,
        past_effects=learned(experiment),
        draws=draws,
    )
    tell("")
    if experiment.factors:
        from console.designed import with_factors

        analysis = with_factors(experiment, units, analysis)
    return _with_provenance(
        experiment, analysis, units.data_hash, registered=registered, exploratory=exploratory
    )


def _with_provenance(
    experiment: Experiment,
    analysis: Analysis,
    data_hash: str | None,
    *,
    registered: bool,
    exploratory: bool,
) -> Measured:
    plan = experiment.analysis_plan()
    provenance: dict[str, Any] = {
        **analysis.provenance,
        "plan_hash": plan.content_hash(),
        "specification_hash": experiment.content_hash(),
        "data_hash": data_hash,
        "registered": registered,
        "exploratory": exploratory,
        "seed": plan.seed,
        "versions": dict(versions()),
    }
    return Measured(experiment, dataclasses.replace(analysis, provenance=provenance))
