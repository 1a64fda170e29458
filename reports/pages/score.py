"""The page of a score: whether it ranks people by what the treatment does to them."""

from __future__ import annotations

from reports.charts.deciles import DecileBar, decile_chart
from reports.charts.shapes import Chart, Column, Table
from reports.facts import Decile, ScoreReport
from reports.numbers import NONE, Scale, count, interval, number, percent
from reports.pages.cohorts import scale_within, tick_writer
from reports.pages.method import foot, versions
from reports.pages.metrics import with_unit
from reports.pages.model import Block, ChartBlock, KeyFigure, KeyFigures, Link, Page, Prose
from reports.statements import score_headline
from reports.words import clean, plain_name, sentence


def build(report: ScoreReport, file: str, links: tuple[Link, ...]) -> Page:
    """The finished page model."""
    scale = _scale(report)
    return Page(
        file=file,
        title=f"Score · {clean(report.title)}",
        kicker=f"Score validation · {clean(report.title, 60)}",
        headline=_headline(report, scale),
        deck=(sentence(clean(report.note, 400)),) if report.note else (),
        blocks=_blocks(report, scale),
        foot=foot(report.versions, report.generated_on),
        badges=("Synthetic data: a made-up world with known answers",) if report.synthetic else (),
        links=links,
    )


def _scale(report: ScoreReport) -> Scale:
    bounds = tuple((d.ci_low, d.ci_high) for d in report.deciles)
    return scale_within(report.metric, bounds)


def _headline(report: ScoreReport, scale: Scale) -> str:
    lifts = [d.lift for d in report.deciles if d.lift is not None]
    first = report.deciles[0].lift if report.deciles else None
    overall = sum(lifts) / len(lifts) if lifts else None
    qini = report.measures[0] if report.measures else None
    separates = None
    if qini is not None and qini.ci_low is not None and qini.ci_high is not None:
        separates = qini.ci_low > 0 or qini.ci_high < 0
    unit = " pp" if scale.points else ""
    text = f"{scale.value(first)}{unit} in the best tenth" if first is not None else ""
    return score_headline(report.score, first, overall, text, separates=separates)


def _blocks(report: ScoreReport, scale: Scale) -> tuple[Block, ...]:
    figures = tuple(
        KeyFigure(
            plain_name(m.name).capitalize(),
            number(m.value, 4),
            interval(m.ci_low, m.ci_high, lambda x: number(x, 4)),
        )
        for m in report.measures[:4]
    )
    return (
        *((KeyFigures(figures),) if figures else ()),
        *_chart(report, scale),
        Prose("method", "How this was measured", (
            "Units are ranked by the score; within each tenth, treated units are compared with "
            "control units of the randomised holdout.",
        ), (("Made with", versions(report.versions, report.generated_on)),)),
    )  # fmt: skip


def _chart(report: ScoreReport, scale: Scale) -> tuple[Block, ...]:
    if not report.deciles:
        return ()
    bars = [DecileBar(str(d.decile), d.lift, d.ci_low, d.ci_high) for d in report.deciles]
    title = f"Effect on {plain_name(report.metric.name)} by tenth of the score"
    described = f"{len(bars)} bars, the best tenth first, each with its interval."
    names = ("Tenth", "Units", "Difference", "Interval")
    table = Table(
        title,
        tuple(Column(n, i > 0) for i, n in enumerate(names)),
        tuple(_row(d, scale) for d in report.deciles),
    )
    what = with_unit("", scale, "unit").strip()
    lead = f"{what}; 1 is the tenth with the highest scores; {percent(report.ci_level)} intervals"
    drawings = decile_chart("deciles", title, described, bars, tick_writer(scale))
    return (ChartBlock(Chart("deciles", title, lead, drawings, table)),)


def _row(decile: Decile, scale: Scale) -> tuple[str, ...]:
    has = decile.ci_low is not None and decile.ci_high is not None
    bounds = scale.interval(decile.ci_low, decile.ci_high) if has else NONE
    return (str(decile.decile), count(decile.n), scale.value(decile.lift), bounds)
