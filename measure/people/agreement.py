"""How well persons found agree with persons known: precision, recall and F1 over pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from measure.people.graph import components
from measure.results import Result

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Agreement(Result):
    """Persons at a threshold of match probability against the truth, over pairs of records.

    ``precision``, ``recall`` and ``f1`` are 0 where nothing was found.
    """

    threshold: float
    persons: int
    precision: float
    recall: float
    f1: float


def agreements(
    links: pa.Table, truth: Mapping[str, str], thresholds: Sequence[float]
) -> tuple[Agreement, ...]:
    """Persons made by links alone, at each threshold, against the known person of every record."""
    return tuple(_agreement(links, truth, threshold) for threshold in thresholds)


def _agreement(links: pa.Table, truth: Mapping[str, str], threshold: float) -> Agreement:
    found = persons_by_links(links, threshold)
    labelled = Counter((found.get(record, record), person) for record, person in truth.items())
    by_person = Counter(truth.values())
    by_found: Counter[str] = Counter()
    for (key, _), n in labelled.items():
        by_found[key] += n
    both, mine, known = (_pairs(counts.values()) for counts in (labelled, by_found, by_person))
    return Agreement(
        threshold,
        persons=len(by_found),
        precision=both / mine if mine else 0.0,
        recall=both / known if known else 0.0,
        f1=2 * both / (mine + known) if mine + known else 0.0,
    )


def persons_by_links(links: pa.Table, threshold: float) -> dict[str, str]:
    """Person key by record, of records that links of at least this probability join."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = [(name, "string") for name in ("customer_id", "kind", "identifier")]
    nothing = pa.schema([*text, ("at", pa.timestamp("us", "UTC")), ("source", "string")])
    no_facts = pa.schema([(name, "string") for name in ("customer_id", "rule", "value")])
    kept = links.filter(pc.greater_equal(links["probability"], threshold))
    persons = components(nothing.empty_table(), no_facts.empty_table(), kept, ()).persons
    pairs = (persons[name].to_pylist() for name in ("customer_id", "person_key"))
    return dict(zip(*pairs, strict=True))


def _pairs(sizes: Iterable[int]) -> int:
    return sum(n * (n - 1) // 2 for n in sizes)
