"""Charts as frozen drawings: Python computes every coordinate, a macro places them as SVG."""

from reports.charts.shapes import Chart, Column, Drawing, Table

__all__ = ["Chart", "Column", "Drawing", "Table"]
