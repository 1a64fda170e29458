"""Group J, models: credits that add up, that the paths identify, and that agree with each other.

These checks look at an attribution and at an experiment's estimate that were handed in, not at
rows. Money of an attribution is in major units; it is rounded to minor units once, at the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

from measure.currency import minor_digits
from measure.engine.expressions import moment
from measure.reconcile.check import DeclaredCheck, answer, money_text
from measure.reconcile.sources import Sources
from measure.results import Attribution, Check, Cohort, Credit, Outcome, Severity

_ROUNDING = 1e-6
"""Share of the total by which sums of credits may differ from it."""


def _attribution(sources: Sources) -> Attribution:
    """The attribution; a check that needs one only runs where there is one."""
    if sources.attribution is None:
        raise LookupError("no attribution was given")
    return sources.attribution


def _minor(sources: Sources, major: float) -> int:
    factor: int = 10 ** minor_digits(sources.currency)
    return round(major * factor)


def _answer(
    declared: DeclaredCheck,
    sources: Sources,
    message: str,
    rows: Sequence[Mapping[str, Any]] = (),
    money: int | None = None,
) -> Check:
    """Flagged where there are rows, else passed."""
    return answer(
        declared,
        Outcome.FLAGGED if rows else Outcome.PASSED,
        message,
        rows=len(rows),
        money=money,
        currency=sources.currency,
        evidence=tuple(rows[: sources.settings.evidence_rows]),
    )


def _not_applicable(declared: DeclaredCheck, reason: str) -> Check:
    return answer(declared, Outcome.NOT_APPLICABLE, f"Not applicable: {reason}.")


_of_credits = partial(
    DeclaredCheck,
    severity=Severity.WARNING,
    needs={},
    needs_attribution=True,
    disposition="hold",
)
"""A check of an attribution that was handed in."""


def _name(cohort: Cohort | None) -> str:
    return "everybody" if cohort is None else f"{cohort.dimension} = {cohort.value}"


def _sums(given: Iterable[Credit]) -> dict[str, dict[str, tuple[float, float]]]:
    """Conversions and value by cohort and model."""
    sums: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for credit in given:
        models = sums[_name(credit.cohort)]
        conversions, value = models.get(credit.model, (0.0, 0.0))
        models[credit.model] = (conversions + credit.conversions, value + credit.value)
    return sums


def _conserved(sources: Sources) -> Check:
    """Sums against the stated total; of a cohort, against the first model that credits it."""
    given, declared = _attribution(sources), CREDIT_CONSERVATION
    rows, gap, sums = [], 0.0, 0
    for cohort, models in _sums(given.credits).items():
        total = (given.total_conversions, given.total_value)
        wanted = total if cohort == "everybody" else next(iter(models.values()))
        for model, credited in models.items():
            sums += 1
            if all(
                abs(c - w) <= _ROUNDING * max(abs(w), 1)
                for c, w in zip(credited, wanted, strict=True)
            ):
                continue
            gap += abs(credited[1] - wanted[1])
            rows.append(
                {
                    "model": model,
                    "cohort": cohort,
                    "credited_conversions": credited[0],
                    "conversions": wanted[0],
                    "credited_value": credited[1],
                    "value": wanted[1],
                }
            )
    if not sums:
        return _not_applicable(declared, "the attribution credits nobody")
    if not rows:
        text = f"Credits of every model add up to the conversions ({sums:,} sums examined)."
        return _answer(declared, sources, text, money=0)
    text = f"{len(rows):,} of {sums:,} sums of credits differ from the conversions they divide."
    return _answer(declared, sources, text, rows, _minor(sources, gap))


CREDIT_CONSERVATION = _of_credits(
    code="J1",
    name="credit_conservation",
    title="Credits that do not add up",
    judge=_conserved,
)


def _identified(sources: Sources) -> Check:
    """Markov credits need journeys that did not convert."""
    given, declared = _attribution(sources), CONVERTER_ONLY_PATHS
    refused = given.definition.get("refused") or {}
    rows = [
        {"model": model, "reason": reason}
        for model, reason in refused.items()
        if model.split(" ")[0] == "markov"
    ]
    used = any(credit.model == "markov" for credit in given.credits)
    if not rows and not used:
        return _not_applicable(declared, "no Markov model was asked for")
    journeys = given.definition.get("journeys")
    if used and journeys is not None and journeys <= given.total_conversions:
        rows.append({"model": "markov", "reason": "every journey converted"})
    if not rows:
        text = "Removal effects rest on journeys that did not convert as well."
        return _answer(declared, sources, text)
    rest = "model rests" if len(rows) == 1 else "models rest"
    text = (
        f"{len(rows):,} Markov {rest} on journeys that all converted, which leaves removal effects "
        "unidentified: with a base rate of 1 every channel is alike."
    )
    return _answer(declared, sources, text, rows)


CONVERTER_ONLY_PATHS = _of_credits(
    code="J2",
    name="converter_only_paths",
    title="Markov credits without journeys that failed",
    judge=_identified,
)


def _shares(given: Attribution) -> dict[str, dict[str, float]]:
    """Share of the whole population's conversions by model and channel."""
    shares: dict[str, dict[str, float]] = defaultdict(dict)
    for credit in given.credits:
        if credit.cohort is None:
            shares[credit.model][credit.channel] = credit.share
    return shares


