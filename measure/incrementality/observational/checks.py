"""Checks of an analysis without randomisation, each over all metrics, arms and estimators.

=======  =======================================================  =====================
code     flagged when                                             severity
=======  =======================================================  =====================
``O1``   never: an effect that is not identified is an error      stop
``O2``   a covariate is a collider, and was left out              warning
``O3``   arms hardly overlap                                      warning, stop
``O4``   a covariate stays unbalanced after weighting             warning
``O5``   an effect of a made-up treatment is found                warning, withholds
``O6``   a covariate of noise moves an estimate                   warning
``O7``   an estimate hangs on a few units                         warning
``O8``   a planted confounder takes an effect away                warning
``O9``   a weak unmeasured confounder would suffice               warning
``O10``  estimators disagree                                      warning
``O11``  instruments hardly move the treatment                    warning, withholds
=======  =======================================================  =====================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from measure.incrementality.check_kind import CheckKind
from measure.incrementality.observational import balance, refute
from measure.incrementality.observational.comparing import (
    AGREEMENT,
    STRONG_INSTRUMENT,
    WEAK,
    Compared,
)
from measure.incrementality.observational.graph import CausalGraph
from measure.results import Check, Outcome, Severity

KINDS = {
    kind.code: kind
    for kind in (
        CheckKind("O1", "Identification"),
        CheckKind("O2", "Colliders"),
        CheckKind("O3", "Overlap"),
        CheckKind("O4", "Balance after weighting"),
        CheckKind("O5", "Placebo treatment"),
        CheckKind("O6", "Random common cause"),
        CheckKind("O7", "Data subsets"),
        CheckKind("O8", "Planted confounder"),
        CheckKind("O9", "Sensitivity"),
        CheckKind("O10", "Agreement of estimators"),
        CheckKind("O11", "Instrument strength"),
    )
}

Row = Mapping[str, Any]


def observational_checks(graph: CausalGraph, comparisons: Sequence[Compared]) -> tuple[Check, ...]:
    """All checks, in order of their codes."""
    judged = tuple(_judged(code, comparisons, *texts) for code, texts in _TEXTS.items())
    return (_identification(comparisons), _colliders(graph, comparisons), *judged)


def no_shares(check: Check) -> Check:
    """In place of the sample ratio check: shares mean nothing where nobody was assigned."""
    return _replaced(check, "Units were not randomised, so there are no shares to follow.")


def no_chance(check: Check) -> Check:
    """In place of the balance check of randomised arms."""
    return _replaced(check, "Units were not randomised, so arms need not be alike: see O4.")


def _replaced(check: Check, message: str) -> Check:
    return replace(
        check,
        outcome=Outcome.NOT_APPLICABLE,
        message=message,
        severity=Severity.NOTE,
        p_value=None,
        rows=None,
        evidence=(),
    )


def _identification(comparisons: Sequence[Compared]) -> Check:
    found = {one.metric: one.identified for one in comparisons}
    shown = "; ".join(f"{metric}: {one.estimand}" for metric, one in found.items())
    rows = tuple(
        {"metric": metric, "estimand": one.estimand, "assumptions": list(one.assumptions)}
        for metric, one in found.items()
    )
    message = f"Identified under the graph. {shown}."
    return KINDS["O1"].found(Outcome.PASSED, message, Severity.STOP, evidence=rows)


def _colliders(graph: CausalGraph, comparisons: Sequence[Compared]) -> Check:
    if not graph.given:
        message = (
            "No graph was given: every covariate is taken as a cause of treatment and metrics."
        )
        return KINDS["O2"].found(Outcome.NOT_APPLICABLE, message)
    found = sorted(
        {
            name
            for one in comparisons
            if one.identified.adjustment is not None
            for name in graph.colliders(one.identified.adjustment)
        }
    )
    if found:
        message = (
            f"Left out, because holding a common effect of two causes equal makes them go "
            f"together: {', '.join(found)}."
        )
        evidence = tuple({"covariate": name} for name in found)
        return KINDS["O2"].found(Outcome.FLAGGED, message, evidence=evidence)
    message = "No covariate is a collider that had to be left out."
    return KINDS["O2"].found(Outcome.PASSED, message)


def _judged(
    code: str,
    comparisons: Sequence[Compared],
    absent: str,
    passed: Callable[[Sequence[Row]], str],
    flagged: Callable[[Row], str],
) -> Check:
    """One check over the evidence of all comparisons."""
    rows = [row for one in comparisons for row in one.attempts.get(code, [])]
    if not rows:
        return KINDS[code].found(Outcome.NOT_APPLICABLE, absent)
    broken = [row for row in rows if not row["held"]]
    evidence = tuple({k: v for k, v in row.items() if k != "held"} for row in rows)
    if not broken:
        return KINDS[code].found(Outcome.PASSED, passed(rows), evidence=evidence)
    message = " ".join(dict.fromkeys(flagged(row) for row in broken[:3]))
    if len(broken) > 3:
        message += f" And {len(broken) - 3} more."
    severity = Severity.STOP if code == "O3" and _apart(broken) else Severity.WARNING
    return KINDS[code].found(Outcome.FLAGGED, message, severity, evidence=evidence)


def _apart(rows: Sequence[Row]) -> bool:
    return any(row["trimmed_share"] > balance.TRIMMED_STOP for row in rows)


def _of(row: Row) -> str:
    return f"{row['metric']}, {row['arm']}, {row['estimator']}"


def _worst(rows: Sequence[Row], key: str) -> float:
    return max(abs(float(row[key])) for row in rows)


def _signed(value: float) -> str:
    size = f"{abs(value):,.0f}" if abs(value) >= 100 else f"{abs(value):.3g}"
    return f"{'−' if value < 0 else '+'}{size}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _overlap_passed(rows: Sequence[Row]) -> str:
    low = min(row["propensity_low"] for row in rows)
    high = max(row["propensity_high"] for row in rows)
    trimmed = sum(row["trimmed"] for row in rows)
    worth = min(min(row["effective_arm"], row["effective_control"]) for row in rows)
    return (
        f"Chances of treatment run from {_percent(low)} to {_percent(high)}; {trimmed:,} without "
        f"a counterpart; weighted, an arm is worth at least {_percent(worth)} of its units."
    )


def _overlap_flagged(row: Row) -> str:
    return (
        f"{row['metric']}, {row['arm']}: {row['trimmed']:,} units "
        f"({_percent(row['trimmed_share'])}) have no counterpart and are left out; weighted, the "
        f"arm is worth {_percent(row['effective_arm'])} of its units and the control "
        f"{_percent(row['effective_control'])}."
    )


def _balance_passed(rows: Sequence[Row]) -> str:
    return (
        f"The largest standardised difference is {_worst(rows, 'before'):.2f} before weighting and "
        f"{_worst(rows, 'after'):.2f} after."
    )


def _balance_flagged(row: Row) -> str:
    return (
        f"{row['covariate']} differs between {row['arm']} and control by {abs(row['after']):.2f} "
        f"standard deviations after weighting (limit {balance.UNBALANCED:g})."
    )


def _placebo_passed(rows: Sequence[Row]) -> str:
    return (
        f"Treatment dealt anew has no effect: {_worst(rows, 'standard_errors'):.1f} standard "
        f"errors at most (limit {refute.PLACEBO_LIMIT:g})."
    )


def _placebo_flagged(row: Row) -> str:
    return (
        f"{_of(row)}: treatment dealt anew seems to have an effect of {_signed(row['mean'])} "
        f"({abs(row['standard_errors']):.1f} standard errors); its estimates are withheld."
    )


def _unmoved(what: str, limit: float) -> Callable[[Sequence[Row]], str]:
    """How far refits went at most; ``what`` opens the sentence."""

    def passed(rows: Sequence[Row]) -> str:
        worst = _worst(rows, "standard_errors")
        return f"{what} by more than {worst:.2f} standard errors (limit {limit:g})."

    return passed


def _moved_flagged(row: Row) -> str:
    where = "" if row["mean"] is None else f" to {_signed(row['mean'])},"
    by = f"{abs(row['standard_errors']):.1f} standard errors"
    return f"{_of(row)}: the estimate moves{where} by {by}."


def _planted_passed(rows: Sequence[Row]) -> str:
    names = ", ".join(dict.fromkeys(str(row["as_strong_as"]) for row in rows))
    return f"An unmeasured confounder as strong as {names} would not take an effect away."


def _planted_flagged(row: Row) -> str:
    value = row["value_at_1"]
    what = "cannot even be planted" if value is None else f"leaves {_signed(value)}"
    return (
        f"{_of(row)}: an unmeasured confounder as strong as {row['as_strong_as']} {what}, and the "
        "interval no longer leaves out zero."
    )


def _sensitivity_shown(row: Row) -> str:
    parts = []
    if "robustness_value" in row:
        parts.append(f"robustness value {_percent(row['robustness_value'])}")
    if "robustness_value_interval" in row:
        parts.append(f"{_percent(row['robustness_value_interval'])} for the interval")
    parts.append(f"E-value {row['e_value']:.2f} ({row['e_value_interval']:.2f} for the interval)")
    return f"{_of(row)}: {', '.join(parts)}."


def _sensitivity_passed(rows: Sequence[Row]) -> str:
    return " ".join(_sensitivity_shown(row) for row in rows if "robustness_value" in row) or (
        _sensitivity_shown(rows[0])
    )


def _sensitivity_flagged(row: Row) -> str:
    return f"{_sensitivity_shown(row)} Hardly any confounder is needed (limit {_percent(WEAK)})."


def _agreement_rows(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        yield (
            f"{row['metric']}, {row['arm']}: {_signed(row['lowest'])} to "
            f"{_signed(row['highest'])}, {_signed(row['unadjusted'])} without adjustment."
        )


def _agreement_flagged(row: Row) -> str:
    shown = next(_agreement_rows([row]))
    return f"{shown} The estimators are more than {AGREEMENT:g} standard errors apart."


def _instrument_passed(rows: Sequence[Row]) -> str:
    weakest = min(row["first_stage_f"] for row in rows)
    return f"The instruments move the treatment: F = {weakest:,.1f} (limit {STRONG_INSTRUMENT:g})."


def _instrument_flagged(row: Row) -> str:
    return (
        f"{row['metric']}, {row['arm']}: the instruments hardly move the treatment "
        f"(F = {row['first_stage_f']:.1f}, limit {STRONG_INSTRUMENT:g}); estimates are withheld."
    )


_NOT_ADJUSTED = "No estimator that holds covariates equal has an estimate."
_TEXTS: Mapping[str, tuple[str, Callable[[Sequence[Row]], str], Callable[[Row], str]]] = {
    "O3": (_NOT_ADJUSTED, _overlap_passed, _overlap_flagged),
    "O4": ("No covariate is held equal.", _balance_passed, _balance_flagged),
    "O5": (_NOT_ADJUSTED, _placebo_passed, _placebo_flagged),
    "O6": (
        "There is no estimate to refute.",
        _unmoved("A covariate of noise moves no estimate", refute.COMMON_CAUSE_LIMIT),
        _moved_flagged,
    ),
    "O7": (
        "There is no estimate to refute.",
        _unmoved("On four fifths of the units no estimate moves", refute.SUBSET_LIMIT),
        _moved_flagged,
    ),
    "O8": (
        "No interval leaves out zero, or no covariate tells how strong a confounder may be.",
        _planted_passed,
        _planted_flagged,
    ),
    "O9": (_NOT_ADJUSTED, _sensitivity_passed, _sensitivity_flagged),
    "O10": (
        "Fewer than two estimators have an estimate.",
        lambda rows: " ".join(_agreement_rows(rows)),
        _agreement_flagged,
    ),
    "O11": ("No instruments are used.", _instrument_passed, _instrument_flagged),
}
