"""Validation of propensity and uplift scores against randomised holdouts."""
