"""The health of what was loaded: whether it is fresh, whole, timely, filled and matched."""

from measure.health.results import Health, Incident, MatchDay, MissingShare, SourceHealth, Volume
from measure.health.survey import survey

__all__ = [
    "Health",
    "Incident",
    "MatchDay",
    "MissingShare",
    "SourceHealth",
    "Volume",
    "survey",
]
