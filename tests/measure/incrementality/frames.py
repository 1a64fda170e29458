"""A unit table over a pandas frame: the same methods as the engine's, for fast tests."""

from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
import pyarrow as pa

from measure.grams import Grams
from measure.moments import DENOMINATOR, EXPOSURE, CellMoments, Moments
from measure.plan import AnalysisPlan
from measure.results import Cohort


@dataclass(frozen=True)
class Counted:
    values: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Timed:
    times: np.ndarray
    events: np.ndarray
    censored: np.ndarray
    beyond: int


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
        columns = [*(c for m in plan.metrics for c in m.columns), *plan.covariates]
        columns += [plan.exposure] if plan.exposure else []
        self.raw = {name: frame[name].to_numpy(dtype=float) for name in columns}
        self.data = dict(self.raw)
        for name in plan.covariates:
            values = self.raw[name]
            self.data[name] = np.where(np.isnan(values), np.nanmean(values), values)
        for metric in plan.metrics:
            beside = metric.denominator or metric.event
            if beside:
                both = self.raw[metric.column] + self.raw[beside]
                self.data[metric.column] = np.where(np.isnan(both), np.nan, self.raw[metric.column])
        names = (*plan.cohorts, *plan.strata)
        self.dimensions = {name: frame[name].astype(str).to_numpy() for name in names}

    def _cohorts(self):
        yield None, np.ones(len(self.code), dtype=bool)
        for name in self.plan.cohorts:
            values = self.dimensions[name]
            for value in np.unique(values):
                yield Cohort(name, str(value)), values == value

    def _beside(self, metric):
        beside = ((DENOMINATOR, metric.denominator), (EXPOSURE, self.plan.exposure))
        return {role: column for role, column in beside if column}

    def moments_by_stratum(self):
        parts = zip(*(self.dimensions[name] for name in self.plan.strata), strict=True)
        labels = np.array([" · ".join(part) for part in parts])
        return {str(label): self.moments(labels == label) for label in np.unique(labels)}

    def joint_moments(self):
        names = self.plan.cohorts
        values = np.array(list(zip(*(self.dimensions[name] for name in names), strict=True)))
        found = {}
        for combination in np.unique(values, axis=0):
            cells = self.moments((values == combination).all(axis=1), everybody=True).cells
            found |= {
                (metric, tuple(combination.tolist()), arm): moments
                for (metric, _, arm), moments in cells.items()
            }
        return found

    def moments(self, inside=True, everybody=False) -> CellMoments:
        cells, missing = {}, {}
        masks = {arm: (self.code == place) & inside for place, arm in enumerate(self.arms)}
        for metric in self.plan.metrics:
            beside = self._beside(metric)
            names = [metric.column, *self.plan.covariates, *beside.values()]
            matrix = np.column_stack([self.data[name] for name in names])
            known = ~np.isnan(matrix[:, 0])
            columns = (metric.name, *self.plan.covariates, *beside)
            for arm, in_arm in masks.items():
                missing[(metric.name, arm)] = int((in_arm & ~known).sum())
            cohorts = islice(self._cohorts(), 1 if everybody else None)
            for cohort, members in cohorts:
                for arm, in_arm in masks.items():
                    part = matrix[in_arm & members & known]
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

    def event_counts(self, metric: str, cohort: Cohort | None = None):
        """Units at each time by pandas alone; units without a time or an event are left out."""
        wanted = self.plan.metric(metric)
        table = pd.DataFrame({"time": self.data[wanted.column], "event": self.raw[wanted.event]})
        inside = table.notna().all(axis=1).to_numpy()
        if cohort is not None:
            inside = inside & (self.dimensions[cohort.dimension] == cohort.value)
        found = {}
        for place, arm in enumerate(self.arms):
            mine = table[inside & (self.code == place)]
            within = mine[mine.time <= wanted.horizon]
            counted = within.groupby("time").event.agg(["sum", "count"])
            events = counted["sum"].to_numpy(dtype=np.int64)
            found[arm] = Timed(
                counted.index.to_numpy(dtype=float),
                events,
                counted["count"].to_numpy(dtype=np.int64) - events,
                int((mine.time > wanted.horizon).sum()),
            )
        return found

    def grams(self, dimensions, folds):
        """Folds are dealt at random; metrics without gaps share a block as in the engine."""
        fold = np.random.default_rng(self.plan.seed).integers(0, folds, len(self.code))
        names = list(self.plan.covariates)
        covariates = [self.data[name] for name in names]
        gaps = {m.name for m in self.plan.metrics if np.isnan(self.data[m.column]).any()}
        blocks = [[m.name for m in self.plan.metrics if m.name not in gaps], *([n] for n in gaps)]
        metrics = {m.name: self.data[m.column] for m in self.plan.metrics}
        found = {}
        for dimension in (None, *dimensions):
            labels, code = [None], np.zeros(len(self.code), dtype=int)
            if dimension is not None:
                values, code = np.unique(self.dimensions[dimension], return_inverse=True)
                labels = [Cohort(dimension, str(value)) for value in values]
            found[dimension] = []
            for block in filter(None, blocks):
                matrix = np.column_stack([*(metrics[n] for n in block), *covariates])
                known = ~np.isnan(matrix).any(axis=1)
                codes = tuple(c[known].astype(int) for c in (fold, code, self.code))
                found[dimension].append(
                    Grams.from_values(
                        (block, names), labels, self.arms, codes, matrix[known], folds
                    )
                )
        return found

    def rows(self, columns):
        table = {"arm": pa.array([self.arms[code] for code in self.code], pa.string())}
        metrics = {m.name: m.column for m in self.plan.metrics}
        for metric in self.plan.metrics:
            beside = self._beside(metric)
            metrics |= {f"{metric.name} {role}": column for role, column in beside.items()}
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
