"""Specifications that tests start from."""

from pathlib import Path

from designs.experiment import Experiment
from designs.specification import parse_specification

ROOT = Path(__file__).resolve().parents[2]
HILLSTROM = ROOT / "examples" / "hillstrom.yaml"

RUN_HERE = """\
key: {key}
hypothesis: The newsletter brings orders that would not have happened.
arms: {{newsletter: 0.9, control: 0.1}}
control: control
metrics:
  - {{name: revenue, unit: EUR, role: primary}}
  - {{name: conversion, kind: proportion}}
covariates: [prior_orders]
cohorts: [country]
plan: {{window_days: 28, estimators: [difference, cuped]}}
campaigns: [spring]
schedule: {{start: 2026-03-01, end: 2026-03-29T00:00:00+01:00}}
{more}
"""


def written(key: str = "spring-newsletter", more: str = "") -> str:
    """Text of an experiment that the registry runs."""
    return RUN_HERE.format(key=key, more=more)


def experiment(key: str = "spring-newsletter", more: str = "") -> Experiment:
    """An experiment that the registry runs."""
    return parse_specification(written(key, more), "test.yaml").experiment
