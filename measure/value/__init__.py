"""What an effect is worth: incremental revenue, profit, return, and the registered verdict."""

from measure.value.evaluate import QUANTITIES, value_cohorts, value_of
from measure.value.money import Cost
from measure.value.posterior import Posterior
from measure.value.results import CohortValue, Value
from measure.value.verdict import Rule, Verdict, decide

__all__ = [
    "QUANTITIES",
    "CohortValue",
    "Cost",
    "Posterior",
    "Rule",
    "Value",
    "Verdict",
    "decide",
    "value_cohorts",
    "value_of",
]
