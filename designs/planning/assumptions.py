"""What a plan assumes beyond the specification: said by the planner, never hidden in a number."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from designs.assignment.declared import Name, Slug
from measure.declared import Frozen

Inside = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[FiniteFloat, Field(gt=0)]


class ClusterAssumption(Frozen):
    """Units that are assigned together, such as the members of a household."""

    size: Annotated[FiniteFloat, Field(ge=1)]
    """Mean number of units in a cluster."""
    icc: Annotated[float, Field(ge=0, le=1)]
    """Intraclass correlation of the primary outcome."""
    cv: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    """Coefficient of variation of the sizes."""


class RatioAssumption(Frozen):
    """A ratio of two metrics of the specification, such as revenue for each order."""

    name: Name
    numerator: Name
    denominator: Name


class Assumptions(Frozen):
    """How sure one wants to be, what one expects, and how the result will be used."""

    power: Inside = 0.8
    """Probability with which a true effect should be found."""
    lift: FiniteFloat | None = None
    """Expected relative effect on the primary metric; ``None`` takes it from earlier tests."""
    reached: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the units assigned to an arm that the treatment will reach; ``lift`` is then that
    of units reached, and all units together have ``lift`` times this share."""
    lift_sd: Positive | None = None
    """Standard deviation of that expectation."""
    comparisons: Literal["none", "bonferroni", "holm", "sidak"] = "none"
    """Correction over arms; the analysis makes none, so neither does the plan."""
    looks: Annotated[int, Field(ge=1, le=366)] = 1
    """How often somebody will look at the result, the last time included."""
    runs: Annotated[int, Field(ge=0, le=20_000)] = 200
    """Draws per simulated point where no formula applies; 0 leaves the simulation out."""
    simulate: Literal["primary", "all"] = "primary"
    """Which metrics are simulated where no formula applies."""
    acts: Literal["buyers", "amounts", "shift"] = "buyers"
    """How a lift comes about: more units buy, each spends more, or all get the same more."""
    clusters: ClusterAssumption | None = None
    ratios: tuple[RatioAssumption, ...] = ()
    repeats: Positive = 1.0
    """How often the programme will be repeated with everybody if the result is good."""
    units: Annotated[int, Field(ge=4)] | None = None
    """Units in all arms together; ``None`` counts them."""
    history_until: date | None = None
    """History ends before this day (UTC); ``None`` is the start of the experiment."""
    seed: int = 20080320

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.lift_sd is not None and self.lift is None:
            raise ValueError("lift_sd: needs lift, the expectation it belongs to")
        if self.lift is not None and self.lift <= -1:
            raise ValueError(f"lift: {self.lift:g} is a fall by everything; it must be above -1")
        return self


class PlanningFile(Frozen):
    """A file of assumptions for one experiment."""

    experiment: Slug | None = None
    """Key of the experiment they belong to."""
    assumptions: Assumptions = Assumptions()
