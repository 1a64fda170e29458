"""Several holdouts: per channel, rotating, the same in every experiment, and out of every list."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from designs.assignment.activation import audience_query, suppression_query
from designs.assignment.assign import assign, population_query
from designs.assignment.explain import explain
from designs.assignment.hashing import bucket, share_threshold
from designs.assignment.holdouts import concerning, held_out_of, in_force
from designs.assignment.layers import overlapping
from designs.specification import load_experiment
from measure.engine.connection import connect
from measure.errors import InputError, MissingFile, SpecError
from tests.designs.specs import experiment

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SEVERAL = """\
channels: [email]
holdouts:
  - {name: universal, share: 0.1}
  - {name: quiet-mail, share: 0.2, channels: [email]}
  - {name: quiet-ads, share: 0.3, channels: [display, social]}
"""
ROTATING = """\
channels: [email]
holdouts:
  - {name: quarterly, share: 0.1, rotation: {days: 90, since: 2026-01-01}}
"""


def held(design, ids, at):
    """Names of the holdouts that each id is in, by the definition alone."""
    found = {}
    for unit in ids:
        names = []
        for one in design.standing_holdouts:
            period = one.rotation and f"{one.name}/{one.rotation.period(at)}"
            if bucket(f"holdout:{period or one.name}", unit) < share_threshold(one.share):
                names.append(one.name)
        found[unit] = names
    return found


def test_members_of_a_holdout_on_the_channel_stay_out_of_the_experiment():
    design, ids = experiment(more=SEVERAL), [str(i) for i in range(4_000)]
    members = held(design, ids, START)
    for one in assign(design, ids):
        out = {"universal", "quiet-mail"} & set(members[one.unit_id])
        assert (one.arm is None) == bool(out)
    assert [h.name for h in concerning(design)] == ["universal", "quiet-mail"]


def test_the_single_holdout_is_one_of_several_and_keeps_its_members():
    single = experiment(more="holdout: {name: universal, share: 0.1}")
    listed = experiment(more="holdouts: [{name: universal, share: 0.1}]")
    ids = [str(i) for i in range(2_500)]
    assert assign(single, ids) == assign(listed, ids)
    assert single.content_hash() != listed.content_hash()


def test_a_field_that_came_later_leaves_older_hashes_alone():
    # The two hashes were computed by the first release, which knew none of the later fields.
    design = load_experiment(Path(__file__).parents[2] / "examples" / "hillstrom.yaml")
    assert design.content_hash() == (
        "758f344c05ce059f3ffe6400078f41f3a77b291678c310e99cafb7e10a6cc9e0"
    )
    assert design.analysis_plan().content_hash() == (
        "63abd0a120bbde060a2f9d14ae71d16c09fde76b0865177274a2f800a17a17ab"
    )
    assert set(type(design).later) < set(design.model_dump())
    assert experiment(more=SEVERAL).content_hash() != experiment().content_hash()


def test_a_rotating_holdout_keeps_its_members_until_the_period_ends():
    design, ids = experiment(more=ROTATING), [str(i) for i in range(10_000)]
    (quarterly,) = design.standing_holdouts
    since = datetime(2026, 1, 1, tzinfo=UTC)

    def members(day):
        at = since + DAY * day
        return {u for u in ids if held_out_of([quarterly], u, at)[0].held_out}

    first, second = members(0), members(90)
    assert members(45) == members(89) == first
    assert members(179) == second
    # Periods are drawn independently: of the second a tenth was in the first (4.5 sd of binomial).
    both = len(first & second)
    assert abs(both - 0.1 * len(second)) < 4.5 * math.sqrt(len(second) * 0.09)
    assert abs(len(second) - 1_000) < 4.5 * math.sqrt(900)


def test_membership_says_what_is_held_out_and_until_when():
    design = experiment(more=ROTATING)
    (one,) = held_out_of(in_force([design]), "c1", datetime(2026, 3, 31, 23, tzinfo=UTC))
    assert (one.period, one.salt) == (0, "holdout:quarterly/0")
    assert one.period_begin == "2026-01-01T00:00:00+00:00"
    assert one.period_end == "2026-04-01T00:00:00+00:00"
    assert one.bucket == bucket("holdout:quarterly/0", "c1") == int(one.digest, 16)
    assert one.held_out == (one.bucket < one.end)
    assert str(one.bucket) in one.sentence
    assert "until 2026-04-01 00:00 UTC" in one.sentence
    with pytest.raises(InputError, match="it begins 2026-01-01"):
        held_out_of(in_force([design]), "c1", datetime(2025, 12, 31, tzinfo=UTC))
    with pytest.raises(InputError, match="time zone"):
        held_out_of(in_force([design]), "c1", datetime(2026, 3, 1))  # noqa: DTZ001


def test_an_explanation_names_each_holdout():
    design = experiment(more=SEVERAL)
    ids = [str(i) for i in range(400)]
    members = held(design, ids, START)
    inside = next(u for u in ids if members[u] == ["quiet-mail"])
    steps = explain(design, inside)
    assert [s.step for s in steps] == ["holdout", "holdout"]
    assert steps[0].sentence.startswith("The unit stays outside holdout universal: bucket")
    assert steps[1].sentence.startswith("The unit is in holdout quiet-mail: bucket")
    outside = next(u for u in ids if not members[u])
    assert [s.step for s in explain(design, outside)] == ["holdout", "holdout", "arm"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("holdouts: [{name: a, share: 0.1, channels: [email]}]", "channels"),
        ("holdouts: [{name: a, share: 0.1}, {name: a, share: 0.2}]", "a name is given twice"),
        ("holdout: {name: a, share: 0.1}\nholdouts: [{name: a, share: 0.1}]", "given twice"),
        ("holdouts: [{name: a, share: 0.1, channels: email}]", r"Write \[email\]"),
        ("holdouts: [{name: a, share: 0.1, channels: []}]", "channels"),
        (
            "holdouts: [{name: a, share: 0.1, rotation: {days: 20, since: 2026-03-01}}]",
            "rotates on 2026-03-21 00:00 UTC, while the campaign runs",
        ),
        (
            "holdouts: [{name: a, share: 0.1, rotation: {days: 20, since: 2026-04-01}}]",
            "starts before holdout 'a' begins",
        ),
    ],
)
def test_holdouts_that_do_not_fit_are_refused(more, words):
    with pytest.raises(SpecError, match=words):
        experiment(more=more)


def test_one_name_is_one_holdout_in_all_experiments():
    one = experiment("one", "holdout: {name: universal, share: 0.1}")
    two = experiment("two", "holdouts: [{name: universal, share: 0.2}]")
    with pytest.raises(InputError, match="described differently by 'one' and 'two'"):
        in_force([one, two])


def tables(engine, n):
    """Customers c0 … and consents: every third to all, every third by e-mail, the rest none."""
    engine.register(
        "customers",
        pa.table(
            {
                "customer_id": [f"c{i}" for i in range(n)],
                "first_seen_at": pa.array([START - DAY] * n, pa.timestamp("us", "UTC")),
            }
        ),
    )
    times = pa.array([START - DAY] * n, pa.timestamp("us", "UTC"))
    engine.register(
        "consents",
        pa.table(
            {
                "customer_id": [f"c{i}" for i in range(n)],
                "purpose": ["marketing"] * n,
                "channel": [("all", "email", "email")[i % 3] for i in range(n)],
                "granted": [i % 3 < 2 for i in range(n)],
                "valid_from": times,
                "valid_to": pa.array([None] * n, pa.timestamp("us", "UTC")),
                "recorded_at": times,
            }
        ),
    )


def run(engine, *designs):
    """Load the arms of experiments, as the console does."""
    found = []
    for design in designs:
        rows = engine.fetch(population_query(engine, design))
        rows = rows.filter(pa.compute.equal(rows["outcome"], "assigned"))
        key = pa.array([design.key] * len(rows), pa.string())
        found.append(rows.drop_columns(["outcome"]).append_column("experiment", key))
    engine.register("assignments", pa.concat_tables(found))


def test_lists_hold_exactly_whom_the_definitions_say():
    spring = experiment("spring", SEVERAL)
    ads = experiment("ads", "channels: [display]\nholdouts: [{name: quiet-tv, share: 0.1}]")
    n = 6_000
    with connect() as engine:
        tables(engine, n)
        run(engine, spring, ads)
        both = [spring, ads]
        listed = engine.fetch(suppression_query(engine, both, "email", START)).to_pylist()
        reached = engine.fetch(audience_query(engine, spring, both, "email", START)).to_pylist()
    ids = [f"c{i}" for i in range(n)]
    members = {u: names + held(ads, [u], START)[u] for u, names in held(spring, ids, START).items()}
    arms = {a.unit_id: a.arm for a in assign(spring, ids)}
    expected = {}
    for unit in ids:
        names = sorted(set(members[unit]) - {"quiet-ads"})
        control = "spring" if arms[unit] == "control" else ""
        if names or control:
            expected[unit] = (" ".join(names), control)
    assert {r["unit_id"]: (r["holdouts"], r["control_of"]) for r in listed} == expected
    assert [r["unit_id"] for r in listed] == sorted(expected)
    wanted = {
        u: arms[u]
        for i, u in enumerate(ids)
        if i % 3 < 2 and arms[u] == "newsletter" and not set(members[u]) - {"quiet-ads"}
    }
    assert {r["unit_id"]: r["arm"] for r in reached} == wanted
    assert not set(wanted) & set(expected)
    assert len(wanted) > 1_000


def test_of_a_million_ids_no_one_is_both_held_out_and_reached():
    design = experiment("spring", SEVERAL)
    with connect() as engine:
        con = engine.backend.con
        con.execute(
            "CREATE TABLE customers AS SELECT 'id-' || i AS customer_id, "
            "TIMESTAMPTZ '2026-02-01 00:00:00+00' AS first_seen_at FROM range(1000000) t(i)"
        )
        con.execute(
            "CREATE TABLE consents AS SELECT customer_id, 'marketing' AS purpose, 'all' AS "
            "channel, true AS granted, first_seen_at AS valid_from, NULL::TIMESTAMPTZ AS valid_to, "
            "first_seen_at AS recorded_at FROM customers"
        )
        run(engine, design)
        lists = {
            "suppressed": suppression_query(engine, [design], "email", START),
            "reached": audience_query(engine, design, [design], "email", START),
        }
        for name, query in lists.items():
            engine.register(name, engine.fetch(query))
        (both,) = con.execute(
            "SELECT count(*) FROM reached JOIN suppressed USING (unit_id)"
        ).fetchone()
        (out,) = con.execute("SELECT count(*) FROM suppressed WHERE holdouts <> ''").fetchone()
        (controls,) = con.execute(
            "SELECT count(*) FROM suppressed WHERE control_of <> ''"
        ).fetchone()
        (reached,) = con.execute("SELECT count(*) FROM reached").fetchone()
    assert both == 0
    # Shares of two independent holdouts of 10 % and 20 %, then a tenth controls: 28, 7.2, 64.8 %.
    for found, share in ((out, 0.28), (controls, 0.072), (reached, 0.648)):
        assert abs(found - share * 1e6) < 4.5 * math.sqrt(1e6 * share * (1 - share))
    assert out + controls + reached == 1_000_000


def test_lists_refuse_to_be_empty_for_the_wrong_reason():
    design = experiment("spring", SEVERAL)
    with connect() as engine:
        with pytest.raises(MissingFile, match="customers"):
            engine.fetch(suppression_query(engine, [design], "email", START))
        tables(engine, 10)
        with pytest.raises(MissingFile, match="assignments"):
            engine.fetch(suppression_query(engine, [design], "email", START))
        run(engine, experiment("other"))
        with pytest.raises(InputError, match="spring runs, but nobody is assigned"):
            engine.fetch(suppression_query(engine, [design], "email", START))
        with pytest.raises(InputError, match="does not run on channel 'sms'"):
            engine.fetch(audience_query(engine, design, [design], "sms", START))


def test_slots_of_one_layer_that_overlap_are_found():
    def slot(key, low, high, layer="email"):
        return experiment(key, f"layer: {{name: {layer}, slot: [{low}, {high}]}}")

    a, b, c = slot("a", 0, 0.5), slot("b", 0.5, 1), slot("c", 0.4, 0.6)
    elsewhere = slot("d", 0, 1, "ads")
    assert overlapping([a, b, elsewhere, experiment("e")]) == ()
    found = overlapping([a, b, c, elsewhere])
    assert [(x.key, y.key) for x, y in found] == [("a", "c"), ("b", "c")]
