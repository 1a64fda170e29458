"""Sentences of a plan: how a lift comes about, who is reached, what of the days is pattern."""

from __future__ import annotations

from designs.planning.results import DesignPlan, Placebo, Season
from reports.numbers import count, percent
from reports.words import clean

_ACTS = {
    "buyers": "a lift brings more buyers",
    "amounts": "a lift makes amounts larger",
    "shift": "a lift gives every unit the same more",
}


def assumption_sentence(plan: DesignPlan) -> str:
    """The lift that is expected, where that comes from, and how it comes about."""
    a = plan.assumptions
    return (
        f"Expected lift {percent(a['lift'], signed=True)} ± {percent(a['lift_sd'])} "
        f"({clean(str(a['lift_source']), 200)}); wanted power {percent(a['power'])}; "
        f"{_ACTS[a['acts']]}."
    )


def reached_sentence(plan: DesignPlan) -> str:
    """What the lift is among units reached; empty where their share is not assumed."""
    a = plan.assumptions
    if a.get("reached") is None:
        return ""
    worst = max((p.mde_reached or 0.0 for p in plan.leading()), default=0.0)
    known = f"; the MDE is {percent(worst, signed=True)} among units reached" if worst else ""
    return (
        f"{percent(a['reached'])} of an arm are expected to be reached: a lift of "
        f"{percent(a['lift_reached'], signed=True)} among them is "
        f"{percent(a['lift'], signed=True)} among all{known}."
    )


def season_sentence(season: Season | None) -> str:
    """How much of what is not trend the week and the year explain."""
    if season is None or season.weekly is None:
        return ""
    year = ""
    if season.yearly is not None:
        year = f", the time of year {percent(season.yearly)} of what weeks leave"
    return f"Weekdays explain {percent(season.weekly)} of the orders’ variation by day{year}."


def placebo_sentence(found: Placebo | None) -> str:
    """What a reading without a control group would have called an effect."""
    if found is None:
        return ""
    return (
        f"Without a control group: in {count(found.changed)} of {count(found.pairs)} pairs of "
        f"adjoining windows of {count(found.days)} days, orders changed by "
        f"{percent(found.lift)} or more when this test did nothing."
    )
