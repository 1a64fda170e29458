"""What a plan says: frozen values under the names of its JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from designs.planning.simulation import Simulated
from measure.results import SCHEMA_VERSION, Check, Result


@dataclass(frozen=True, slots=True)
class MetricHistory(Result):
    """One metric as history shows it, per unit and window; ``missing`` is a share of units.

    ``r_squared`` is what the covariates explain of its variance, ``None`` without covariates.
    """

    metric: str
    kind: str
    unit: str | None
    n: int
    missing: float
    mean: float
    sd: float
    skewness: float | None
    share_nonzero: float | None
    r_squared: float | None


@dataclass(frozen=True, slots=True)
class Precision(Result):
    """What one comparison will be able to tell.

    ``method`` is what the analysis will use: ``normal``, ``permutation`` or ``refuse``. ``mde`` is
    the smallest effect found with the wanted power, in the metric's unit; ``mde_relative`` the same
    as a lift; ``power`` that of the expected lift; ``units_needed`` all units of the experiment
    that would find it. ``simulated`` says that ``mde`` and ``power`` come from simulation.
    Numbers are ``None`` where no honest one exists; ``note`` says why.
    """

    metric: str
    role: str
    arm: str
    control: str
    estimator: str
    method: str
    n_control: int
    n_arm: int
    alpha: float
    mde: float | None
    mde_relative: float | None
    power: float | None
    power_low: float | None
    power_high: float | None
    units_needed: int | None
    simulated: bool
    note: str = ""
    target: float = 0.8
    mde_reached: float | None = None


@dataclass(frozen=True, slots=True)
class CurvePoint(Result):
    """Power of the primary metric at a lift, for one arm and estimator.

    ``low`` and ``high`` bound a simulated point; others are by formula.
    """

    arm: str
    estimator: str
    lift: float
    power: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class DurationPoint(Result):
    """The primary metric when outcomes count for ``days`` after assignment.

    ``units`` are those assigned at the start; ``active`` of them did something by then (distinct
    units, so they grow ever more slowly), ``newcomers`` would have joined meanwhile. ``method`` is
    what the analysis would use; ``mde_relative`` is by formula also where it is a permutation test,
    which finds less.
    """

    days: int
    units: int
    active: int
    newcomers: int
    mean: float
    sd: float
    mde_relative: float | None
    method: str = "normal"


@dataclass(frozen=True, slots=True)
class Peeking(Result):
    """The price of one way of looking.

    ``units_factor`` multiplies the units, ``mde_factor`` the smallest effect, at equal power;
    ``expected_factor`` is the expected share of the fixed horizon's units when one stops early and
    the effect is the planned one. ``false_positives`` is the chance of ever rejecting when nothing
    happened; ``None`` factors belong to ways that break their promise.
    """

    way: str
    looks: int
    false_positives: float
    simulated_false_positives: float
    simulated_runs: int
    final_bound: float
    units_factor: float | None
    mde_factor: float | None
    expected_factor: float | None
    mde_relative: float | None


@dataclass(frozen=True, slots=True)
class Money(Result):
    """What the holdout costs and what the answer is worth, in major units of ``currency``.

    ``forgone`` is the expected margin that held-out units do not bring, ``saved`` the treatment
    they do not cost, ``cost`` the difference (negative: the holdout is expected to save money).
    ``information`` is the expected value of sample information for the decision to repeat the
    programme for ``decision_units`` units; ``perfect_information`` bounds it. ``rule_value`` is
    what deciding by the registered rule is expected to bring over deciding now.
    ``break_even_repeats`` is how often the programme must be repeated for the information to pay
    for the holdout, ``None`` when it costs nothing.
    """

    currency: str
    arm: str
    metric: str
    lift_mean: float
    lift_sd: float
    lift_source: str
    forgone: float
    saved: float
    cost: float
    decision_units: int
    information: float
    perfect_information: float
    rule: str | None
    rule_value: float | None
    break_even_repeats: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Curse(Result):
    """What a significant finding will look like if the true lift is the expected one.

    ``exaggeration`` is the expected size of a significant estimate over the true effect,
    ``wrong_sign`` the share of significant estimates with the wrong sign.
    """

    lift: float
    power: float
    exaggeration: float
    wrong_sign: float


@dataclass(frozen=True, slots=True)
class Season(Result):
    """Orders by weekday as a multiple of the average day, Monday first, from whole weeks.

    ``weekly`` and ``yearly`` are shares of the variation around the trend that a week's and a
    year's pattern explain (strength of seasonality by STL), from two periods on.
    """

    weekdays: tuple[float, ...]
    weeks: int
    share_explained: float | None
    weekly: float | None = None
    yearly: float | None = None


@dataclass(frozen=True, slots=True)
class Placebo(Result):
    """How often orders changed by the smallest detectable lift when nothing was done.

    ``pairs`` are windows of ``days`` days and the window before each, one step of a day apart, in
    history; in ``changed`` of them orders rose or fell by ``lift`` or more. It is what a reading
    without a control group would have called an effect.
    """

    days: int
    pairs: int
    changed: int
    lift: float
    largest: float


@dataclass(frozen=True, slots=True)
class DesignPlan(Result):
    """All that can be said about an experiment before it runs."""

    experiment: str
    control: str
    primary: str
    source: str
    history_from: str | None
    history_to: str | None
    units: int
    assumptions: Mapping[str, Any]
    metrics: tuple[MetricHistory, ...]
    precision: tuple[Precision, ...]
    curve: tuple[CurvePoint, ...]
    duration: tuple[DurationPoint, ...]
    peeking: tuple[Peeking, ...]
    money: tuple[Money, ...]
    curse: Curse | None
    season: Season | None
    simulations: tuple[Simulated, ...]
    checks: tuple[Check, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    placebo: Placebo | None = None

    def to_dict(self) -> dict[str, Any]:
        """The ``plan`` JSON document."""
        return {"schema_version": SCHEMA_VERSION, **Result.to_dict(self)}

    def leading(self) -> tuple[Precision, ...]:
        """The primary metric's comparisons, one per arm, by the first estimator planned."""
        found: dict[str, Precision] = {}
        for precision in self.precision:
            if precision.metric == self.primary:
                found.setdefault(precision.arm, precision)
        return tuple(found.values())
