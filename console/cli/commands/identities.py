"""`identities`: persons among customers, and effects over links."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from console.cli.output import check_destination, deliver, table
from measure.errors import InputError

if TYPE_CHECKING:
    from console.identifying import AtThreshold, Identities, LinkedEffects
    from measure.results import Estimate


def identities(
    spec: Path | None, *, probability: str | None, acting: str | None, json: str | None
) -> None:
    """Summarise the identity graph, or follow an effect over thresholds of match probability."""
    from console.identifying import identities_of, linked_effects_of
    from console.permission import permit, permit_around
    from console.workspace import Workspace
    from designs.registry.access import Action
    from measure.people.linkage import THRESHOLDS

    check_destination(json)
    if (spec is None) != (probability is None):
        raise InputError("SPEC.yaml and --probability go together: name both, or neither.")
    if spec is not None and probability is not None:
        permit_around(spec.resolve().parent, Action.ANALYZE, acting)
        effects = linked_effects_of(spec, probability, THRESHOLDS)
        deliver(effects.to_dict(), json, describe_effects(effects))
        return
    workspace = Workspace.find()
    permit(workspace, Action.RECONCILE, acting=acting)
    found = identities_of(workspace)
    deliver(found.to_dict(), json, describe(found))


def describe(found: Identities) -> list[str]:
    """Persons, what made them and what did not, then one row per threshold."""
    lines = [
        f"{found.persons:,} persons among {found.customers:,} customers; "
        f"the largest has {found.largest:,} ids",
        f"  joined: {_listed(found.merges)}",
        f"  refused, for they are different people: {_listed(found.conflicts)}",
        f"  identifiers that too many carry, which join nobody: {_listed(found.shared)}",
    ]
    if not found.thresholds:
        return [*lines, "no links: without table links nothing is joined by likeness"]
    people = ("links of at least", "links", "expected wrong", "persons", "refused")
    credit = ("orders credited", "value", "expected wrong")
    rows = [_row(each) for each in found.thresholds]
    return [*lines, "", *table((*people, *credit), rows)]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} by {name}" for name, n in counts.items()) or "none"


def _row(each: AtThreshold) -> tuple[str, ...]:
    from measure.reconcile.check import money_text

    row = (
        f"{each.threshold:g}",
        f"{each.links:,}",
        f"{each.expected_wrong_links:,.1f}",
        f"{each.persons:,}",
        f"{each.conflicts:,}",
    )
    credited = each.credited
    if credited is None:
        return (*row, "–", "–", "–")
    money = (money_text(m, credited.currency) for m in (credited.value, credited.expected_wrong))
    return (*row, f"{credited.orders:,}", *money)


def describe_effects(found: LinkedEffects) -> list[str]:
    """One row per threshold, metric and arm: as reported, and corrected for wrong links."""
    whose = ("metric", "arm", "p at least", "units", "wrong links")
    effect = ("effect", "interval", "corrected", "interval")
    rows = []
    for each in found.effects:
        start = (f"{each.threshold:g}", f"{each.units:,}", f"{100 * each.wrong.share:.1f} %")
        if not each.estimates:
            rows.append(("–", "–", *start, str(each.status), "–", "–", "–"))
        for one, right in zip(each.estimates, each.corrected, strict=True):
            rows.append((one.metric, one.arm, *start, *_shown(one), *_shown(right)))
    return [found.experiment, *table((*whose, *effect), rows, left=2)]


def _shown(estimate: Estimate) -> tuple[str, str]:
    from reports.numbers import Number, decimals_for, interval, number

    if estimate.value is None:
        return str(estimate.status), "–"
    places = decimals_for(estimate.se)

    def write(value: Number) -> str:
        return number(value, places, signed=True)

    return write(estimate.value), interval(estimate.ci_low, estimate.ci_high, write)
