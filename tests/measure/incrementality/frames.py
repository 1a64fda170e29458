"""A unit table over a pandas frame: the same methods as the engine's, for fast tests."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from measure.moments import CellMoments, Moments
from measure.plan import AnalysisPlan
from measure.results import Cohort


@dataclass(frozen=True)
class Counted:
    values: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Profiled:
    n: int
    missing: int
    mean: float | None


class FrameUnits:
    """Metrics with ``null: drop`` only; no winsorizing."""

    data_hash = None

    def __init__(self, frame: pd.DataFrame, arm: str, plan: AnalysisPlan) -> None:
        self.plan = plan
        self.arms = list(plan.arms)
        self.code = pd.Categorical(frame[arm], categories=self.arms).codes
        columns = [*(m.column for m in plan.metrics), *plan.covariates]
        self.raw = {name: frame[name].to_numpy(dtype=float) for name in columns}
        self.data = dict(self.raw)
        for name in plan.covariates:
            values = self.raw[name]
            self.data[name] = np.where(np.isnan(values), np.nanmean(values), values)
        self.dimensions = {name: frame[name].astype(str).to_numpy() for name in plan.cohorts}

    def _cohorts(self):
        yield None, np.ones(len(self.code), dtype=bool)
        for name, values in self.dimensions.items():
            for value in np.unique(values):
                yield Cohort(name, str(value)), values == value

    def moments(self) -> CellMoments:
        names = list(self.plan.covariates)
        cells, missing = {}, {}
        masks = {arm: self.code == place for place, arm in enumerate(self.arms)}
        for metric in self.plan.metrics:
            matrix = np.column_stack([self.data[metric.column], *(self.data[n] for n in names)])
            known = ~np.isnan(matrix[:, 0])
            columns = (metric.name, *names)
            for arm, in_arm in masks.items():
                missing[(metric.name, arm)] = int((in_arm & ~known).sum())
            for cohort, inside in self._cohorts():
                for arm, in_arm in masks.items():
                    part = matrix[in_arm & inside & known]
                    cells[(metric.name, cohort, arm)] = Moments.from_values(columns, part)
        units = {arm: int(mask.sum()) for arm, mask in masks.items()}
        return CellMoments(cells, units, missing)

    def value_counts(self, metric: str, cohort: Cohort | None = None):
        values = self.data[self.plan.metric(metric).column]
        inside = ~np.isnan(values)
        if cohort is not None:
            inside = inside & (self.dimensions[cohort.dimension] == cohort.value)
        found = {}
        for place, arm in enumerate(self.arms):
            distinct, counts = np.unique(values[inside & (self.code == place)], return_counts=True)
            found[arm] = Counted(distinct, counts)
        return found

    def rows(self, columns):
        table = {"arm": pa.array([self.arms[code] for code in self.code], pa.string())}
        metrics = {m.name: m.column for m in self.plan.metrics}
        for name in columns:
            if name in metrics or name in self.data:
                values = self.data[metrics.get(name, name)]
                table[name] = pa.array(values, mask=np.isnan(values))
            else:
                table[name] = pa.array(self.dimensions[name].tolist(), pa.string())
        return pa.table(table)

    def profile(self):
        metrics = {m.name: m.column for m in self.plan.metrics}
        shown = metrics | {name: name for name in self.plan.covariates}
        found = {}
        for name, column in shown.items():
            known = self.raw[column][~np.isnan(self.raw[column])]
            mean = float(known.mean()) if len(known) else None
            found[name] = Profiled(len(known), len(self.raw[column]) - len(known), mean)
        return found
