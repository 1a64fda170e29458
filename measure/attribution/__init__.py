"""Attribution: who gets credit for observed conversions, by named definitions.

Credit is no cause: only the incrementality of a holdout says what a channel brought.
"""

from measure.attribution.attribute import attribute_engine, attribute_paths, attribute_tables
from measure.attribution.definition import DEFAULT_MODELS, MODELS

__all__ = ["DEFAULT_MODELS", "MODELS", "attribute_engine", "attribute_paths", "attribute_tables"]
