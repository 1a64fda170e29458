"""Activation logs and platform claims held against first-party conversions."""

from measure.reconcile.settings import ExperimentWindow, IncrementalRevenue, Settings
from measure.reconcile.statement import CATALOGUE, reconcile

__all__ = ["CATALOGUE", "ExperimentWindow", "IncrementalRevenue", "Settings", "reconcile"]
