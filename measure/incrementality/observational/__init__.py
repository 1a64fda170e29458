"""What can be said where units were not randomised: graph, identify, estimate, refute.

The graph says which covariates must be held equal (identified with DoWhy); several estimators do
so in different ways; refuters and a sensitivity analysis try to break what they found.
"""

from measure.incrementality.observational.study import PACKAGES, Study, observe

__all__ = ["PACKAGES", "Study", "observe"]
