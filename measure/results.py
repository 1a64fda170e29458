"""What every analysis returns: frozen values of plain fields, with one mixin that renders them.

Results never hold data, models or connections. The field names of :class:`Estimate`, :class:`Check`
and :class:`Credit` are the public JSON contract (``docs/json.md``).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = "1.0"


class Status(StrEnum):
    """How far an estimate can be used."""

    OK = "ok"
    """Computed, and the method's conditions hold."""
    INSUFFICIENT = "insufficient"
    """Too few units or events for any honest interval."""
    DEGENERATE = "degenerate"
    """The metric does not vary, so there is nothing to test."""
    INVALID = "invalid"
    """The data break a rule of the design (for example an arm received nobody)."""
    NOT_CONVERGED = "not_converged"
    """A sampler's convergence checks did not pass; its numbers are withheld."""


class Outcome(StrEnum):
    """The four outcomes of a check; unknown is never ``passed``."""

    PASSED = "passed"
    """Ran and found nothing."""
    FLAGGED = "flagged"
    """Ran and found something a reader must see."""
    NOT_APPLICABLE = "not_applicable"
    """Its inputs are absent; the message says which."""
    FAILED = "failed"
    """Could not run; the message says why."""


class Severity(StrEnum):
    """What a flagged check means for the reader."""

    NOTE = "note"
    """Good to know; conclusions stand."""
    WARNING = "warning"
    """Look before you act."""
    STOP = "stop"
    """No conclusion may be drawn until it is explained."""


class Estimand(StrEnum):
    """What an estimate is an estimate *of*."""

    ITT = "ITT"
    """Effect of being assigned, over all assigned units."""
    CACE = "CACE"
    """Effect of being reached, over units reached only when assigned."""
    ATE = "ATE"
    """Average effect of treatment over the population."""
    CATE = "CATE"
    """Average effect of treatment within a cohort."""


class Result:
    """Mixin: renders a frozen dataclass as plain values. NaN and infinity become ``None``."""

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready values under the field names."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Cohort(Result):
    """A named dimension and its value, for example ``channel = Web``."""

    dimension: str
    value: str


@dataclass(frozen=True, slots=True)
class Estimate(Result):
    """One number with its interval.

    ``value`` is in the metric's unit per randomisation unit (arm minus control), ``relative`` is
    the lift (0.05 = +5 %); ``se`` is a standard error or a posterior standard deviation. Numbers
    are ``None`` where ``status`` forbids them.
    """

    metric: str
    arm: str
    control: str
    cohort: Cohort | None
    estimand: Estimand
    estimator: str
    value: float | None
    se: float | None
    ci_low: float | None
    ci_high: float | None
    ci_level: float
    p_value: float | None
    relative: float | None
    relative_ci_low: float | None
    relative_ci_high: float | None
    n_control: int
    n_arm: int
    status: Status
    note: str = ""


@dataclass(frozen=True, slots=True)
class Check(Result):
    """One declared check and what it found.

    ``money`` is in integer minor units of ``currency``; ``rows`` counts flagged rows; both are
    ``None`` where they have no meaning. ``anchor`` is the check's heading in ``docs/checks.md``.
    """

    code: str
    title: str
    outcome: Outcome
    message: str
    severity: Severity = Severity.WARNING
    rows: int | None = None
    money: int | None = None
    currency: str | None = None
    disposition: str | None = None
    p_value: float | None = None
    anchor: str = ""
    evidence: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Credit(Result):
    """What a model gives a channel, in conversions and value, with a bootstrap interval.

    ``ci_low`` and ``ci_high`` bound ``conversions``; ``removal_effect`` exists for Markov models.
    """

    model: str
    channel: str
    cohort: Cohort | None
    conversions: float
    value: float
    share: float
    removal_effect: float | None
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, slots=True)
class BridgeStep(Result):
    """One line of the statement of account: rows and money (minor units) it adds or takes away.

    ``money_low`` and ``money_high`` bound the money of a line that was estimated.
    """

    step: str
    rows: int
    money: int
    money_low: int | None = None
    money_high: int | None = None


