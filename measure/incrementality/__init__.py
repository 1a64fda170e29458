"""What a treatment caused: checks first, then estimates per metric, arm and cohort.

Nothing heavy is imported here: estimators load their packages when they run.
"""

from measure.incrementality.analyze import analyze
from measure.incrementality.checks import sample_ratio_check

__all__ = ["analyze", "sample_ratio_check"]
