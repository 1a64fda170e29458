"""How data will be analysed: the estimators of a plan and what each may be told.

``Methods`` is what a specification writes under ``plan:``; an ``AnalysisPlan`` is these methods for
some metrics and arms. Every choice has a default that an analyst need not know.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from measure.declared import Frozen

Estimator = Literal[
    "difference",
    "cuped",
    "cuped_by_arm",
    "post_stratification",
    "hierarchical_bayes",
    "double_ml",
    "double_ml_partialling_out",
    "double_ml_lightgbm",
    "doubly_robust",
    "causal_forest",
    "complier_effect",
    "complier_effect_by_cohort",
]
"""
``difference``                  arm minus control, the method chosen by the metric's kind
``cuped``                       difference adjusted by covariates, one slope for all arms
``cuped_by_arm``                the same with slopes of each arm's own (Lin 2013)
``post_stratification``         difference averaged over the strata's shares of the population
``hierarchical_bayes``          cohorts partially pooled
``double_ml``                   cross-fitted AIPW from Gram matrices of the data engine
``double_ml_partialling_out``   cross-fitted partialling-out from the same matrices
``double_ml_lightgbm``          EconML's LinearDML with LightGBM nuisances
``doubly_robust``               EconML's LinearDRLearner with LightGBM nuisances
``causal_forest``               EconML's CausalForestDML
``complier_effect``             effect on units reached only when assigned (Wald, 2SLS)
``complier_effect_by_cohort``   the same by cohort, EconML's intent-to-treat instrument
"""

Multiplicity = Literal[
    "benjamini-hochberg", "benjamini-yekutieli", "holm", "hochberg", "hierarchical", "none"
]


class Sequential(Frozen):
    """How results may be looked at before the end."""

    method: Literal["anytime_valid", "obrien_fleming"] = "anytime_valid"
    """A confidence sequence valid at every look, or a fixed number of looks that spend α."""
    planned_units: Annotated[int, Field(ge=2)] | None = None
    """Units of all arms at the planned end. Group-sequential looks need it; a confidence sequence
    is narrowest there."""
    looks: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    """Group-sequential: the looks planned, as rising shares of ``planned_units``, the last 1."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.method == "anytime_valid":
            if self.looks:
                raise ValueError("looks belong to obrien_fleming; anytime_valid needs none")
            return self
        if self.planned_units is None:
            raise ValueError("obrien_fleming needs planned_units, of all arms together")
        if not self.looks:
            raise ValueError("obrien_fleming needs looks. Write for example [0.25, 0.5, 0.75, 1]")
        rising = all(later > earlier for earlier, later in pairwise(self.looks))
        if self.looks[-1] != 1 or not rising:
            raise ValueError("looks must rise, and the last must be 1")
        return self


class PriorEffect(Frozen):
    """Prior of an average effect, relative to the control mean (0.05 is +5 %)."""

    mean: Annotated[float, Field(gt=-1)] = 0.0
    sd: Annotated[float, Field(gt=0)]


class Bayes(Frozen):
    """Model and priors of ``hierarchical_bayes``."""

    later = ("compute", "dimensions")

    model: Literal["auto", "normal", "binomial", "hurdle"] = "normal"
    """``auto``: binomial for proportions, normal for the rest; hurdle is for revenue."""
    effect: PriorEffect | Literal["weak", "registry"] = "weak"
    """Prior of the average effect: weak, learned from concluded experiments, or given."""
    compute: Literal["exact", "sample"] = "exact"
    """How the normal model is computed: by quadrature, or by PyMC's sampler. The others are always
    sampled."""
    keep_draws: bool = False
    """Keep posterior draws as zarr beside the results."""
    dimensions: Literal["apart", "together"] = "apart"
    """Cohorts are pooled within their dimension, or those of all dimensions in one additive model.
    """