def _disagree(sources: Sources) -> Check:
    """The range of each channel's share over the models, times the value they divide."""
    given, declared = _attribution(sources), MODEL_DISAGREEMENT
    shares, limit = _shares(given), sources.settings.model_disagreement
    if len(shares) < 2:
        return _not_applicable(declared, "the attribution has fewer than two models")
    channels = sorted({channel for model in shares.values() for channel in model})
    rows = []
    for channel in channels:
        by_model = {name: model.get(channel, 0.0) for name, model in shares.items()}
        low = min(by_model, key=lambda name: by_model[name])
        high = max(by_model, key=lambda name: by_model[name])
        spread = by_model[high] - by_model[low]
        if spread > limit:
            rows.append(
                {
                    "channel": channel,
                    "lowest_model": low,
                    "lowest_share": by_model[low],
                    "highest_model": high,
                    "highest_share": by_model[high],
                    "money_at_risk": _minor(sources, spread * given.total_value),
                }
            )
    if not rows:
        text = (
            f"The share of every channel differs by at most {100 * limit:g} points between models "
            f"({len(channels):,} channels under {len(shares):,} models examined)."
        )
        return _answer(declared, sources, text, money=0)
    moved = _minor(sources, _moved(shares, channels) * given.total_value)
    text = (
        f"The share of {len(rows):,} of {len(channels):,} channels differs by more than "
        f"{100 * limit:g} points between models. Between the two that differ most, "
        f"{money_text(moved, sources.currency)} change channel."
    )
    return _answer(declared, sources, text, rows, moved)


def _moved(shares: Mapping[str, Mapping[str, float]], channels: Sequence[str]) -> float:
    """The largest part of all credit that changes channel between two models, counted once."""
    return max(
        sum(abs(one.get(channel, 0.0) - other.get(channel, 0.0)) for channel in channels) / 2
        for one, other in combinations(shares.values(), 2)
    )


MODEL_DISAGREEMENT = _of_credits(
    code="J3",
    name="model_disagreement",
    title="Models that disagree",
    severity=Severity.NOTE,
    disposition="note",
    judge=_disagree,
)


