"""Group C, periods: flights, the day a conversion is booked on, and time that is still to come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from measure.currency import minor_digits
from measure.engine.expressions import Table, cume_dist, ifelse, interval, least, window
from measure.reconcile.check import DeclaredCheck, Findings, Tally
from measure.reconcile.completeness import shown_totals
from measure.reconcile.sources import Sources, seconds_of
from measure.results import Severity

_CELL = ["platform", "campaign", "day"]


def _flights(sources: Sources) -> Table:
    return sources.table("campaigns").select(
        flown_on="platform", flown="campaign", starts="starts_on", ends="ends_on"
    )


def _in_flight_plan(sources: Sources, name: str) -> Table:
    rows, flights = sources.table(name), _flights(sources)
    return rows.join(flights, [rows.platform == flights.flown_on, rows.campaign == flights.flown])


def _planned(sources: Sources) -> Findings:
    return {n: _in_flight_plan(sources, n) for n in ("activations", "spend") if sources.has(n)}


def _stray_touches(sources: Sources) -> Table:
    """Touches whose day lies outside the flight in every time zone of the world."""
    log = _in_flight_plan(sources, "activations")
    latest, earliest = log.ts + interval(hours=14), log.ts - interval(hours=12)
    stray = log.filter((latest.date() < log.starts) | (earliest.date() > log.ends))
    return stray.mutate(day=stray.ts.date())


def _outside_flight(sources: Sources) -> Findings:
    found = {}
    if sources.has("activations"):
        stray = _stray_touches(sources)
        found["activations"] = stray.select(
            entity_id=stray.activation_id,
            raw_id=stray.activation_id,
            amount=sources.cost_of(stray),
            whole=1,
            platform=stray.platform,
            campaign=stray.campaign,
            ts=stray.ts,
            starts_on=stray.starts,
            ends_on=stray.ends,
        )
    if sources.has("spend"):
        found["spend"] = _stray_spend(sources)
    return found


def _stray_spend(sources: Sources) -> Table:
    """Spend outside the flight; its money is left to the touches where they carry a cost."""
    spend = _in_flight_plan(sources, "spend")
    stray = spend.filter((spend.date < spend.starts) | (spend.date > spend.ends))
    factor = 10 ** (6 - minor_digits(sources.currency))
    cost = sources.money_of(stray, "amount") * factor
    if sources.has("activations"):
        touches = _stray_touches(sources)
        touches = touches.filter(touches.cost_micros.notnull())
        priced = touches.select(on="platform", of="campaign", at="day").distinct()
        stray = stray.left_join(
            priced,
            [stray.platform == priced.on, stray.campaign == priced.of, stray.date == priced.at],
        )
        cost = ifelse(stray.on.notnull(), 0, sources.money_of(stray, "amount") * factor)
    cell = stray.platform.concat(" / ", stray.campaign, " / ", stray.date.cast("string"))
    return stray.select(
        entity_id=cell,
        raw_id=cell,
        amount=cost.cast("int64"),
        whole=1,
        platform=stray.platform,
        campaign=stray.campaign,
        date=stray.date,
        starts_on=stray.starts,
        ends_on=stray.ends,
    )


def _flight_sentence(tally: Tally) -> str:
    parts = []
    if tally.rows.get("activations"):
        parts.append(tally.of("activations", "touch", "touches"))
    if tally.rows.get("spend"):
        parts.append(tally.of("spend", "row of spend", "rows of spend"))
    return f"{' and '.join(parts)} lie outside the flight of their campaign"


OUTSIDE_FLIGHT = DeclaredCheck(
    code="C4",
    name="outside_flight",
    title="Touches and spend outside the flight",
    severity=Severity.WARNING,
    needs={"campaigns": ("platform", "campaign", "starts_on", "ends_on")},
    disposition="drop",
    empty="no touch or spend is of a campaign whose flight is known",
    passed="All touches and spend lie within the flight of their campaign",
    flagged=_flight_sentence,
    find=_outside_flight,
    examined=_planned,
)


def _booked(sources: Sources, column: str, name: str) -> Table:
    """Claimed value by platform, campaign and UTC day of one of a claim's two times."""
    claims = sources.claims
    daily = claims.mutate(day=claims[column].date())
    found = daily.group_by(_CELL).aggregate(value=daily.value.sum().cast("int64"))
    return found.rename({f"{name}_{column}": column for column in (*_CELL, "value")})


def _click_totals(sources: Sources) -> Table:
    totals = shown_totals(sources)
    return totals.filter(totals.date_basis == "click", totals.currency == sources.currency)


def _rebased(sources: Sources) -> Findings:
    """Totals by day of click that the day of conversion would change; the difference."""
    totals = _click_totals(sources)
    for column, name in (("touched_at", "click"), ("converted_at", "order")):
        daily = _booked(sources, column, name)
        totals = totals.left_join(
            daily,
            [
                totals.platform == daily[f"{name}_platform"],
                totals.campaign == daily[f"{name}_campaign"],
                totals.date == daily[f"{name}_day"],
            ],
        )
    by_click, by_order = (totals[f"{name}_value"].fill_null(0) for name in ("click", "order"))
    totals = totals.mutate(by_click=by_click, by_order=by_order)
    moved = totals.filter(totals.by_click != totals.by_order)
    cell = moved.platform.concat(" / ", moved.campaign, " / ", moved.date.cast("string"))
    rows = moved.select(
        entity_id=cell,
        raw_id=cell,
        amount=(moved.by_click - moved.by_order).abs().cast("int64"),
        whole=1,
        platform=moved.platform,
        campaign=moved.campaign,
        date=moved.date,
        stated=moved.value,
        by_click_day=moved.by_click,
        by_conversion_day=moved.by_order,
    )
    return {"claim_totals": rows}


