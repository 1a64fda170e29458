"""Group H, protected: hashes of another writing, cells too small to show, people to be spared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from measure.engine.expressions import Table, ifelse, null, or_
from measure.reconcile.check import DeclaredCheck, Findings, answer, without_money
from measure.reconcile.sources import Sources
from measure.reconcile.touches import flagged_touches
from measure.results import Attribution, Check, Outcome, Severity

_ONE = ["kind", "identifier"]


def _written_otherwise(sources: Sources) -> Findings:
    """Identities that carry the hash of a writing that nobody normalised.

    ``hash_variants`` maps such hashes to that of the normalised writing; it is made where the
    addresses are known, and holds none of them.
    """
    variants, known = sources.table("hash_variants"), sources.table("identities")
    variants = variants.filter(variants.identifier != variants.normal)
    variants = variants.select(of="kind", written="identifier", variant="variant")
    hit = known.join(variants, [known.kind == variants.of, known.identifier == variants.written])
    rows = hit.select(
        **without_money(hit.customer_id, hit.customer_id.concat(": ", hit.kind)),
        kind=hit.kind,
        variant=hit.variant,
        source=hit.source,
    )
    return {"identities": rows}


def _variants_known(sources: Sources) -> Findings:
    known = sources.table("identities")
    kinds = sources.table("hash_variants").select(of="kind").distinct()
    return {"identities": known.semi_join(kinds, known.kind == kinds.of)}


HASH_OF_ANOTHER_WRITING = DeclaredCheck(
    code="H6",
    name="hash_normalisation_mismatch",
    title="Hashes of addresses that were not normalised",
    severity=Severity.WARNING,
    needs={
        "identities": ("customer_id", "kind", "identifier"),
        "hash_variants": (*_ONE, "normal", "variant"),
    },
    disposition="hold",
    empty="no identity is of a kind whose variants are known",
    passed="No identity is the hash of a writing that was not normalised",
    flagged=lambda tally: (
        f"{tally.of('identities', 'hashed identity', 'hashed identities')} match a known person "
        "only as the hash of a writing that was not normalised (capitals, blanks, dots): "
        "normalise before hashing, else they count as other people"
    ),
    find=_written_otherwise,
    examined=_variants_known,
)


def _people(given: Attribution) -> dict[str, dict[str, float]]:
    """Conversions by dimension and cohort, as the first model that credits the cohort counts."""
    counted: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for credit in given.credits:
        if credit.cohort is not None:
            models = counted[credit.cohort.dimension, str(credit.cohort.value)]
            models[credit.model] = models.get(credit.model, 0.0) + credit.conversions
    cells: dict[str, dict[str, float]] = defaultdict(dict)
    for (dimension, cohort), models in counted.items():
        cells[dimension][cohort] = next(iter(models.values()))
    return cells


def _small(cells: Mapping[str, Mapping[str, float]], least: int) -> Iterator[dict[str, Any]]:
    """Cells below the limit, and where one stands alone the next, which gives it away."""
    for dimension, cohorts in cells.items():
        ranked = sorted(cohorts, key=lambda cohort: (cohorts[cohort], cohort))
        ranked = [cohort for cohort in ranked if cohorts[cohort] > 0]
        small = [cohort for cohort in ranked if cohorts[cohort] < least]
        shown = ranked[:2] if len(small) == 1 else small
        for cohort in shown:
            alone = cohort not in small
            yield {
                "dimension": dimension,
                "cohort": cohort,
                "conversions": cohorts[cohort],
                "reason": "the total less the others gives a small one away" if alone else "small",
            }


def _cells(sources: Sources) -> Check:
    declared, least = SMALL_CELL, sources.settings.min_cell
    cells = _people(sources.attribution) if sources.attribution is not None else {}
    number = sum(len(cohorts) for cohorts in cells.values())
    if not number:
        text = "Not applicable: the attribution has no cohorts."
        return answer(declared, Outcome.NOT_APPLICABLE, text)
    rows = list(_small(cells, least))
    small = sum(row["reason"] == "small" for row in rows)
    text = f"Every cohort rests on {least:,} conversions or more ({number:,} examined)."
    if rows:
        text = (
            f"{small:,} of {number:,} cohorts rest on fewer than {least:,} conversions, and "
            f"{len(rows) - small:,} more would give one of them away: do not publish them."
        )
    return answer(
        declared,
        Outcome.FLAGGED if rows else Outcome.PASSED,
        text,
        rows=len(rows),
        evidence=tuple(rows[: sources.settings.evidence_rows]),
    )


SMALL_CELL = DeclaredCheck(
    code="H7",
    name="small_cell",
    title="Cells too small to publish",
    severity=Severity.WARNING,
    needs={},
    needs_attribution=True,
    disposition="hold",
    judge=_cells,
)


def _told(sources: Sources) -> Table:
    """Touches with ``minor`` and ``sensitive``; empty where nobody says."""
    log = sources.table("activations")
    nobody = null().cast("boolean")
    if sources.has("customers"):
        people = sources.table("customers").select(whose="customer_id", of_age="minor")
        log = log.left_join(people, log.customer_id == people.whose)
        log = log.rename(minor="of_age").drop("whose")
    else:
        log = log.mutate(minor=nobody)
    if not sources.has("campaigns"):
        return log.mutate(sensitive=nobody)
    plan = sources.table("campaigns").select(on="platform", of="campaign", built_on="sensitive")
    log = log.left_join(plan, [log.platform == plan.on, log.campaign == plan.of])
    return log.rename(sensitive="built_on").drop("on", "of")


def _to_be_spared(sources: Sources) -> Findings:
    log = _told(sources)
    bad = log.filter(or_(log.minor, log.sensitive))
    both = ifelse(bad.sensitive, "minor, sensitive segment", "minor")
    reason = ifelse(bad.minor, both, "sensitive segment")
    return flagged_touches(sources, bad, reason=reason)


def _known_either(sources: Sources) -> Findings:
    log = _told(sources)
    return {"activations": log.filter(or_(log.minor.notnull(), log.sensitive.notnull()))}


TO_BE_SPARED = DeclaredCheck(
    code="H8",
    name="minor_or_sensitive",
    title="Touches of minors or on sensitive segments",
    severity=Severity.WARNING,
    needs={"activations": ("activation_id", "platform", "campaign", "kind", "ts", "customer_id")},
    uses=("customers", "campaigns"),
    disposition="hold",
    empty=(
        "no touch is of a customer of whom the table customers says whether he or she is a minor "
        "(minor), or of a campaign of which the table campaigns says whether its segment is "
        "sensitive (sensitive)"
    ),
    passed="No touch is of a minor, or of a campaign on a sensitive segment",
    flagged=lambda tally: (
        f"{tally.of('activations', 'touch', 'touches')} are of minors, or of campaigns on "
        "sensitive segments"
    ),
    find=_to_be_spared,
    examined=_known_either,
)
