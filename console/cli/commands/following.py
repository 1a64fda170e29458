"""`path` and `trace`: one person's timeline, and everything behind one conversion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from console.cli.output import check_destination, deliver, table

if TYPE_CHECKING:
    from console.workspace import Workspace


def path(person: str, *, acting: str | None, json: str | None) -> None:
    """Everything on record about one person, in order of time."""
    from console.following import person_path

    check_destination(json)
    document = person_path(_workspace(acting), person).to_dict()
    deliver(document, json, describe_path(document))


def trace(conversion: str, *, experiment: str | None, acting: str | None, json: str | None) -> None:
    """Every raw row that touches a conversion, and the figures it is part of."""
    from console import tracing

    check_destination(json)
    found = tracing.trace(_workspace(acting), conversion, experiment)
    document = tracing.document(conversion, found)
    deliver(document, json, describe_trace(document))


def _workspace(acting: str | None) -> Workspace:
    """The workspace, once whoever acts may read what is on record about single people."""
    from console.permission import permit
    from console.workspace import Workspace
    from designs.registry.access import Action

    workspace = Workspace.find()
    permit(workspace, Action.READ_PERSONS, acting=acting)
    return workspace


def describe_path(document: Mapping[str, Any]) -> list[str]:
    """Who, then one line per row."""
    ids = document["customers"]
    also = f" (customer ids {', '.join(ids)})" if len(ids) > 1 else ""
    lines = [f"{document['person']}{also}: {len(document['timeline'])} rows"]
    if not document["measured"]:
        lines.append("  without consent to be measured: no report counts this person")
    lines += [f"  {_arm(arm)}" for arm in document["arms"]]
    rows = [
        (_time(m["at"]), m["kind"], m["table"], m["row_id"], _facts(m["facts"]))
        for m in document["timeline"]
    ]
    return [*lines, "", *table(("time, UTC", "what", "table", "row", "facts"), rows, left=5)]


def describe_trace(document: Mapping[str, Any]) -> list[str]:
    """Per order: rows, checks, figures, notes."""
    lines: list[str] = []
    for order in document["orders"]:
        lines += _order(order)
    return lines


def _order(order: Mapping[str, Any]) -> list[str]:
    under = f", under {order['experiment']}" if order["experiment"] else ""
    lines = [f"order {order['order_id']}{under}"]
    if not order["measured"]:
        lines.append("  the customer may not be measured: no metric and no credit counts it")
    lines += [f"  {_arm(arm)}" for arm in order["arms"]]
    rows = [
        (
            _time(row["at"]),
            row["kind"],
            row["table"],
            row["row_id"],
            _source(row),
            _facts({**row["facts"], **_shares(row["credits"])}),
        )
        for row in order["rows"]
    ]
    lines += ["", *table(("time, UTC", "what", "table", "row", "source", "facts"), rows, left=6)]
    flags = [
        (
            f["code"],
            f["row_id"],
            _amount(f["money_at_risk"], f["unit"]),
            f["disposition"],
            f["title"],
        )
        for f in order["checks"]
    ]
    if flags:
        lines += ["", *table(("check", "row", "amount", "treated as", "what"), flags, left=5)]
    else:
        lines += ["", "no check flags any of these rows"]
    figures = [(f["result"], f["name"], f"{f['part']:,.4g}", f["unit"]) for f in order["figures"]]
    if figures:
        lines += ["", *table(("figure of", "name", "part", "unit"), figures, left=2)]
    return [*lines, "", *(f"  {note}" for note in order["notes"]), ""]


def _arm(arm: Mapping[str, Any]) -> str:
    said = f"{arm['experiment']}: {arm['arm']} since {_time(arm['assigned_at'])}"
    if arm["agrees"] is None:
        return said
    if arm["agrees"]:
        return f"{said}, as the design gives"
    return f"{said}, but the design gives {arm['computed_arm']}"


def _shares(given: Mapping[str, float] | None) -> dict[str, str]:
    return {name: f"{share:.3g}" for name, share in (given or {}).items() if share}


def _source(row: Mapping[str, Any]) -> str:
    return f"{row['source_file']} {row['sha256'][:8]}" if row["source_file"] else "–"


def _amount(money: int, unit: str) -> str:
    return f"{money:,} {unit}"


def _facts(facts: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in facts.items())


def _time(iso: str) -> str:
    return iso[:19].replace("T", " ")
