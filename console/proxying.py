"""Pairs of effects, on a quick and on a slow metric, from experiments that are over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from console.measuring import assigned_outcomes, is_specification
from measure.errors import InputError, UnknownName

if TYPE_CHECKING:
    from designs.experiment import Experiment
    from measure.engine.connection import Engine
    from measure.engine.units import UnitTable
    from measure.incrementality.proxies import PairedEffect, ProxyCheck
    from measure.plan import AnalysisPlan, Metric

_KINDS = ("mean", "proportion", "count")


def check(targets: Sequence[str], *, proxy: str, target: str) -> ProxyCheck:
    """Judge a proxy by the experiments named: keys of the registry, or specifications."""
    from measure.incrementality.proxies import check_proxy

    if proxy == target:
        raise InputError.rule("--proxy", proxy, "must be another metric than --target")
    pairs = [pair for name in targets for pair in _pairs(name, proxy, target)]
    return check_proxy(pairs, proxy=proxy, target=target)


def _pairs(name: str, proxy: str, target: str) -> Iterator[PairedEffect]:
    """One pair per treated arm; both metrics are read in one scan, with their covariance."""
    from measure.incrementality.proxies import paired_effect

    experiment, engine, base = _opened(name)
    with engine:
        quick, slow = _metric(experiment, proxy), _metric(experiment, target)
        plan = experiment.analysis_plan().model_copy(
            update={
                "metrics": (slow,),
                "covariates": (quick.column,),
                "cohorts": (),
                "exposure": None,
            }
        )
        moments = _units(engine, experiment, plan, base).moments()
        for arm in plan.treatments:
            control, treated = (moments.get(slow.name, a) for a in (plan.control, arm))
            pair = paired_effect(f"{experiment.key}: {arm}", control, treated)
            if pair is not None:
                yield pair


def _opened(name: str) -> tuple[Experiment, Engine, Path]:
    """The experiment, an engine that has its results, and the folder its paths start from."""
    from console.accounting import period_of
    from console.gates import report_gate
    from console.workspace import Workspace
    from measure.engine.connection import connect

    if is_specification(name):
        from designs.specification import load_experiment

        path = Path(name)
        experiment = load_experiment(path)
        source = experiment.source
        if source is None:
            raise InputError.rule(name, experiment.key, "brings no results along; name its key")
        engine = Workspace.find(path.parent).connect() if source.table else connect()
        return experiment, engine, path.parent
    workspace = Workspace.find()
    with workspace.open_registry() as registry:
        entry = registry.get(name)
        experiment = entry.experiment
    end = period_of(entry).end if entry.started_at else None
    return experiment, report_gate(workspace.connect(), end).engine, workspace.root


def _units(engine: Engine, experiment: Experiment, plan: AnalysisPlan, base: Path) -> UnitTable:
    from measure.engine.units import open_source, unit_table

    if experiment.source is not None:
        return open_source(engine, experiment.source, plan, base)
    return unit_table(engine, assigned_outcomes(engine, experiment), "arm", plan)


def _metric(experiment: Experiment, name: str) -> Metric:
    found = {metric.name: metric for metric in experiment.metrics}
    if name not in found:
        raise UnknownName.of("metric", name, found, experiment.key)
    metric = found[name]
    if metric.kind not in _KINDS:
        rule = f"is a {metric.kind}; a proxy check needs metrics of kind {', '.join(_KINDS)}"
        raise InputError.rule(f"{experiment.key}: metric", name, rule)
    return metric
