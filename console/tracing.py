"""From a conversion down to every raw row that touches it, and up to the figures it is part of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from console.accounting import reconciliation_inputs
from console.behind_orders import (
    assignments_of,
    claims_of,
    conversions_of,
    counted_of,
    credited_of,
    entry_of,
    flags_of,
    metrics_of,
    origins_of,
    touches_of,
)
from console.following import GivenArm, given_arms, may_be_measured, without_contacts
from measure.errors import InputError
from measure.journeys.timeline import Moment, iso
from measure.results import SCHEMA_VERSION, Result

if TYPE_CHECKING:
    from console.workspace import Workspace
    from designs.registry import Entry
    from measure.engine.connection import Engine
    from measure.engine.lineage import Origin
    from measure.journeys.credits import Credited
    from measure.reconcile.flagged import Flag


@dataclass(frozen=True, slots=True)
class TracedRow:
    """A raw row, with the file that brought it where the warehouse is the embedded one."""

    moment: Moment
    origin: Origin | None

    def to_dict(self) -> dict[str, Any]:
        """Table, row id, time, facts, source file and content hash."""
        return {
            **self.moment.to_dict(),
            "source_file": self.origin.source_file if self.origin else None,
            "sha256": self.origin.sha256 if self.origin else None,
        }


@dataclass(frozen=True, slots=True)
class Figure(Result):
    """A figure of the results that the conversion is part of, and with how much.

    ``result`` is ``metric``, ``credit`` or ``bridge``, ``name`` which one, ``part`` its own
    part of that in ``unit`` (``conversions``, or minor units of a currency).
    """

    result: str
    name: str
    part: float
    unit: str


@dataclass(frozen=True, slots=True)
class Trace:
    """All that touches one order."""

    order_id: str
    experiment: str | None
    measured: bool
    rows: tuple[TracedRow, ...]
    arms: tuple[GivenArm, ...]
    credits: Mapping[str, Mapping[str, float]]
    """Shares by activation and model."""
    clocks: Mapping[str, Mapping[str, Any]]
    """Window and clock facts by claim."""
    flags: tuple[Flag, ...]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """One entry of the ``trace`` JSON document."""
        found: dict[str, Any] = without_contacts(
            {
                "order_id": self.order_id,
                "experiment": self.experiment,
                "measured": self.measured,
                "rows": [self._row(row) for row in self.rows],
                "arms": [arm.to_dict() for arm in self.arms],
                "checks": [flag.to_dict() for flag in self.flags],
                "figures": [figure.to_dict() for figure in self.figures],
                "notes": list(self.notes),
            }
        )
        return found

    def _row(self, row: TracedRow) -> dict[str, Any]:
        moment = row.moment
        return {
            **row.to_dict(),
            "credits": dict(self.credits[moment.row_id])
            if moment.table == "activations" and moment.row_id in self.credits
            else None,
            "clock": dict(self.clocks[moment.row_id]) if moment.table == "claims" else None,
        }


def trace(workspace: Workspace, wanted: str, key: str | None = None) -> tuple[Trace, ...]:
    """Trace a conversion id or an order id; one trace per order.

    ``key`` names the experiment whose attribution and bridge are meant; else it is the last one
    started that the customer is part of. :class:`InputError` when nothing of this id is on record.
    """
    with workspace.connect() as engine:
        found = trace_orders(workspace, engine, [wanted], key)
    if not found:
        raise InputError(
            "no conversion and no order of this id is on record. Give a conversion_id or an "
            "order_id as it stands in table conversions."
        )
    return found


def document(asked: str, traces: Sequence[Trace]) -> dict[str, Any]:
    """The ``trace`` JSON document."""
    return {
        "schema_version": SCHEMA_VERSION,
        "asked": without_contacts(asked),
        "orders": [one.to_dict() for one in traces],
    }


def trace_orders(
    workspace: Workspace, engine: Engine, wanted: Iterable[str], key: str | None = None
) -> tuple[Trace, ...]:
    """Trace all orders that these conversion or order ids name, in the order of the order ids.

    The queries are as many for a thousand conversions as for one.
    """
    from measure.reconcile.sources import Sources

    sold = conversions_of(engine, sorted(set(wanted)))
    if not sold:
        return ()
    customers = sorted({row.customer_id for row in sold})
    entry = entry_of(workspace, engine, customers, key)
    sources = Sources(
        engine, **reconciliation_inputs(workspace, engine, entry.key if entry else None)
    )
    claims = claims_of(sources, sold)
    credited, definition = credited_of(workspace, engine, entry, customers)
    named = (*sold, *(m for m, _ in claims))
    clicks = {str(m.facts["click_id"]) for m in named if "click_id" in m.facts}
    touches = touches_of(engine, [c.activation_id for c in credited], sorted(clicks))
    arms = assignments_of(engine, customers)
    everything = [*sold, *(m for m, _ in claims), *touches, *arms]
    flags, notes = flags_of(sources, everything)
    tracing = _Tracing(
        sold=sold,
        claims=claims,
        credited=credited,
        touches={m.row_id: m for m in touches},
        arms=arms,
        given=given_arms(workspace, engine, arms),
        flags=flags,
        origins=origins_of(workspace, everything),
        counted=counted_of(engine, customers, sources.currency),
        metrics=metrics_of(workspace),
        measured=may_be_measured(engine, customers),
        entry=entry,
        currency=sources.currency,
        notes=(*definition, *notes),
    )
    orders = dict.fromkeys(str(m.facts["order_id"]) for m in sold)
    return tuple(tracing.order(order) for order in sorted(orders))


@dataclass(frozen=True, slots=True)
class _Tracing:
    """What was fetched for all orders at once, and how one order is cut out of it."""

    sold: Sequence[Moment]
    claims: Sequence[tuple[Moment, str]]
    credited: Sequence[Credited]
    touches: Mapping[str, Moment]
    arms: Sequence[Moment]
    given: Sequence[GivenArm]
    flags: Sequence[Flag]
    origins: Mapping[tuple[str, Any], Origin]
    counted: Mapping[str, int]
    """Net value of the conversions that metrics and credits count."""
    metrics: Mapping[str, tuple[Entry, timedelta, tuple[tuple[str, str], ...]]]
    measured: frozenset[str]
    entry: Entry | None
    currency: str
    notes: tuple[str, ...]

    def order(self, order: str) -> Trace:
        """Cut one order out."""
        sold = [m for m in self.sold if m.facts["order_id"] == order]
        ids = {m.row_id for m in sold}
        buyers = {m.customer_id for m in sold}
        claims = [m for m, matched in self.claims if matched == order]
        mine = [c for c in self.credited if c.conversion_id in ids]
        arms = [m for m in self.arms if m.customer_id in buyers]
        clicks = {m.facts.get("click_id") for m in (*sold, *claims)} - {None}
        ours = {c.activation_id for c in mine}
        touches = [
            m
            for m in self.touches.values()
            if m.row_id in ours or m.facts.get("click_id") in clicks
        ]
        moments = [*sold, *claims, *touches, *arms]
        keys = {(m.table, m.row_id) for m in moments}
        flags = tuple(
            f
            for f in self.flags
            if (f.table, f.row_id) in keys
            or (f.table in {"treated units", "identities"} and f.row_id in buyers)
        )
        moments.sort(key=lambda m: (m.at, m.table, m.row_id))
        return Trace(
            order_id=order,
            experiment=self.entry.key if self.entry else None,
            measured=bool(buyers & self.measured),
            rows=tuple(TracedRow(m, self.origins.get((m.table, m.key))) for m in moments),
            arms=tuple(g for g in self.given if g.customer_id in buyers),
            credits={c.activation_id: c.shares for c in mine},
            clocks={m.row_id: _clock(m, sold) for m in claims},
            flags=flags,
            figures=(
                *self._in_metrics(sold, arms),
                *self._in_credits(mine),
                *self._in_bridge(claims, flags),
            ),
            notes=self._notes(sold, mine),
        )

    def _in_metrics(self, sold: Sequence[Moment], arms: Sequence[Moment]) -> Iterable[Figure]:
        for conversion in sold:
            if conversion.row_id not in self.counted or conversion.customer_id not in self.measured:
                continue
            for arm in arms:
                key = str(arm.facts["experiment"])
                if key not in self.metrics or arm.customer_id != conversion.customer_id:
                    continue
                _, window, names = self.metrics[key]
                if arm.at <= conversion.at < arm.at + window:
                    yield from self._metric(conversion, key, str(arm.facts["arm"]), names)

    def _metric(
        self, conversion: Moment, key: str, arm: str, names: Sequence[tuple[str, str]]
    ) -> Iterable[Figure]:
        part = {
            "conversion": (1.0, "conversions"),
            "orders": (1.0, "conversions"),
            "revenue": (float(conversion.facts["value"]), self.currency),
            "net_revenue": (float(self.counted[conversion.row_id]), self.currency),
        }
        for name, column in names:
            if column in part:
                yield Figure("metric", f"{key} / {arm} / {name}", *part[column])

    def _in_credits(self, mine: Sequence[Credited]) -> Iterable[Figure]:
        sums: dict[tuple[str, str], float] = {}
        for touch in mine:
            for model, share in touch.shares.items():
                sums[model, touch.channel] = sums.get((model, touch.channel), 0.0) + share
        for (model, channel), share in sorted(sums.items()):
            if share:
                yield Figure("credit", f"{model} / {channel}", share, "conversions")

    def _in_bridge(self, claims: Sequence[Moment], flags: Sequence[Flag]) -> Iterable[Figure]:
        from measure.reconcile.bridge import CLAIMED
        from measure.reconcile.flagged import bridge_of_claims

        ours = [m for m in claims if m.facts["currency"] == self.currency]
        values = {m.row_id: int(m.facts["value"]) for m in ours}
        for claim, steps in bridge_of_claims(values, flags).items():
            yield Figure("bridge", f"{claim} / {CLAIMED}", float(values[claim]), self.currency)
            for step, money in steps:
                yield Figure("bridge", f"{claim} / {step}", float(money), self.currency)

    def _notes(self, sold: Sequence[Moment], mine: Sequence[Credited]) -> tuple[str, ...]:
        notes = list(self.notes)
        uncounted = [m.row_id for m in sold if m.row_id not in self.counted]
        if uncounted:
            notes.append(
                f"{', '.join(uncounted)}: no metric and no credit counts it; it is cancelled, a "
                "test, internal, in another currency, or a repeat of its order."
            )
        if not mine:
            notes.append("No touch is credited with it: none in the window, or it is not counted.")
        return tuple(notes)


def _clock(claim: Moment, sold: Sequence[Moment]) -> dict[str, Any]:
    """What the clocks say of a claim: its window, and how far it lies from the order's own time."""
    touched = claim.facts["touched_at"]
    seconds = (claim.at - touched).total_seconds()
    allowed = int(claim.facts["window_days"]) * 86_400
    first = min(sold, key=lambda m: (m.at, m.row_id))
    return {
        "touched_at": iso(touched),
        "converted_at": iso(claim.at),
        "seconds_from_touch": seconds,
        "seconds_allowed": allowed,
        "inside_window": 0 <= seconds <= allowed,
        "seconds_after_order": (claim.at - first.at).total_seconds(),
    }