@dataclass(frozen=True, slots=True)
class Family(Result):
    """Tests judged together: which cohorts of one dimension stand after the correction.

    ``p_adjusted`` runs parallel to ``cohorts``; ``rejected`` counts those at or below
    ``1 - ci_level``.
    """

    metric: str
    arm: str
    dimension: str
    estimator: str
    method: str
    cohorts: tuple[str, ...]
    p_adjusted: tuple[float, ...]
    rejected: int


class GuardrailVerdict(StrEnum):
    """Whether harm beyond a guardrail's limit is ruled out; unknown is never ``ruled_out``."""

    RULED_OUT = "ruled_out"
    """The whole interval lies on the safe side of the limit."""
    HARMED = "harmed"
    """The whole interval lies beyond the limit."""
    UNDECIDED = "undecided"
    """The limit lies inside the interval."""
    UNKNOWN = "unknown"
    """There is no usable interval."""


@dataclass(frozen=True, slots=True)
class Guardrail(Result):
    """A limit set beforehand against an interval; ``harm`` lies ``below`` or ``above`` it."""

    metric: str
    arm: str
    estimator: str
    harm: str
    limit: float
    verdict: GuardrailVerdict
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, slots=True)
class Segment(Result):
    """A cohort that a search found, with its effect on units that the search did not see.

    ``apart`` is its effect minus that of all others; ``search_value`` the difference on the units
    searched, which is biased and must not be used. Whatever a segment says is exploratory.
    """

    metric: str
    arm: str
    control: str
    rule: str
    value: float | None
    se: float | None
    ci_low: float | None
    ci_high: float | None
    ci_level: float
    p_value: float | None
    p_adjusted: float | None
    relative: float | None
    relative_ci_low: float | None
    relative_ci_high: float | None
    apart: float | None
    apart_se: float | None
    apart_p_value: float | None
    apart_p_adjusted: float | None
    n_control: int
    n_arm: int
    search_value: float | None
    status: Status
    note: str = ""
    standing: str = "exploratory"


@dataclass(frozen=True, slots=True)
class Analysis(Result):
    """All that an analysis says about one experiment: checks first, then estimates.

    ``status`` is ``ok``, or ``invalid`` when a check with severity ``stop`` is flagged or failed.
    """

    experiment: str
    status: Status
    checks: tuple[Check, ...]
    estimates: tuple[Estimate, ...]
    multiplicity: tuple[Family, ...] = ()
    guardrails: tuple[Guardrail, ...] = ()
    factorial: tuple[Estimate, ...] = ()
    """Effects of single factors and how they change each other, in factorial designs."""
    discovery: tuple[Segment, ...] = ()
    """Segments found by a search, where the plan asks for one."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The ``analyze`` JSON document."""
        return {"schema_version": SCHEMA_VERSION, **Result.to_dict(self)}

    def find(self, metric: str, arm: str, estimator: str, cohort: Cohort | None = None) -> Estimate:
        """The one estimate of these four; ``KeyError`` when there is none."""
        for estimate in self.estimates:
            key = (estimate.metric, estimate.arm, estimate.estimator, estimate.cohort)
            if key == (metric, arm, estimator, cohort):
                return estimate
        raise KeyError((metric, arm, estimator, cohort))


@dataclass(frozen=True, slots=True)
class Attribution(Result):
    """Credits of several models on the same paths, with the definition they were computed under."""

    definition: Mapping[str, Any]
    total_conversions: float
    total_value: float
    credits: tuple[Credit, ...]

    def to_dict(self) -> dict[str, Any]:
        """The ``attribute`` JSON document."""
        return {"schema_version": SCHEMA_VERSION, **Result.to_dict(self)}


@dataclass(frozen=True, slots=True)
class Reconciliation(Result):
    """Checks of the catalogue and the bridge from claimed to incremental.

    ``settings`` holds the thresholds used, ``notes`` what a reader of the bridge must know.
    """

    checks: tuple[Check, ...]
    bridge: tuple[BridgeStep, ...]
    currency: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The ``reconcile`` JSON document."""
        return {"schema_version": SCHEMA_VERSION, **Result.to_dict(self)}


def to_pandas(results: Iterable[Result]) -> pd.DataFrame:
    """One row per result, cohorts as two columns."""
    import pandas as pd

    return pd.json_normalize([result.to_dict() for result in results], sep="_")


def _plain(value: Any) -> Any:
    """Enums, dataclasses, numpy scalars and tuples as what ``json`` writes."""
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # numpy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