class Observational(Frozen):
    """Assumptions under which units that were not randomised are compared."""

    graph: tuple[str, ...] = ()
    """Edges such as ``age, income -> treatment``; names are columns, metrics and the treatment.
    Empty: every covariate that is no instrument causes the treatment and the metrics."""
    treatment: Annotated[str, Field(min_length=1)] = "treatment"
    """What the graph calls the treatment."""
    unmeasured: tuple[str, ...] = ()
    """Names of the graph for which there is no column."""
    instruments: tuple[str, ...] = ()
    """Covariates that move the treatment and reach the outcomes in no other way."""
    estimators: Annotated[
        tuple[
            Literal["regression", "weighting", "double_ml", "doubly_robust", "causal_forest"], ...
        ],
        Field(min_length=1),
    ] = ("regression", "weighting", "double_ml", "doubly_robust")
    measured_after: tuple[str, ...] = ()
    """Columns measured after treatment: refused as covariates by name."""

    @model_validator(mode="after")
    def _of_a_graph(self) -> Self:
        if self.unmeasured and not self.graph:
            raise ValueError("unmeasured: names of the graph, and there is none; write graph")
        return self

    @property
    def running(self) -> tuple[str, ...]:
        """Estimators by name: of the graph's adjustment, then of the instruments."""
        adjusted = self.estimators if self.graph or not self.instruments else ()
        return (*adjusted, *(INSTRUMENTAL if self.instruments else ()))


INSTRUMENTAL = ("two_stage_least_squares", "doubly_robust_instrument")
"""What runs when an observational plan names instruments."""


class Methods(Frozen):
    """What a specification says under ``plan:``, fixed before the test runs."""

    later: ClassVar[tuple[str, ...]] = (
        "strata",
        "relative",
        "bayes",
        "observational",
        "discovery",
    )

    ci_level: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    sequential: Literal[False] | Sequential = False
    """``false``: one look at the end. ``true``: an anytime-valid confidence sequence."""
    multiplicity: Multiplicity = "benjamini-hochberg"
    estimators: Annotated[tuple[Estimator, ...], Field(min_length=1)] = ("difference",)
    window_days: Annotated[int, Field(ge=1)] | None = None
    """Outcomes count this many days from assignment; ``None`` for a ready-made unit table."""
    seed: int = 20080320
    strata: tuple[str, ...] = ()
    """Columns whose combinations are the strata of ``post_stratification``."""
    relative: Literal["delta", "log"] = "delta"
    """Interval of the lift: symmetric by the delta method, or exp of the log ratio's."""
    bayes: Bayes = Bayes()
    observational: Observational | None = None
    """Units were not randomised: identify under these assumptions, refute, and word with care."""
    discovery: Literal[False, "honest_tree"] = False
    """Search cohorts on one half of the units, estimate on the other."""

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the estimators that will run, in the order of their results."""
        return self.estimators if self.observational is None else self.observational.running

    @model_validator(mode="after")
    def _one_kind_of_design(self) -> Self:
        """What was not randomised has estimators of its own, and one look."""
        if self.observational is None:
            return self
        for name in ("estimators", "sequential", "strata", "bayes", "discovery"):
            if getattr(self, name) != Methods.model_fields[name].default:
                raise ValueError(f"{name}: is for randomised units; remove it or observational")
        return self

    @model_validator(mode="after")
    def _options_of_estimators(self) -> Self:
        """An option of an estimator that does not run would do nothing, and is refused."""
        for name, estimator in (("strata", "post_stratification"), ("bayes", "hierarchical_bayes")):
            given = getattr(self, name) != Methods.model_fields[name].default
            if given and estimator not in self.estimators:
                raise ValueError(f"{name}: is for {estimator}; add it to estimators or remove it")
        return self

    @field_validator("estimators", "strata")
    @classmethod
    def _named_once(cls, names: tuple[Any, ...]) -> tuple[Any, ...]:
        return unique(names)

    @field_validator("sequential", mode="before")
    @classmethod
    def _plain_true(cls, value: Any) -> Any:
        return {} if value is True else value


def unique(names: tuple[Any, ...]) -> tuple[Any, ...]:
    """The names, or :class:`ValueError` with those that come twice."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"named twice: {', '.join(repeated)}")
    return names
