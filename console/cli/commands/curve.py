"""`curve`: the effect in each period, up to each period, and whether it fades."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from console.cli.output import MARKS, check_destination, deliver, table
from measure.errors import InputError

if TYPE_CHECKING:
    from measure.incrementality.over_time import Curve, Curves, PeriodEffect
    from reports.numbers import Number

_VERDICTS = {
    "fading": "the effect fades",
    "growing": "the effect grows",
    "turning": "the effect moves, and overall it is not known to be above or below zero",
    "steady": "no change of the effect is shown; it may still change",
    "unknown": "whether the effect changes is not known",
}


def curve(
    target: str,
    *,
    by: Literal["day", "week", "month"] | None,
    metric: str | None,
    until: str | None,
    acting: str | None,
    json: str | None,
) -> None:
    """Follow the effect through time."""
    from console.curving import curves

    check_destination(json)
    found = curves(target, by=by, metric=metric, until=_moment(until), acting=acting)
    deliver(found.to_dict(), json, describe(found))


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise InputError.rule("--until", text, "must be a time such as 2026-03-01T00:00Z") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def describe(found: Curves) -> list[str]:
    """One table per metric and arm, then what the novelty test says."""
    lines = [f"{found.experiment}: {found.status}"]
    if found.until is not None:
        lines.append(f"conversions are on record until {found.until:%Y-%m-%d %H:%M} UTC")
    lines += [f"  {MARKS[c.outcome]} {c.code:<4} {c.message}" for c in found.checks]
    for one in found.curves:
        lines += ["", *_lines(one, found)]
    level = f"{100 * found.ci_level:g}"
    lines += [
        "",
        f"Intervals are pointwise: {level} % for one period chosen beforehand. Bands hold for all",
        f"{len(found.curves[0].periods)} periods of a column at once (Bonferroni).",
        *(f"{note}." for note in found.notes),
    ]
    return lines


def _lines(one: Curve, found: Curves) -> list[str]:
    heads = (found.by, "effect", "interval", "band", "cumulative", "interval", "band", "left out")
    rows = [
        (each.label, *_shown(each), *_shown(upto), f"{each.left_out:,}")
        for each, upto in zip(one.periods, one.cumulative, strict=True)
    ]
    title = f"{one.metric}, {one.arm} against {one.control}"
    return [
        title,
        *table(heads, rows),
        *_notes((*one.periods, *one.cumulative)),
        f"change per {found.by}: {_with_p(one.trend)}",
        f"late half minus early half: {_with_p(one.late)}",
        f"{_VERDICTS[one.verdict]} ({one.trend.n_control + one.trend.n_arm:,} units cover all "
        f"periods, {one.trend.left_out:,} do not)",
    ]


def _notes(effects: Sequence[PeriodEffect]) -> list[str]:
    """Say once what several periods have in common."""
    said: dict[str, list[str]] = {}
    for effect in effects:
        if effect.note:
            said.setdefault(effect.note, []).append(effect.label)
    return [
        f"  {labels[0] if len(labels) == 1 else f'{len(labels)} cells'}: {note}"
        for note, labels in said.items()
    ]


def _shown(effect: PeriodEffect) -> tuple[str, str, str]:
    from reports.numbers import decimals_for, interval, number

    if effect.value is None:
        return str(effect.status), "–", "–"
    places = decimals_for(effect.se)

    def write(value: Number) -> str:
        return number(value, places, signed=True)

    return (
        write(effect.value),
        interval(effect.ci_low, effect.ci_high, write),
        interval(effect.band_low, effect.band_high, write),
    )


def _with_p(effect: PeriodEffect) -> str:
    from reports.numbers import p_value

    if effect.p_value is None:
        return f"{effect.status}: {effect.note}"
    value, bounds, _ = _shown(effect)
    noted = f"; {effect.note}" if effect.note else ""
    return f"{value} ({bounds}), p {p_value(effect.p_value)}{noted}"
