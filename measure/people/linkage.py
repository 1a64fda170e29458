"""Probabilistic links: how likely two records are one person, by the Fellegi–Sunter model.

Splink estimates the model without labels (Fellegi and Sunter, "A Theory for Record Linkage", JASA
64, 1969): how often fields agree among strangers (u) from random pairs, how often among records of
one person (m) by expectation maximisation over blocked pairs. It runs on the embedded engine, on
one thread and with a seed, so that the same records give the same probabilities; nothing leaves the
machine. Probabilities are kept to the end: whoever counts chooses the threshold.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from measure.declared import Frozen
from measure.errors import DataError, UnknownName

if TYPE_CHECKING:
    import pyarrow as pa

THRESHOLDS = (0.5, 0.9, 0.99)
"""Match probabilities at which results are shown side by side."""
_FEWEST = 10
_RECORD, _FULL_NAME = "record", "full_name"


class Records(Frozen):
    """Which columns of the records say who somebody is; blank texts are missing values."""

    id: str = "customer_id"
    first_name: str = "first_name"
    surname: str = "surname"
    birth_date: str = "birth_date"
    """ISO 8601 dates as text."""
    email: str = "email"
    exact: tuple[str, ...] = ()
    """Columns compared as a whole, where rare values say more, such as a city."""
    share_found: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of the true pairs that agree on first name and birth date, or on the address."""

    @property
    def compared(self) -> tuple[str, ...]:
        """All columns but the id."""
        return (self.first_name, self.surname, self.birth_date, self.email, *self.exact)


def link_probabilities(
    records: pa.Table, columns: Records, *, least: float = 0.01, seed: int = 1
) -> pa.Table:
    """Pairs of records and how likely each is one person.

    (customer_id, other_customer_id, probability), each pair once, by id. Pairs that agree on
    nothing at all, and those less likely than ``least``, are left out. :class:`UnknownName` for a
    column that is not there, :class:`DataError` for repeated or missing ids, or too few records.
    """
    cleaned = _cleaned(records, columns)
    with _silent():
        linker = _trained(cleaned, columns, seed)
        found = linker.inference.predict(threshold_match_probability=least).as_pyarrow_table()
    return _pairs(found)


def _cleaned(records: pa.Table, columns: Records) -> pa.Table:
    """Small letters, no blanks at the ends, empty texts missing; rows in the order of ids."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in (columns.id, *columns.compared):
        if name not in records.column_names:
            raise UnknownName.of("column", name, records.column_names, "the records")
    ids = records[columns.id].cast("string")
    if ids.null_count or len(pc.unique(ids)) < len(ids):
        raise DataError(f"column {columns.id!r}: every record needs an id of its own.")
    if len(ids) < _FEWEST:
        raise DataError(f"{len(ids)} records are too few to learn from; {_FEWEST} are needed.")
    chosen = {_RECORD: ids}
    for name in columns.compared:
        text = pc.utf8_lower(pc.utf8_trim_whitespace(records[name].cast("string")))
        chosen[name] = pc.if_else(pc.equal(text, ""), pa.scalar(None, "string"), text)
    both = (chosen[columns.first_name], chosen[columns.surname])
    chosen[_FULL_NAME] = pc.binary_join_element_wise(*both, " ")
    return pa.table(chosen).sort_by(_RECORD)


def _trained(records: pa.Table, columns: Records, seed: int) -> Any:
    """A linker whose model is estimated."""
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    from measure.engine.embedded import open_embedded

    first, last, born, mail = columns.compared[:4]
    connection = open_embedded().con
    connection.execute("SET threads = 1")
    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name=_RECORD,
        comparisons=_comparisons(columns),
        blocking_rules_to_generate_predictions=[block_on(name) for name in columns.compared],
        retain_intermediate_calculation_columns=False,
    )
    frame = DuckDBAPI(connection=connection).register(records)
    linker = Linker(frame, settings, log_level=None)  # it would set up logging of its own
    training = linker.training
    training.estimate_probability_two_random_records_match(
        [block_on(first, born), block_on(mail)], recall=columns.share_found
    )
    training.estimate_u_using_random_sampling(max_pairs=1e6, seed=seed)
    for names in ((born,), (mail,), (first, last)):
        training.estimate_parameters_using_expectation_maximisation(block_on(*names))
    return linker


def _comparisons(columns: Records) -> list[Any]:
    from splink import comparison_library

    return [
        comparison_library.ForenameSurnameComparison(
            columns.first_name, columns.surname, forename_surname_concat_col_name=_FULL_NAME
        ),
        comparison_library.DateOfBirthComparison(columns.birth_date, input_is_string=True),
        comparison_library.EmailComparison(columns.email),
        *(
            comparison_library.ExactMatch(name).configure(term_frequency_adjustments=True)
            for name in columns.exact
        ),
    ]


def _pairs(found: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    one, other = (found[f"{_RECORD}_{side}"].cast("string") for side in ("l", "r"))
    ordered = pc.less(one, other)
    pairs = pa.table(
        {
            "customer_id": pc.if_else(ordered, one, other),
            "other_customer_id": pc.if_else(ordered, other, one),
            "probability": found["match_probability"].cast("float64"),
        }
    )
    return pairs.sort_by([("customer_id", "ascending"), ("other_customer_id", "ascending")])


@contextmanager
def _silent() -> Iterator[None]:
    """Splink tells of all its progress; only errors are left."""
    logger = logging.getLogger("splink")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
