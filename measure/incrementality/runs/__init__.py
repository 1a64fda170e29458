"""Estimators over all cells of an analysis; each yields one finding per cell."""
