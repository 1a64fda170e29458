"""What a validation of a score needs, declared before any data is read."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from measure.declared import Frozen
from measure.plan import AnalysisPlan, Metric, Share, Source


class ScorePlan(Frozen):
    """A score, the randomised experiment it is judged against, and the outcome.

    ``key`` and ``hypothesis`` are for the reader. Fields that experiments share (``source``,
    ``arms``, ``control``) mean the same here.
    """

    key: Annotated[str, Field(min_length=1)]
    hypothesis: str = ""
    source: Source
    arms: dict[str, Share]
    """Designed share of each arm, control included; they sum to 1."""
    control: str
    arm: str = ""
    """The treatment judged; may be left out when there is only one."""
    metric: Metric
    score: Annotated[str, Field(min_length=1)]
    """Column with the score, known before assignment."""
    order: Literal["descending", "ascending"] = "descending"
    """Which end is treated first: the highest scores, or the lowest."""
    ci_level: Annotated[float, Field(ge=0.5, lt=1)] = 0.95

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        treatments = [name for name in self.arms if name != self.control]
        if not self.arm:
            if len(treatments) != 1:
                raise ValueError(f"arm: name the one to judge, out of {treatments}")
            object.__setattr__(self, "arm", treatments[0])
        if self.arm not in treatments:
            raise ValueError(f"arm: {self.arm!r} is not one of the treatments {treatments}")
        if self.score in (self.metric.name, self.metric.column):
            raise ValueError(f"score: {self.score!r} is the outcome itself")
        self.analysis_plan()
        return self

    def analysis_plan(self) -> AnalysisPlan:
        """The plan that opens the source: the metric, and the score as a column beside it."""
        return AnalysisPlan(
            arms=self.arms,
            control=self.control,
            metrics=(self.metric, Metric(name=self.score)),
            ci_level=self.ci_level,
        )
