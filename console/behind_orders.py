"""What lies behind orders: every raw row about them, fetched for many orders at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from console.accounting import period_of
from measure.journeys.timeline import Moment, moment_of_row
from measure.results import Attribution

if TYPE_CHECKING:
    from console.workspace import Workspace
    from designs.registry import Entry
    from measure.engine.connection import Engine
    from measure.engine.lineage import Origin
    from measure.journeys.credits import Credited
    from measure.reconcile.flagged import Flag
    from measure.reconcile.sources import Sources


def conversions_of(engine: Engine, wanted: Sequence[str]) -> list[Moment]:
    """All conversion rows of the orders that the ids name."""
    if not engine.has("conversions"):
        return []
    table = engine.table("conversions")
    named = table.filter(table.conversion_id.isin(wanted) | table.order_id.isin(wanted))
    orders = named.select("order_id").distinct()
    rows = engine.fetch(table.semi_join(orders, "order_id")).to_pylist()
    return [moment_of_row("conversions", row) for row in rows]


def touches_of(engine: Engine, ids: Sequence[str], clicks: Sequence[str]) -> list[Moment]:
    """Activations by their id, and those that carry one of these click ids."""
    if not (ids or clicks) or not engine.has("activations"):
        return []
    table = engine.table("activations")
    mine = table.activation_id.isin(sorted(set(ids)))
    if clicks and "click_id" in table.columns:
        mine |= table.click_id.isin(list(clicks))
    return [
        moment_of_row("activations", row) for row in engine.fetch(table.filter(mine)).to_pylist()
    ]


def assignments_of(engine: Engine, customers: Sequence[str]) -> list[Moment]:
    """Arms of customers."""
    if not engine.has("assignments"):
        return []
    table = engine.table("assignments")
    rows = engine.fetch(table.filter(table.unit_id.isin(list(customers)))).to_pylist()
    return [moment_of_row("assignments", row) for row in rows]


def claims_of(sources: Sources, sold: Sequence[Moment]) -> list[tuple[Moment, str]]:
    """Claims on the orders, matched as the checks match them, each with its order."""
    if not sources.has("claims"):
        return []
    orders = {str(m.facts["order_id"]): m.customer_id for m in sold}
    matched = sources.matched_claims
    mine = matched.filter(matched.matched_order.isin(sorted(orders)))
    pairs = sources.engine.fetch(mine.select("claim_id", "matched_order")).to_pylist()
    of = {row["claim_id"]: row["matched_order"] for row in pairs}
    table = sources.engine.table("claims")
    # Claims in another currency match nothing; they are on record under their order all the same.
    named = table.claim_id.isin(sorted(of)) | table.order_id.isin(sorted(orders))
    rows = sources.engine.fetch(table.filter(named)).to_pylist()
    found = []
    for row in rows:
        order = of.get(row["claim_id"]) or row["order_id"]
        found.append((moment_of_row("claims", row, orders[order]), order))
    return found


def credited_of(
    workspace: Workspace, engine: Engine, entry: Entry | None, customers: Sequence[str]
) -> tuple[tuple[Credited, ...], tuple[str, ...]]:
    """Credited touches under the definition of the attribution on record, and what it says."""
    from console.gates import report_gate
    from console.store import read
    from measure.journeys.credits import credited_touches
    from measure.journeys.rules import JourneyRules
    from measure.journeys.tables import RULES

    if not engine.has("activations"):
        return (), ("There is no table activations, so no touch is credited.",)
    period = period_of(entry) if entry else None
    kept = read(workspace.results(entry.key), "attribution", Attribution) if entry else None
    models = tuple(kept.definition["models"]) if kept else RULES
    rules = JourneyRules(
        start=period.start if period else None,
        end=period.end if period else None,
        currency=workspace.settings.currency,
    )
    gate = report_gate(engine, period.end if period else None)
    found = credited_touches(gate.engine, rules, customers, models=models)
    notes = []
    if "markov" in models:
        notes.append("Markov credits belong to the whole of all journeys, never to one conversion.")
    return found, tuple(notes)


def flags_of(sources: Sources, moments: Sequence[Moment]) -> tuple[list[Flag], list[str]]:
    """Checks that flag these rows, and which checks could not be asked."""
    from measure.reconcile.flagged import askable, flags_on

    ids: dict[str, list[str]] = {}
    for moment in moments:
        ids.setdefault(moment.table, []).append(moment.row_id)
    people = sorted({m.customer_id for m in moments if m.customer_id})
    ids |= {"treated units": people, "identities": people}
    candidates, silent = askable(sources)
    flags, _ = flags_on(sources, ids, candidates)
    note = f"Not asked, for what they need is absent: {', '.join(silent)}."
    return flags, [note] if silent else []


def counted_of(engine: Engine, customers: Sequence[str], currency: str) -> dict[str, int]:
    """Net value in minor units of the conversions that count."""
    from measure.journeys.sales import sales

    sold = sales(engine, currency)
    sold = sold.filter(sold.customer_id.isin(list(customers)))
    rows = engine.fetch(sold.select("conversion_id", "net")).to_pylist()
    return {row["conversion_id"]: int(row["net"]) for row in rows}


def metrics_of(
    workspace: Workspace,
) -> dict[str, tuple[Entry, timedelta, tuple[tuple[str, str], ...]]]:
    """Window and metrics (name, column) of every experiment that was started."""
    found = {}
    for entry in _started(workspace):
        plan = entry.experiment.analysis_plan()
        names = tuple((metric.name, metric.column or metric.name) for metric in plan.metrics)
        found[entry.key] = (entry, timedelta(days=plan.window_days or 28), names)
    return found


def entry_of(
    workspace: Workspace, engine: Engine, customers: Sequence[str], key: str | None
) -> Entry | None:
    """The experiment meant: the one named, else the last one started that has these customers."""
    from designs.registry import Registry

    if key is not None:
        with Registry(workspace.registry_url) as registry:
            return registry.get(key)
    arms = {m.facts["experiment"] for m in assignments_of(engine, customers)}
    mine = [entry for entry in _started(workspace) if entry.key in arms]
    long_ago = datetime.min.replace(tzinfo=UTC)
    return max(mine, key=lambda e: (e.start_time or long_ago, e.key), default=None)


def _started(workspace: Workspace) -> list[Entry]:
    from designs.registry import Registry

    with Registry(workspace.registry_url) as registry:
        return [entry for entry in registry.entries() if entry.started_at is not None]


def origins_of(workspace: Workspace, moments: Sequence[Moment]) -> dict[tuple[str, Any], Origin]:
    """Source files of the rows; none where the tables are not in the embedded warehouse."""
    from measure.engine.lineage import origins

    if not workspace.settings.engine.startswith("warehouse:"):
        return {}
    wanted: dict[str, list[Any]] = {}
    for moment in moments:
        wanted.setdefault(moment.table, []).append(moment.key)
    return origins(workspace.warehouse, wanted)
