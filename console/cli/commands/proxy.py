"""`proxy`: whether a quick metric's effects predict those on a slow one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from console.cli.output import check_destination, deliver, table

if TYPE_CHECKING:
    from measure.incrementality.proxies import Bounded, ProxyCheck

_VERDICTS = {
    "strong": "strong: the quick metric may decide in place of the slow one",
    "weak": "weak: do not decide by the quick metric",
    "unclear": "unclear: more experiments are needed",
}


def proxy(targets: Sequence[str], *, quick: str, slow: str, json: str | None) -> None:
    """Judge a proxy by experiments that are over."""
    from console.proxying import check

    check_destination(json)
    found = check(targets, proxy=quick, target=slow)
    deliver(found.to_dict(), json, describe(found))


def describe(found: ProxyCheck) -> list[str]:
    """The pairs, and what they say together."""
    from reports.numbers import percent

    rows = [
        (
            pair.experiment,
            percent(pair.proxy, signed=True),
            percent(pair.target, signed=True),
        )
        for pair in found.experiments
    ]
    lines = table(("experiment", f"lift of {found.proxy}", f"lift of {found.target}"), rows)
    if found.correlation is None or found.slope is None or found.left_out is None:
        return [*lines, "", f"{found.status}: {found.note}."]
    n = len(found.experiments)
    return [
        *lines,
        "",
        f"correlation of true effects  {_shown(found.correlation)}",
        f"slope                        {_shown(found.slope)}",
        f"same direction               {found.same_sign} of {n}",
        f"predicted from the others    {percent(found.left_out)} inside their interval",
        f"verdict                      {_VERDICTS[str(found.verdict)]}",
        *([found.note + "."] if found.note else []),
    ]


def _shown(bounded: Bounded) -> str:
    from reports.numbers import number

    low, high = number(bounded.ci_low, 2), number(bounded.ci_high, 2)
    return f"{number(bounded.value, 2)}  ({low} to {high})"