def _claimed_under_test(sources: Sources) -> tuple[int, int]:
    """Number and money of the claims that the experiment can be held against."""
    claims, tested = sources.claims, sources.experiment
    if tested is not None:
        converted = claims.converted_at
        claims = claims.filter(
            converted >= moment(tested.start, converted), converted <= moment(tested.end, converted)
        )
        if tested.campaigns:
            claims = claims.filter(claims.campaign.isin(sorted(tested.campaigns)))
    total = claims.aggregate(rows=claims.count(), money=claims.value.sum().cast("int64"))
    row = sources.engine.fetch(total).to_pylist()[0]
    return int(row["rows"]), int(row["money"] or 0)


def _calibrated(sources: Sources) -> Check:
    """What platforms credit themselves with against what the experiment says they caused."""
    declared, caused = SELF_CREDIT, sources.incremental
    if caused is None:
        raise LookupError("no experiment estimate was given")
    if caused.currency != sources.currency:
        return _not_applicable(declared, f"the estimate is in {caused.currency}")
    claims, claimed = _claimed_under_test(sources)
    if claimed <= 0:
        return _not_applicable(declared, "no platform claims anything under test")
    factor, low, high = (
        number / claimed for number in (caused.money, caused.money_low, caused.money_high)
    )
    calibration = (
        f"{claims:,} claims under test say {money_text(claimed, sources.currency)}, the experiment "
        f"{money_text(caused.money, sources.currency)}: a calibration factor of {factor:.3f} "
        f"({100 * caused.ci_level:g} % interval {low:.3f} to {high:.3f})".replace("-", "−")
    )
    if low <= 1 <= high:
        return _answer(declared, sources, f"{calibration}, which includes 1.", money=0)
    row = {
        "claimed": claimed,
        "incremental": caused.money,
        "factor": factor,
        "factor_low": low,
        "factor_high": high,
        **_modelled(sources),
    }
    return _answer(declared, sources, f"{calibration}.", [row], claimed - caused.money)


def _modelled(sources: Sources) -> dict[str, Any]:
    """What each model credits all channels with, in minor units, beside claim and experiment."""
    if sources.attribution is None:
        return {}
    sums = _sums(sources.attribution.credits).get("everybody", {})
    return {f"credited_by_{model}": _minor(sources, value) for model, (_, value) in sums.items()}


SELF_CREDIT = DeclaredCheck(
    code="J4",
    name="platform_self_credit",
    title="Claims against the experiment",
    severity=Severity.WARNING,
    needs={"claims": ("claim_id", "campaign", "converted_at", "value", "currency")},
    needs_incremental=True,
    disposition="note",
    judge=_calibrated,
)


def _negative(sources: Sources) -> Check:
    """Credits below nothing, and removal effects cut off at nothing."""
    given, declared = _attribution(sources), NEGATIVE_EFFECTS
    if not given.credits:
        return _not_applicable(declared, "the attribution credits nobody")
    credited = {
        (_name(credit.cohort), credit.channel)
        for credit in given.credits
        if credit.model != "markov" and credit.conversions > 0
    }
    rows, value = [], 0.0
    for credit in given.credits:
        cohort = _name(credit.cohort)
        effect = credit.removal_effect
        below = min(credit.conversions, credit.value, 0.0 if effect is None else effect) < 0
        clamped = effect == 0 and (cohort, credit.channel) in credited
        if below or clamped:
            value += abs(credit.value)
            rows.append(
                {
                    "model": credit.model,
                    "channel": credit.channel,
                    "cohort": cohort,
                    "what": "negative" if below else "clamped at zero",
                    "conversions": credit.conversions,
                    "value": credit.value,
                    "removal_effect": effect,
                }
            )
    if not rows:
        text = f"No credit or removal effect is negative ({len(given.credits):,} examined)."
        return _answer(declared, sources, text, money=0)
    text = (
        f"{len(rows):,} of {len(given.credits):,} credits are negative, or rest on a removal "
        "effect that was cut off at zero."
    )
    return _answer(declared, sources, text, rows, _minor(sources, value))


NEGATIVE_EFFECTS = _of_credits(
    code="J5",
    name="negative_effects",
    title="Negative or clamped effects",
    judge=_negative,
)
