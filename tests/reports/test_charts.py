"""Drawings: coordinates inside the picture, identities, and the shapes that carry meaning."""

import math
import random
from itertools import pairwise
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.charts.density import draws_curve, normal_curve
from reports.charts.forest import ForestRow, Reference, domain, forest
from reports.charts.sankey import Ribbon, sankey, sizes
from reports.charts.shapes import (
    Drawing,
    fix,
    polyline,
    shorten,
    text_width,
    tick_decimals,
    ticks,
    wrap,
)
from reports.charts.waterfall import Step, adds_up, waterfall

FINITE = st.floats(min_value=-1e6, max_value=1e6)


def write(value: float, values: object) -> str:
    return f"{value:g}"


def inside(drawing: Drawing) -> None:
    """All placed coordinates lie within the picture."""
    limits = {"x": drawing.width, "y": drawing.height}
    for shape in drawing.shapes:
        for name, value in shape.attributes:
            axis = name.strip("12c")
            if axis in limits:
                assert -0.1 <= float(value) <= limits[axis] + 0.1, (shape, drawing.id)


@given(st.lists(st.tuples(FINITE, st.floats(0.001, 1e5)), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_forests_stay_inside(rows: list[tuple[float, float]]) -> None:
    made = [
        ForestRow(f"row {i}", v, v - se, v + se, v - se / 3, v + se / 3, "+1.0", "−1 to +1", "hold")
        for i, (v, se) in enumerate(rows)
    ]
    for drawing in forest("f", "T", "D", made, Reference(0.0, "no effect"), write):
        inside(drawing)


def test_a_few_wide_intervals_do_not_squeeze_the_others() -> None:
    rows = [ForestRow(str(i), 1.0, 0.8, 1.2) for i in range(9)]
    low, high = domain([*rows, ForestRow("wide", 1.0, -100.0, 100.0)], 0.0)
    assert -1 < low < 0
    assert 1 < high < 3
    wide = forest("f", "T", "D", [*rows, ForestRow("wide", 1.0, -100.0, 100.0)],
                  Reference(0.0, "no effect"), write)[0]  # fmt: skip
    assert sum(shape.kind == "path" and "dot" in shape.style for shape in wide.shapes) == 2


def test_verdicts_differ_in_form_not_only_in_colour() -> None:
    rows = [ForestRow(t, 1.0, 0.5, 1.5, word=t, tone=t) for t in ("scale", "hold", "stop")]
    drawing = forest("f", "T", "D", rows, Reference(0.0, "no effect"), write)[0]
    marks = [(s.kind, s.style) for s in drawing.shapes if s.style.startswith("dot")]
    assert marks == [("circle", "dot scale"), ("circle", "dot hold"), ("path", "dot stop")]
    assert {"scale", "hold", "stop"} <= {s.text for s in drawing.shapes}


def test_rows_without_a_number_say_why() -> None:
    drawing = forest("f", "T", "D", [ForestRow("x", None, note="too few units")],
                     Reference(0.0, "no effect"), write)[0]  # fmt: skip
    assert "too few units" in {shape.text for shape in drawing.shapes}
    assert not any(shape.style.startswith("dot") for shape in drawing.shapes)


def area(curve: tuple[tuple[float, float], ...]) -> float:
    pairs = pairwise(curve)
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairs)


def test_the_density_of_draws_is_that_of_their_distribution() -> None:
    """Kernel density of 4,000 normal draws against the normal's own density."""
    source = random.Random(1)
    draws = [source.gauss(1.6, 0.35) for _ in range(4_000)]
    curve = draws_curve(draws)
    truth = NormalDist(1.6, 0.35)
    assert area(curve) == pytest.approx(1, abs=0.01)
    assert max(abs(y - truth.pdf(x)) for x, y in curve) < 0.08
    peak = max(y for _, y in normal_curve(1.6, 0.35))
    assert peak == pytest.approx(truth.pdf(1.6))


def test_equal_draws_are_no_accident() -> None:
    assert all(math.isfinite(y) for _, y in draws_curve([1.0] * 50))


AMOUNTS = st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=12)


@given(AMOUNTS)
@settings(max_examples=60, deadline=None)
def test_bridges_stay_inside(changes: list[float]) -> None:
    start = 1e5
    steps = [Step("start", start, "1", total=True)]
    steps += [Step(f"step {i}", change, "c") for i, change in enumerate(changes)]
    steps.append(Step("end", start + sum(changes), "2", total=True))
    assert adds_up(steps, tolerance=1e-6)
    assert not adds_up([*steps[:-1], Step("end", start + sum(changes) + 1, "2", total=True)], 1e-6)
    for drawing in waterfall("w", "T", "D", steps):
        inside(drawing)


def test_flows_are_conserved_and_drawn_to_scale() -> None:
    ribbons = [
        Ribbon(0, "a", "b", 30), Ribbon(0, "a", "c", 10), Ribbon(1, "b", "Converted", 30),
        Ribbon(1, "c", "No conversion", 10),
    ]  # fmt: skip
    assert sizes(ribbons) == {
        (0, "a"): 40, (1, "b"): 30, (1, "c"): 10, (2, "Converted"): 30, (2, "No conversion"): 10,
    }  # fmt: skip
    for drawing in sankey("s", "T", "D", ribbons, ("one", "two", "three"), "Converted"):
        inside(drawing)
        heights = [
            float(dict(s.attributes)["height"]) for s in drawing.shapes if s.style == "place"
        ]
        assert heights[1] / heights[2] == pytest.approx(3, rel=0.02)
        assert sum(s.style == "flow good" for s in drawing.shapes) == 1


def test_labels_of_small_places_do_not_run_into_each_other() -> None:
    ribbons = [Ribbon(0, f"c{i}", f"d{i % 5}", 1 if i else 10_000) for i in range(7)]
    ribbons += [Ribbon(1, f"d{i}", "Converted", 1) for i in range(5)]
    for drawing in sankey("s", "T", "D", ribbons, ("one", "two", "three"), "Converted"):
        inside(drawing)
        columns: dict[str, list[float]] = {}
        for shape in drawing.shapes:
            if shape.style == "label halo":
                place = dict(shape.attributes)
                columns.setdefault(place["x"], []).append(float(place["y"]))
        for heights in columns.values():
            assert all(b - a >= 13 for a, b in pairwise(sorted(heights)))


@given(FINITE, st.floats(1e-3, 1e6))
def test_ticks_are_round_and_inside(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert len(found) <= 12
    assert all(low - width * 1e-6 <= value <= low + width * (1 + 1e-6) for value in found)
    assert all(a < b for a, b in pairwise(found))


def test_ticks_are_told_apart() -> None:
    assert ticks(0, 1) == (0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert tick_decimals((0, 0.25, 0.5)) == 2
    assert tick_decimals((0, 0.005), 100) == 1
    assert tick_decimals((0, 10)) == 0


def test_coordinates_are_written_once_and_for_all() -> None:
    assert fix(1.0) == "1"
    assert fix(-0.04) == "0"
    assert fix(2.25) == fix(2.2500000001)[:3] or fix(2.25) in {"2.2", "2.3"}
    assert polyline([(0, 0), (1.25, 2)], close=True) == "M0 0L1.2 2Z"


def test_labels_fit_or_say_that_they_were_cut() -> None:
    assert shorten("short", 100) == "short"
    cut = shorten("a very long label indeed", 60)
    assert cut.endswith("…")
    assert text_width(cut) <= 60
    assert wrap("Would have happened anyway", 70) == ("Would have", "happened", "anyway")
