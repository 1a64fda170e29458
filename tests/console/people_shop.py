"""A small workspace with consents, an experiment, touches, orders and claims; run in-process."""

import csv
import json
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from console.cli import main
from console.workspace import Workspace

N = 400
CANARIES = ("canary-never", "canary-withdrew", "canary-late", "canary-expired")
SPEC = """\
key: {key}
hypothesis: It brings orders that would not have happened.
arms: {{mail: 0.5, control: 0.5}}
control: control
metrics: [{{name: revenue, unit: EUR, role: primary}}, {{name: conversion, kind: proportion}}]
plan: {{window_days: 14}}
schedule: {{start: 2026-03-01, end: 2026-03-15}}
campaigns: [spring]
channels: [email]
{more}
"""
ASKED = "consent: {purpose: marketing, channel: email}"
HEADERS = {
    "customers": ("customer_id", "first_seen_at", "country"),
    "identities": ("customer_id", "kind", "identifier", "seen_at"),
    "consents": ("customer_id", "purpose", "channel", "granted", "valid_from", "valid_to",
                 "recorded_at", "source"),
    "activations": ("activation_id", "platform", "channel", "campaign", "kind", "ts",
                    "customer_id", "click_id", "cost_micros", "currency"),
    "conversions": ("conversion_id", "order_id", "customer_id", "ts", "value", "refunded_value",
                    "currency", "status"),
    "claims": ("claim_id", "platform", "channel", "campaign", "order_id", "kind", "touched_at",
               "converted_at", "value", "currency", "window_days"),
}  # fmt: skip
JANUARY, MARCH_5 = "2026-01-01T00:00:00Z", "2026-03-05T00:00:00Z"


def people() -> tuple[str, ...]:
    return (*(f"buyer-{i}" for i in range(N)), *CANARIES)


def rows(*, consents: bool = True):
    for i, who in enumerate(people()):
        yield "customers", (who, JANUARY, ("DE", "FR")[i % 2])
        yield "identities", (who, "login", f"login-of-{who}", JANUARY)
        if consents:
            yield from (("consents", record) for record in _records(who))
        touched = f"2026-03-0{1 + i % 3}T12:00:00Z"
        yield "activations", (f"touch-{who}", "mailer", "email", "spring", "click", touched, who,
                              f"click-{who}", "2000", "EUR")  # fmt: skip
        if i % 4 == 0 or who in CANARIES:
            order = (f"order-{who}", who, MARCH_5, str(1_000 + i), "0", "EUR", "paid")
            yield "conversions", (f"sale-{who}", *order)
            claim = (f"claim-{who}", "mailer", "email", "spring", f"order-{who}", "click", touched,
                     MARCH_5, str(2_000 + i), "EUR", "7")  # fmt: skip
            yield "claims", claim


def _records(who: str):
    """Canaries may be written to when units are assigned, and be measured never, or not now."""
    yield (who, "marketing", "all", "true", JANUARY, "", JANUARY, "banner")
    if who == "canary-never":
        return
    ends = "2026-03-10T00:00:00Z" if who == "canary-expired" else ""
    yield (who, "measurement", "all", "true", JANUARY, ends, JANUARY, "banner")
    if who in ("canary-withdrew", "canary-late"):
        known = "2026-03-20T00:00:00Z" if who == "canary-late" else MARCH_5
        for purpose in ("measurement", "marketing"):
            yield (who, purpose, "all", "false", MARCH_5, "", known, "letter")


def write(folder: Path, tables) -> dict[str, Path]:
    lines: dict[str, list] = {}
    for table, row in tables:
        lines.setdefault(table, [HEADERS[table]]).append(row)
    folder.mkdir(parents=True, exist_ok=True)
    for table, written in lines.items():
        with (folder / f"{table}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(written)
    return {table: folder / f"{table}.csv" for table in lines}


def shop(root: Path, files: Path, *, consents: bool = True, more: str = ASKED, **options) -> Path:
    """A workspace whose tables are loaded from files beside it, with experiment ``spring``."""
    Workspace.create(root, **options)
    for table, path in write(files, rows(consents=consents)).items():
        ran(root, "load", table, str(path))
    begin(root, "spring", more)
    return root


def begin(root: Path, key: str, more: str = "") -> None:
    path = root / "experiments" / f"{key}.yaml"
    path.write_text(SPEC.format(key=key, more=more), encoding="utf-8")
    ran(root, "register", str(path))
    ran(root, "start", key)


def ran(root: Path, *arguments: str, code: int = 0) -> str:
    """Run a command in the workspace; what it prints, or what it says against it."""
    out, err = StringIO(), StringIO()
    with chdir(root), redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
        main(list(arguments))
    assert left.value.code == code, (arguments, out.getvalue(), err.getvalue())
    return out.getvalue() if code == 0 else err.getvalue()


def answer(root: Path, *arguments: str) -> dict:
    return json.loads(ran(root, *arguments, "--json", "-"))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
