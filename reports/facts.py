"""What a page says beside the estimates: frozen facts that the caller fills in.

Pages know nothing of registries, specifications or engines. Money is in integer minor units of its
currency, returns are plain ratios (1.61 = 1.61 euro for each euro), shares and probabilities run
from 0 to 1, dates are calendar dates in ``time_zone``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from measure.health import Health
from measure.plan import Kind
from measure.results import Analysis, Attribution, Reconciliation
from reports.money import MoneyFacts


@dataclass(frozen=True, slots=True)
class ArmFacts:
    """An arm: its designed share and how many units it received (``None``: not counted)."""

    name: str
    share: float
    units: int | None = None


@dataclass(frozen=True, slots=True)
class MetricFacts:
    """A metric as the plan declares it; ``unit`` is a currency code, a word, or ``None``.

    ``harm_below`` and ``harm_above`` bound a guardrail's acceptable difference, in its unit.
    ``quantile`` and ``horizon`` say which quantile it is, and up to which time.
    """

    name: str
    kind: Kind = "mean"
    unit: str | None = None
    role: Literal["primary", "secondary", "guardrail"] = "secondary"
    harm_below: float | None = None
    harm_above: float | None = None
    quantile: float | None = None
    horizon: float | None = None


@dataclass(frozen=True, slots=True)
class ExperimentFacts:
    """What was decided about an experiment, and under which hashes it was measured.

    ``scale_if`` and ``stop_if`` are decision rules as written (``P(roi > 1) >= 0.8``).
    ``headline_estimator`` is the method whose numbers lead the page (default: the first of
    ``estimators``), ``cohort_estimator`` the one of the cohort chart (default: partial pooling
    where it was planned). ``exploratory`` marks an analysis beyond the frozen plan, ``synthetic``
    a made-up world. ``generated_on`` is passed in: pages never read a clock.
    """

    key: str
    hypothesis: str
    unit: str
    arms: tuple[ArmFacts, ...]
    control: str
    metrics: tuple[MetricFacts, ...]
    estimators: tuple[str, ...]
    generated_on: date
    title: str = ""
    state: str = ""
    started_on: date | None = None
    ended_on: date | None = None
    registered_on: date | None = None
    window_days: int | None = None
    time_zone: str = "UTC"
    ci_level: float = 0.95
    covariates: tuple[str, ...] = ()
    cohorts: tuple[str, ...] = ()
    multiplicity: str = ""
    currency: str | None = None
    cost_per_unit: float | None = None
    fixed_cost: float | None = None
    margin: float | None = None
    scale_if: str | None = None
    stop_if: str | None = None
    randomised: bool = True
    assumptions: tuple[str, ...] = ()
    exploratory: bool = False
    synthetic: bool = False
    source: str = ""
    headline_estimator: str = ""
    cohort_estimator: str = ""
    plan_hash: str | None = None
    data_hash: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the page calls the experiment."""
        return self.title or self.key

    @property
    def primary(self) -> MetricFacts:
        """The metric the decision hangs on: the one with that role, else the first."""
        return next((m for m in self.metrics if m.role == "primary"), self.metrics[0])

    @property
    def treatments(self) -> tuple[str, ...]:
        """Arms other than the control, in the order written."""
        return tuple(arm.name for arm in self.arms if arm.name != self.control)

    @property
    def leading_estimator(self) -> str:
        """The method whose numbers lead the page."""
        return self.headline_estimator or self.estimators[0]

    @property
    def pooling_estimator(self) -> str:
        """The method of the cohort chart."""
        pooled = "hierarchical_bayes"
        return self.cohort_estimator or (
            pooled if pooled in self.estimators else self.leading_estimator
        )


@dataclass(frozen=True, slots=True)
class Flow:
    """How many journeys go from a place in one column to a place in the next."""

    column: int
    source: str
    target: str
    count: int


@dataclass(frozen=True, slots=True)
class Journeys:
    """Observed journeys in columns (``titles``), for the picture of flows.

    ``converted`` names the place whose inflow is drawn in colour.
    """

    titles: tuple[str, ...]
    flows: tuple[Flow, ...]
    converted: str = "Converted"
    note: str = ""


@dataclass(frozen=True, slots=True)
class IncrementalFacts:
    """What the experiment says about the conversions that the models divide among channels."""

    experiment: str
    conversions: float
    low: float | None
    high: float | None
    ci_level: float


@dataclass(frozen=True, slots=True)
class AttributionReport:
    """An attribution with what its page needs beside the credits."""

    attribution: Attribution
    generated_on: date
    title: str = ""
    currency: str | None = None
    ci_level: float = 0.95
    incremental: IncrementalFacts | None = None
    journeys: Journeys | None = None
    synthetic: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReconciliationReport:
    """A reconciliation with what its page needs beside the checks."""

    reconciliation: Reconciliation
    generated_on: date
    title: str = ""
    time_zone: str = "UTC"
    started_on: date | None = None
    ended_on: date | None = None
    synthetic: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decile:
    """One tenth of the units by score, best first; ``lift`` is the observed difference."""

    decile: int
    n: int
    lift: float | None
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, slots=True)
class ScoreMeasure:
    """A named quality of a score with its interval."""

    name: str
    value: float | None
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """How well a score ranks units by what the treatment does to them."""

    title: str
    score: str
    metric: MetricFacts
    measures: tuple[ScoreMeasure, ...]
    deciles: tuple[Decile, ...]
    generated_on: date
    ci_level: float = 0.95
    note: str = ""
    synthetic: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HealthReport:
    """A survey of the data with what its page needs beside it."""

    health: Health
    generated_on: date
    title: str = ""
    synthetic: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """Everything the pages of one experiment are made of; absent parts leave their section out."""

    facts: ExperimentFacts
    analysis: Analysis
    money: tuple[MoneyFacts, ...] = ()
    attribution: AttributionReport | None = None
    reconciliation: ReconciliationReport | None = None
    journeys: Journeys | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """All pages of a workspace."""

    title: str
    generated_on: date
    experiments: tuple[ExperimentReport, ...] = ()
    attribution: AttributionReport | None = None
    reconciliation: ReconciliationReport | None = None
    scores: tuple[ScoreReport, ...] = ()
    health: HealthReport | None = None
