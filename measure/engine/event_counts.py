"""How many units had their event, or were last seen without it, at each time: one grouped scan.

Times beyond the horizon tell only that the unit was still there, so they become one group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from measure.engine.labels import labelled
from measure.engine.profile import number

if TYPE_CHECKING:
    import pyarrow as pa

    from measure.engine.connection import Engine
    from measure.engine.expressions import Table

_TIME = "t"


@dataclass(frozen=True, slots=True, eq=False)
class EventCounts:
    """Units by time: ``times``, ``events`` and ``censored`` have shape (k,), times ascending.

    At each time up to the horizon so many units had the event, and so many were seen for the last
    time without it; ``beyond`` units were observed longer than that.
    """

    times: NDArray[np.float64]
    events: NDArray[np.int64]
    censored: NDArray[np.int64]
    beyond: int

    @classmethod
    def nobody(cls) -> EventCounts:
        """Counts of no units."""
        none = np.empty(0, dtype=np.int64)
        return cls(np.empty(0), none, none, 0)


def event_counts(
    engine: Engine, table: Table, columns: tuple[str, str], horizon: float, keys: list[str]
) -> dict[tuple[str, str], EventCounts]:
    """Counts per (cohort, arm); a cohort is ``""`` where ``keys`` name the arm alone.

    ``columns`` are those of the time and the event, ``keys`` those of the arm and, if wanted, of
    the cohort dimension. Units without a time are left out.
    """
    time, event = columns
    known = table.filter(table[time].notnull())
    within = known.mutate(**{_TIME: (known[time] <= number(horizon)).ifelse(known[time], None)})
    wanted = {"units": within.count(), "events": within[event].sum()}
    fetched = engine.fetch(within.group_by([*keys, _TIME]).aggregate(**wanted))
    return dict(_cells(fetched, keys))


def _cells(fetched: pa.Table, keys: list[str]) -> Iterator[tuple[tuple[str, str], EventCounts]]:
    """Cut the groups into cells, each in the order of its times, beyond the horizon last."""
    labels = [np.array(labelled(fetched[key]).to_pylist(), dtype=object) for key in keys]
    cohorts = labels[1] if len(keys) > 1 else np.full(fetched.num_rows, "", dtype=object)
    arms: NDArray[Any] = labels[0]
    times = np.array(fetched[_TIME].to_numpy(), dtype=float)
    units, events = (
        np.rint(np.array(fetched[name].to_numpy(), dtype=float)).astype(np.int64)
        for name in ("units", "events")
    )
    order = np.lexsort([times, arms.astype(str), cohorts.astype(str)])
    changes = [(labels[order][1:] != labels[order][:-1]) for labels in (cohorts, arms)]
    cuts = np.flatnonzero(changes[0] | changes[1]) + 1
    for part in np.split(order, cuts) if len(order) else []:
        last = np.isnan(times[part])
        inside = part[~last]
        counted = EventCounts(
            times[inside],
            events[inside],
            units[inside] - events[inside],
            int(units[part[last]].sum()),
        )
        yield (cohorts[part[0]], arms[part[0]]), counted
