"""Group D, releases: a log that counts otherwise since a version or a tag went live.

Rows per unit of spend, by day, in the fourteen days before a release and the fourteen after it
(whole weeks, so weekdays weigh alike; the day itself belongs to neither). The step is held against
Welch's standard error, or the Poisson one of the rows where that is larger.
"""

from __future__ import annotations

from measure.engine.expressions import Table, coalesce, greatest, interval, or_
from measure.reconcile.check import DeclaredCheck, Findings
from measure.reconcile.sources import Sources
from measure.results import Severity

DAYS = 14
FEWEST_DAYS = 7
"""Days with spend on either side below which a release is not judged."""
_WHERE = ["platform", "release"]


def _daily(sources: Sources) -> Table:
    """Logged rows and spend of each day that a platform was paid on, with the releases near it."""
    spend, log, releases = (sources.table(name) for name in ("spend", "activations", "releases"))
    paid = spend.mutate(money=sources.money_of(spend, "amount"))
    paid = paid.group_by(["platform", "date"]).aggregate(spent=paid.money.sum().cast("int64"))
    counted = log.select(on="platform", at=log.ts.date())
    counted = counted.group_by(["on", "at"]).aggregate(found=counted.count())
    paid = paid.filter(paid.spent > 0)
    days = paid.left_join(counted, [paid.platform == counted.on, paid.date == counted.at])
    days = days.select("platform", "date", "spent", rows=coalesce(days.found, 0).cast("int64"))
    near = releases.select("release", "released_on", only="platform")
    days = days.cross_join(near)
    return days.filter(
        or_(days.only.isnull(), days.only == days.platform), days.date != days.released_on
    )


def _level(days: Table, name: str) -> Table:
    """Rows per unit of spend over some days: mean, squared standard error, and what they rest on.

    Columns end in ``_<name>``.
    """
    ratio = days.rows.cast("float64") / days.spent
    days = days.mutate(ratio=ratio)
    level = days.group_by(_WHERE).aggregate(
        days=days.count(),
        rows=days.rows.sum().cast("int64"),
        spent=days.spent.sum().cast("int64"),
        mean=days.ratio.mean(),
        variance=days.ratio.var(how="sample"),
    )
    level = level.filter(level.days >= FEWEST_DAYS)
    poisson = level.rows.cast("float64") / level.spent / level.spent
    level = level.mutate(square=greatest(level.variance / level.days, poisson))
    return level.rename({f"{column}_{name}": column for column in level.columns})


def _levels(sources: Sources) -> Table:
    days = _daily(sources)
    before = days.filter(
        days.date < days.released_on, days.date >= days.released_on - interval(days=DAYS)
    )
    after = days.filter(
        days.date > days.released_on, days.date <= days.released_on + interval(days=DAYS)
    )
    one, other = _level(before, "before"), _level(after, "after")
    return one.join(
        other,
        [one.platform_before == other.platform_after, one.release_before == other.release_after],
    )


def _steps(sources: Sources) -> Findings:
    settings, levels = sources.settings, _levels(sources)
    step = (levels.mean_after - levels.mean_before).abs()
    error = (levels.square_after + levels.square_before).sqrt()
    wrong = levels.filter(
        step > levels.mean_before * settings.volume_step, step > error * settings.volume_deviations
    )
    where = wrong.platform_before.concat(" / ", wrong.release_before)
    rows = wrong.select(
        entity_id=where,
        raw_id=where,
        amount=wrong.spent_after,
        whole=1,
        platform=wrong.platform_before,
        release=wrong.release_before,
        rows_before=wrong.rows_before,
        spend_before=wrong.spent_before,
        rows_after=wrong.rows_after,
        spend_after=wrong.spent_after,
    )
    return {"releases": rows}


VOLUME_STEP = DeclaredCheck(
    code="D2",
    name="volume_step",
    title="Logs that count otherwise since a release",
    severity=Severity.WARNING,
    needs={
        "activations": ("platform", "ts"),
        "spend": ("platform", "date", "amount", "currency"),
        "releases": ("release", "released_on"),
    },
    disposition="note",
    empty="no release has a week with spend on either side",
    passed="No release changed how many rows a platform logs for its spend",
    flagged=lambda tally: (
        f"{tally.of('releases', 'release of a platform', 'releases of platforms')} changed how "
        "many rows are logged for the same spend"
    ),
    find=_steps,
    examined=lambda sources: {"releases": _levels(sources)},
)