DATE_BASIS = DeclaredCheck(
    code="C10",
    name="date_basis_mismatch",
    title="Totals by day of click",
    severity=Severity.NOTE,
    needs={
        "claim_totals": ("platform", "campaign", "date", "date_basis", "value", "currency"),
        "claims": ("platform", "campaign", "touched_at", "converted_at", "value", "currency"),
    },
    disposition="note",
    passed="No total is booked on another day than its conversions",
    flagged=lambda tally: (
        f"{tally.of('claim_totals', 'daily total')} are booked on the day of the click, so they "
        "differ from the books, which go by the day of the conversion"
    ),
    find=_rebased,
    examined=lambda sources: {"claim_totals": sources.table("claim_totals")},
)


def _click_claims(sources: Sources) -> Findings:
    claims = sources.claims
    return {"claims": claims.filter(claims.kind == "click")}


def _too_fast(sources: Sources) -> Findings:
    claims = _click_claims(sources)["claims"]
    soon = claims.touched_at + interval(seconds=sources.settings.fastest_seconds)
    fast = claims.filter(claims.converted_at >= claims.touched_at, claims.converted_at < soon)
    rows = fast.select(
        entity_id=fast.claim_id,
        raw_id=fast.claim_id,
        amount=fast.value,
        whole=1,
        platform=fast.platform,
        order_id=fast.order_id,
        touched_at=fast.touched_at,
        converted_at=fast.converted_at,
    )
    return {"claims": rows}


TOO_FAST = DeclaredCheck(
    code="C11",
    name="click_to_conversion_too_fast",
    title="Conversions too soon after their click",
    severity=Severity.WARNING,
    needs={"claims": ("claim_id", "kind", "touched_at", "converted_at", "value", "currency")},
    disposition="hold",
    stays=True,
    empty="no claim is on a click",
    passed="Every conversion leaves a person time to act after the click",
    flagged=lambda tally: (
        f"{tally.of('claims', 'click claim')} convert within seconds of the click, as injected "
        "clicks do"
    ),
    find=_too_fast,
    examined=_click_claims,
)


def _aged(sources: Sources) -> Table:
    """Click claims with ``lag`` (to the conversion) and ``age`` (to the newest one) in seconds."""
    claims = _click_claims(sources)["claims"]
    longest = least(claims.window_days, sources.settings.click_window_days)
    claims = claims.mutate(
        touched=seconds_of(claims.touched_at),
        lag=seconds_of(claims.converted_at) - seconds_of(claims.touched_at),
    )
    ends = claims.aggregate(
        newest=seconds_of(claims.converted_at).max(), longest=longest.max() * 86_400
    )
    claims = claims.cross_join(ends)
    return claims.mutate(age=claims.newest - claims.touched).filter(lambda t: t.lag >= 0)


def _mature(sources: Sources) -> Table:
    """Claims whose longest window has passed: their lags are known in full."""
    claims = _aged(sources)
    return claims.filter(claims.age >= claims.longest)


def _immature(sources: Sources) -> Findings:
    mature = _mature(sources)
    ranked = mature.mutate(place=cume_dist().over(window(order_by="lag")))
    known = ranked.filter(ranked.place >= sources.settings.complete_share)
    claims = _aged(sources).cross_join(known.aggregate(needed=known.lag.min()))
    young = claims.filter(claims.age < claims.needed)
    rows = young.select(
        entity_id=young.claim_id,
        raw_id=young.claim_id,
        amount=young.value,
        whole=1,
        platform=young.platform,
        touched_at=young.touched_at,
        age_seconds=young.age,
        needed_seconds=young.needed,
    )
    return {"claims": rows}


def _completion(sources: Sources) -> Mapping[str, Any]:
    """Expected share of the young claims' conversions that is already there, from the lag curve."""
    lags = _by_day(sources, _mature(sources), "lag")
    flagged = _immature(sources)["claims"].mutate(age=lambda t: t.age_seconds)
    seen = expected = 0.0
    for age, number in _by_day(sources, flagged, "age").items():
        arrived = sum(n for lag, n in lags.items() if lag <= age) / sum(lags.values())
        seen, expected = seen + number, expected + number / max(arrived, 1 / sum(lags.values()))
    return {"completion": seen / expected if expected else 1.0}


def _by_day(sources: Sources, rows: Table, column: str) -> dict[int, int]:
    """Number of rows per whole day of a duration in seconds."""
    days = rows.mutate(day=(rows[column] / 86_400).floor().cast("int64"))
    counted = sources.engine.fetch(days.group_by("day").aggregate(rows=days.count()))
    return {int(row["day"]): int(row["rows"]) for row in counted.to_pylist()}


IMMATURE = DeclaredCheck(
    code="C12",
    name="immature_window",
    title="Conversions still to come",
    severity=Severity.NOTE,
    needs={
        "claims": (
            "claim_id",
            "kind",
            "touched_at",
            "converted_at",
            "value",
            "currency",
            "window_days",
        )
    },
    disposition="note",
    empty="no click claim is old enough to say how long conversions take",
    passed="Clicks are old enough for their conversions to have arrived",
    flagged=lambda tally: (
        f"{tally.rows['claims']:,} claims rest on clicks so young that about "
        f"{100 * (1 - tally.facts['completion']):.0f} % of the conversions of such clicks are "
        "still to come"
    ),
    find=_immature,
    examined=lambda sources: {"claims": _mature(sources)},
    facts=_completion,
)
