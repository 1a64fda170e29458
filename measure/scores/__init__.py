"""Scores judged by what they are for: finding the people whom a treatment moves."""

from measure.scores.validation import ScoreValidation, score_spec, validate_score

__all__ = ["ScoreValidation", "score_spec", "validate_score"]
