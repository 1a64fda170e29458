"""Warnings before a test runs, each a check with a code; ``docs/planning.md`` explains them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from designs.planning.results import Curse, DurationPoint, Money, Peeking, Precision, Season
from measure.incrementality.sequential import NEAR
from measure.incrementality.small_holdout import MIN_UNITS
from measure.methods import Sequential
from measure.results import Check, Outcome, Severity

if TYPE_CHECKING:
    from designs.experiment import Experiment
    from designs.planning.assumptions import Assumptions
    from designs.planning.history import History

EXAGGERATED = 1.5
MANY_TESTS = 5
FEW_EVENTS = 50
UNUSUAL_SEASON = 1.25
MOST_MISSING = 0.05
_TITLES = {
    "P1": "Power",
    "P2": "Holdout",
    "P3": "Small holdout",
    "P4": "Overlap with other tests",
    "P5": "Season",
    "P6": "Winner's curse",
    "P7": "Many tests",
    "P8": "Looking before the end",
    "P9": "Cost of the holdout",
    "P10": "History",
}


def power_check(leading: Sequence[Precision], assumptions: Assumptions) -> Check:
    """P1: the expected lift is found less often than wanted."""
    known = [p for p in leading if p.power is not None]
    if not known:
        return _absent("P1", "no power could be computed; see P3 and the notes of the comparisons")
    weak = [p for p in known if (p.power or 0.0) < assumptions.power]
    if not weak:
        return _passed("P1", f"the expected lift is found with at least {assumptions.power:.0%}")
    worst = min(weak, key=lambda p: p.power or 0.0)
    more = (
        f"; {worst.units_needed:,} units in all would do"
        if worst.units_needed
        else "; how many units would do is not known"
    )
    message = (
        f"the expected lift would be found with {worst.power:.0%} in arm {worst.arm!r}, "
        f"{assumptions.power:.0%} is wanted{more}"
    )
    return _flagged("P1", message, evidence=[_facts(p) for p in weak])


def holdout_check(experiment: Experiment, leading: Sequence[Precision]) -> Check:
    """P2: too few units are held out to compare with, or none of all programmes together."""
    fewest = min((p.n_control for p in leading), default=0)
    if fewest < MIN_UNITS:
        message = f"{fewest} units in {experiment.control!r}; without a holdout nothing is measured"
        return _flagged("P2", message, Severity.STOP)
    if experiment.source is None and not experiment.standing_holdouts:
        message = (
            f"{fewest:,} units are held out of this programme, none of all programmes together; a "
            "global holdout would measure their sum"
        )
        return _flagged("P2", message, Severity.NOTE)
    return _passed("P2", f"{fewest:,} units are held out")


def small_check(precision: Sequence[Precision]) -> Check:
    """P3: the analysis will switch to permutation, or refuse."""
    refused = [p for p in precision if p.method == "refuse"]
    dealt = [p for p in precision if p.method == "permutation"]
    evidence = [{**_facts(p), "note": p.note} for p in [*refused, *dealt]]
    if any(p.role == "primary" for p in refused):
        names = _names(refused)
        message = f"the analysis will refuse to estimate {names}: {refused[0].note}"
        return _flagged("P3", message, Severity.STOP, evidence)
    if refused or dealt:
        what = "a permutation test instead of a normal approximation" if dealt else "no estimate"
        message = f"too small or too skewed for the normal approximation: {what} for "
        return _flagged("P3", message + _names([*refused, *dealt]), evidence=evidence)
    return _passed("P3", "the normal approximation holds in each tail for every comparison")


def overlap_check(experiment: Experiment, others: Iterable[Experiment]) -> Check:
    """P4: another test acts on the same people at the same time in the same channel."""
    if experiment.source is not None:
        return _absent("P4", "results are brought along; no registry knows who else acted on them")
    found = [other for other in others if other.key != experiment.key]
    clashes = [(other, _shared(experiment, other)) for other in found]
    harmful = [(other, why) for other, why in clashes if why]
    if not harmful:
        return _passed("P4", f"none of {len(found)} other tests meets it")
    names = ", ".join(other.key for other, _ in harmful)
    message = f"{names}: the same people, period and channel; give both a slot of one layer"
    return _flagged("P4", message, evidence=[{"test": o.key, "shares": why} for o, why in harmful])


def season_check(
    experiment: Experiment,
    history: History,
    season: Season | None,
    duration: Sequence[DurationPoint],
) -> Check:
    """P5: part of a week counts double, or the test falls into an unusual season."""
    window = experiment.plan.window_days
    if window is None:
        return _absent("P5", "the unit table does not say how long outcomes count")
    faults = []
    if window % 7:
        faults.append(f"{window} days are not whole weeks, so some weekdays count more than others")
    if window < 14:
        faults.append("less than two weeks cannot tell novelty from effect")
    faults += _turn_of_year(experiment, window)
    ratio = history.same_season
    if ratio is not None and not 1 / UNUSUAL_SEASON <= ratio <= UNUSUAL_SEASON:
        faults.append(f"a year before, orders in these days were {ratio:.2f} of the usual level")
    if faults:
        return _flagged("P5", "; ".join(faults))
    known = "" if season is None else f"; {season.weeks} whole weeks were read"
    if season is not None and season.weekly is not None:
        known += f", weekdays explain {season.weekly:.0%} of what is not trend"
    reach = f", {len(duration)} durations compared" if duration else ""
    return _passed("P5", f"whole weeks, no unusual season{known}{reach}")


def curse_check(found: Curse | None) -> Check:
    """P6: a significant result would overstate the effect."""
    if found is None:
        return _absent("P6", "no lift is expected, or the analysis will refuse")
    wrong = "under 0.1%" if found.wrong_sign < 0.001 else f"{found.wrong_sign:.1%}"
    message = (
        f"if the true lift is {found.lift:+.1%}, a significant estimate is on average "
        f"{found.exaggeration:.1f} times as large, and {wrong} have the wrong sign"
    ).replace("-", "−")
    if found.exaggeration < EXAGGERATED and found.wrong_sign < 0.01:
        return _passed("P6", message)
    return _flagged("P6", message)


def many_check(experiment: Experiment, alpha: float) -> Check:
    """P7: so many tests that one of them is positive by chance."""
    metrics = [metric for metric in experiment.metrics if metric.role != "guardrail"]
    tests = len(metrics) * (len(experiment.arms) - 1)
    chance = 1 - (1 - alpha) ** tests
    message = (
        f"{tests} comparisons at {alpha:g} would give at least one false finding with {chance:.0%} "
        "if they were independent"
    )
    if tests > MANY_TESTS:
        return _flagged("P7", f"{message}; let the primary metric decide", Severity.NOTE)
    return _passed("P7", message)


def looks_check(
    experiment: Experiment, units: int, assumptions: Assumptions, peeking: Sequence[Peeking]
) -> Check:
    """P8: looks are planned that the plan does not allow, or that never come due."""
    if experiment.plan.sequential:
        return _sequential_check(experiment, units, assumptions, peeking)
    if assumptions.looks == 1:
        return _passed("P8", "one look, at the end")
    naive = next((p for p in peeking if p.way == "naive"), None)
    level = 1 - experiment.plan.ci_level
    rate = (
        "" if naive is None else f": {naive.false_positives:.1%} false positives, not {level:.0%}"
    )
    message = f"{assumptions.looks} looks are planned, but sequential is false{rate}"
    return _flagged("P8", message)


def _sequential_check(
    experiment: Experiment, units: int, assumptions: Assumptions, peeking: Sequence[Peeking]
) -> Check:
    """Whether the looks of a sequential plan can be taken, and what they cost."""
    sequential = experiment.plan.sequential or Sequential()
    anytime = sequential.method == "anytime_valid"
    way = "anytime" if anytime else sequential.method
    factor = next((p.units_factor for p in peeking if p.way == way), None)
    price = "" if factor is None else f", for {factor:.2f} times the units at equal power"
    if anytime:
        return _passed("P8", f"any number of looks{price}")
    faults = []
    if assumptions.looks > len(sequential.looks):
        faults.append(f"{assumptions.looks} looks are wanted")
    planned = sequential.planned_units
    if planned is not None and abs(units / planned - 1) > NEAR:
        faults.append(f"planned_units is {planned:,}, but {units:,} units can be assigned")
    if experiment.source is None and len(sequential.looks) > 1:
        faults.append("units are assigned at the start, so only the last look comes due")
    due = ", ".join(f"{100 * look:.3g}" for look in sequential.looks)
    message = f"{len(sequential.looks)} looks at {due} % of the planned units{price}"
    if faults:
        return _flagged("P8", "; ".join([message, *faults]))
    return _passed("P8", message)


def cost_check(money: Sequence[Money]) -> Check:
    """P9: the holdout costs more than its answer is worth."""
    if not money:
        return _absent("P9", "cost, or a metric in its currency, is missing")
    best = max(money, key=lambda m: m.information)
    verb = "cost" if best.cost >= 0 else "save"
    message = (
        f"the holdout is expected to {verb} {best.currency} {abs(best.cost):,.0f}, its answer is "
        f"worth {best.currency} {best.information:,.0f}"
    )
    losing = [m for m in money if m.rule_value is not None and m.rule_value < -m.information]
    if losing:
        worst = min(losing, key=lambda m: m.rule_value or 0.0)
        message += (
            f"; deciding {worst.arm!r} by {worst.rule} is expected to lose {worst.currency} "
            f"{-(worst.rule_value or 0.0):,.0f} against deciding now"
        )
    if best.cost <= best.information:
        return _flagged("P9", message) if losing else _passed("P9", message)
    if best.break_even_repeats is not None:
        message += f"; it pays from {best.break_even_repeats:,.1f} repetitions on"
    return _flagged("P9", message)


def history_check(history: History) -> Check:
    """P10: history is too thin to plan from."""
    faults = []
    for name, outcome in history.outcomes.items():
        counts = outcome.values.counts
        events = int(counts.sum() - counts.max())
        if events < FEW_EVENTS:
            faults.append(f"{name}: {events} units differ from the rest; {FEW_EVENTS} are few")
        if outcome.missing > MOST_MISSING:
            faults.append(f"{name}: {outcome.missing:.0%} of units have no value")
    return _flagged("P10", "; ".join(faults)) if faults else _passed("P10", history.source)


def _shared(one: Experiment, other: Experiment) -> str:
    """What two tests share, empty when they cannot meet."""
    if one.layer and other.layer and one.layer.name == other.layer.name:
        (a, b), (c, d) = one.layer.slot, other.layer.slot
        if b <= c or d <= a:
            return ""
    where, there = one.population.where, other.population.where
    if any(name in there and there[name] != value for name, value in where.items()):
        return ""
    if not _meet(_period(one), _period(other)):
        return ""
    channels = sorted(set(one.channels) & set(other.channels))
    campaigns = sorted(set(one.campaigns) & set(other.campaigns))
    if channels or campaigns:
        return ", ".join([*channels, *campaigns])
    return "" if one.channels and other.channels else "channels are not declared"


Period = tuple[datetime | None, datetime | None]


def _period(experiment: Experiment) -> Period:
    """Start, and end with the last outcome window; open where nothing is declared."""
    schedule = experiment.schedule
    if schedule is None:
        return None, None
    tail = timedelta(days=experiment.plan.window_days or 0)
    end = schedule.start + tail
    return schedule.start, max(end, schedule.end) if schedule.end else end


def _meet(one: Period, other: Period) -> bool:
    (a, b), (c, d) = one, other
    return not ((b and c and b <= c) or (d and a and d <= a))


def _turn_of_year(experiment: Experiment, window: int) -> list[str]:
    """Whether the test touches 20 November to 5 January."""
    if experiment.schedule is None:
        return []
    days = (experiment.schedule.start + timedelta(days=i) for i in range(window))
    inside = [d for d in days if (d.month, d.day) >= (11, 20) or (d.month, d.day) <= (1, 5)]
    if not inside:
        return []
    return [f"{len(inside)} of {window} days lie between 20 November and 5 January"]


def _facts(p: Precision) -> dict[str, Any]:
    return {"metric": p.metric, "arm": p.arm, "estimator": p.estimator, "power": p.power,
            "units_needed": p.units_needed}  # fmt: skip


def _names(some: Sequence[Precision]) -> str:
    return ", ".join(dict.fromkeys(f"{p.metric} in {p.arm}" for p in some))


def _begun(message: str) -> str:
    """A sentence begins with a capital, unless its first word is somebody's own name."""
    first = message.partition(" ")[0]
    return message[:1].upper() + message[1:] if first.isalpha() else message


def _passed(code: str, message: str) -> Check:
    return Check(code, _TITLES[code], Outcome.PASSED, _begun(message))


def _absent(code: str, message: str) -> Check:
    return Check(code, _TITLES[code], Outcome.NOT_APPLICABLE, _begun(message))


def _flagged(
    code: str,
    message: str,
    severity: Severity = Severity.WARNING,
    evidence: Sequence[dict[str, Any]] = (),
) -> Check:
    text = _begun(message)
    return Check(code, _TITLES[code], Outcome.FLAGGED, text, severity, evidence=tuple(evidence))
