"""The whole loop on the demo's world, through the same steps that a workspace offers anybody."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from console.demo.comparing import (
    Demonstration,
    TruthRow,
    defect_rows,
    loading_rows,
    quantity_rows,
)
from console.demo.setting import CURRENCY, EXPERIMENT, START, TREATMENT
from measure.errors import InputError

if TYPE_CHECKING:
    from console.demo.files import DataFile
    from console.demo.people import People
    from console.demo.truth import Truth
    from console.workspace import Workspace
    from measure.engine.loading import LoadReport
    from measure.value import Value

Step = Callable[[str], AbstractContextManager[None]]
MARKER = ".truelift-demo"
"""Marks a folder that a demo may overwrite."""
REGISTERED = START - timedelta(days=7)
"""When the design was written down, approved and started, in the world's own time."""
PEOPLE = {"Ana": "analyst", "Finn": "finance", "Mo": "modeler"}
"""Ana designs and starts, Finn approves; whoever runs the demo is an analyst as well."""


def run(folder: Path, *, seed: int, customers: int, step: Step) -> Demonstration:
    """Build, register, assign, load, analyse, attribute, reconcile, report; compare with truth."""
    from console.demo import build_people, simulate, truth_of, write_files, write_people

    workspace = _fresh_workspace(folder)
    with step(f"{customers:,} customers, seed {seed}"):
        people = build_people(customers, seed)
        files = write_people(people, workspace.root / "files")
        reports = _load(workspace, files)
    with step("experiment registered, approved, started and assigned"):
        arms = _assign(workspace, people)
    with step("four weeks of touches, orders, claims and bills"):
        world = simulate(people, arms)
        later = write_files(world, workspace.root / "files", with_people=False)
        truth = truth_of(world)
    with step(f"{sum(file.read for file in later):,} rows loaded exactly once"):
        reports += _load(workspace, later)
    return Demonstration(*_measure(workspace, truth, (*files, *later), reports, step))


def _fresh_workspace(folder: Path) -> Workspace:
    """An empty workspace; an earlier demo in the folder is replaced, anything else is refused."""
    from console.workspace import Workspace, account

    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise InputError(f"{folder} is not empty and no earlier demo. Name another folder.")
        shutil.rmtree(folder)
    people = {**PEOPLE, account(): "analyst"}
    workspace = Workspace.create(
        folder,
        time_zone="UTC",
        currency=CURRENCY,
        approvals="required",
        people=people,
    )
    (folder / MARKER).write_text("Made by `truelift demo`; the next demo here replaces it.\n")
    return workspace


def _assign(workspace: Workspace, people: People) -> list[str]:
    """Arms by the product, in the order of the people."""
    from console.assigning import assign_population
    from designs.specification import load_experiment

    spec = workspace.root / "experiments" / f"{EXPERIMENT}.yaml"
    shutil.copyfile(Path(__file__).with_name("winback.yaml"), spec)
    text = spec.read_text(encoding="utf-8")
    with workspace.open_registry(clock=lambda: REGISTERED) as registry:
        registry.register(text, load_experiment(spec), by="Ana")
        registry.submit(EXPERIMENT, by="Ana")
        registry.approve(EXPERIMENT, by="Finn", reason="A tenth is held back; the rule is fixed.")
        entry = registry.start(EXPERIMENT, by="Ana")
    assign_population(workspace, entry)
    with workspace.connect() as engine:
        rows = engine.fetch(engine.table("assignments").select("unit_id", "arm"))
    arms = dict(zip(rows["unit_id"].to_pylist(), rows["arm"].to_pylist(), strict=True))
    return [arms[unit] for unit in people.customer_id.to_pylist()]


def _load(workspace: Workspace, files: tuple[DataFile, ...]) -> list[LoadReport]:
    from measure.engine.loading import Warehouse

    warehouse = Warehouse(workspace.warehouse)
    return [report for file in files for report in warehouse.load(file.table, [file.path])]


def _measure(
    workspace: Workspace,
    truth: Truth,
    files: tuple[DataFile, ...],
    reports: list[LoadReport],
    step: Step,
) -> tuple[str, tuple[TruthRow, ...]]:
    from console.accounting import attribute_workspace, reconcile_workspace
    from console.measuring import measure_registered
    from console.publishing import publish
    from console.store import save

    results = workspace.results(EXPERIMENT)
    with step("checks and four estimators per metric, arm and cohort"):
        measured = measure_registered(workspace, EXPERIMENT)
        save(results, "analysis", measured.analysis)
    with step("credits of channels under five definitions"):
        save(results, "attribution", attribute_workspace(workspace, EXPERIMENT))
    with step("logs and claims against orders"):
        reconciliation = reconcile_workspace(workspace, EXPERIMENT)
    with workspace.open_registry() as registry:
        registry.conclude(EXPERIMENT, measured.analysis.to_dict(), by="Ana")
    with step("pages"):
        page = publish(workspace, out=None, synthetic=True)
    return str(page), (
        *quantity_rows(truth, measured.analysis, _value(workspace), TREATMENT),
        *defect_rows(truth, reconciliation.checks),
        *loading_rows(files, reports),
    )


def _value(workspace: Workspace) -> Value:
    from console.accounting import valued_experiment

    return valued_experiment(workspace, EXPERIMENT)[TREATMENT].value
