"""Features at points in time against bookkeeping person by person."""

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import yaml

from designs.specification import load_model
from measure.engine.connection import connect
from measure.errors import DataError, InputError, MissingFile, SpecError, UnknownName
from measure.people.feature_values import feature_values
from measure.people.features import Features
from tests.services import postgres, spark_url

MOMENT = pa.timestamp("us", tz="UTC")
START = datetime(2026, 1, 1, tzinfo=UTC)
MICRO = timedelta(microseconds=1)
DAY = timedelta(days=1)
PEOPLE = 400
KEYS = {"events": "event_id", "activations": "activation_id", "conversions": "conversion_id"}


def declared(*features):
    kept = {"version": 1, "owner": "crm@shop.example"}
    return Features.declared({"features": [kept | feature for feature in features]})


ORDERS = {"table": "conversions"}
EVERY_KIND = declared(
    {"name": "last_event", "kind": "recency"},
    {"name": "last_mail_click", "kind": "recency",
     "of": {"table": "activations", "names": ["click"], "channels": ["email"]}},
    {"name": "events", "kind": "frequency"},
    {"name": "carts_10d", "kind": "frequency", "window_days": 10, "of": {"names": ["cart"]}},
    {"name": "mean_gap", "kind": "gap", "statistic": "mean"},
    {"name": "last_gap", "kind": "gap", "statistic": "last", "window_days": 20},
    {"name": "intent", "kind": "decay", "half_life_days": 2.5},
    {"name": "forgotten", "kind": "decay", "half_life_days": 0.001},
    {"name": "shift", "kind": "change", "window_days": 7},
    {"name": "repeats", "kind": "lifetime", "statistic": "frequency", "of": ORDERS},
    {"name": "span", "kind": "lifetime", "statistic": "recency", "of": ORDERS},
    {"name": "age", "kind": "lifetime", "statistic": "age", "of": ORDERS},
    {"name": "repeat_days", "kind": "lifetime", "statistic": "frequency", "per_day": True,
     "of": ORDERS},
    {"name": "age_days", "kind": "lifetime", "statistic": "age", "per_day": True, "of": ORDERS},
    {"name": "spent", "kind": "money", "statistic": "sum", "currency": "EUR", "of": ORDERS},
    {"name": "basket", "kind": "money", "statistic": "mean", "currency": "EUR", "of": ORDERS,
     "window_days": 30},
    {"name": "depth", "kind": "session_depth", "statistic": "last"},
    {"name": "mean_depth", "kind": "session_depth", "statistic": "mean"},
    {"name": "most_depth", "kind": "session_depth", "statistic": "most", "gap_minutes": 600},
    {"name": "device", "kind": "device", "statistic": "last"},
    {"name": "mobile", "kind": "device", "statistic": "share", "device": "mobile"},
)  # fmt: skip


def table(rows, names):
    types = {"ts": MOMENT, "received_at": MOMENT, "at": MOMENT}
    types |= {"value": pa.int64(), "refunded_value": pa.int64()}
    return pa.table(
        {n: pa.array([row[n] for row in rows], types.get(n, pa.string())) for n in names}
    )


def drawn_time(draw):
    """Half hours over 40 days, one in three moved by a microsecond: ties and near ties abound."""
    half_hours = int(draw.integers(0, 40 * 48))
    return START + timedelta(minutes=30 * half_hours) + int(draw.integers(-1, 2)) * MICRO


def received(draw, ts):
    """When a row came in: mostly not written down, else at once or up to ten days later."""
    if draw.random() < 0.5:
        return None
    return ts + timedelta(hours=6 * int(draw.integers(0, 40)))


@cache
def world(number=20260201, rows=9000):
    """Rows of all three tables; ids are drawn, so that their order is not that of time."""
    draw = np.random.default_rng(number)
    found = {"events": [], "activations": [], "conversions": []}
    for i in range(rows):
        ts, person = drawn_time(draw), f"p{int(draw.integers(0, PEOPLE)):03d}"
        common = {"customer_id": person, "ts": ts, "received_at": received(draw, ts)}
        key = f"{int(draw.integers(0, 10**9)):09d}-{number}-{i}"
        if i % 3 == 0:
            device = ("mobile", "desktop", "", None)[int(draw.integers(0, 4))]
            name = ("view", "cart")[int(draw.integers(0, 2))]
            row = {"event_id": key, "name": name, "device": device, "channel": "site"}
            found["events"].append(common | row)
        elif i % 3 == 1:
            row = {
                "activation_id": key,
                "kind": ("click", "impression")[int(draw.integers(0, 2))],
                "channel": ("email", "search")[int(draw.integers(0, 2))],
            }
            found["activations"].append(common | row)
        else:
            value = int(draw.integers(100, 9000))
            row = {
                "conversion_id": key,
                "order_id": f"o{int(draw.integers(0, rows // 4))}-{person}",
                "value": value,
                "refunded_value": 0,
                "currency": ("EUR", "EUR", "USD")[int(draw.integers(0, 3))],
                "status": ("paid", "refunded", "cancelled")[int(draw.integers(0, 3))],
            }
            found["conversions"].append(common | row)
    # one event in five has a twin at the same instant on another device
    twins = [row | {"event_id": f"{row['event_id']}-twin"} for row in found["events"][::5]]
    found["events"] += [row | {"device": "tablet"} for row in twins]
    return found


@cache
def pairs(number):
    """People and times; half of the times are exactly those of an event of the person, or near."""
    draw = np.random.default_rng(5)
    of = defaultdict(list)
    for rows in world().values():
        for row in rows:
            of[row["customer_id"]].append(row)
    found = {}
    while len(found) < number:
        person, at = f"p{int(draw.integers(0, PEOPLE + 5)):03d}", drawn_time(draw)
        if of[person] and draw.random() < 0.5:
            row = of[person][int(draw.integers(0, len(of[person])))]
            near = row["received_at"] if draw.random() < 0.3 and row["received_at"] else row["ts"]
            at = near + int(draw.integers(-1, 2)) * MICRO
        found[person, at] = None
    return list(found)


def stocked(engine, *worlds, shuffled=False):
    draw = np.random.default_rng(3)
    for name in KEYS:
        rows = [row for given in worlds for row in given[name]]
        data = table(rows, list(rows[0]))
        if shuffled:
            data = data.take(draw.permutation(data.num_rows))
        engine.register(name, data)
    return engine


def asked(engine, given):
    rows = [{"customer_id": person, "at": at} for person, at in given]
    return engine.register("asked", table(rows, ["customer_id", "at"]))


def values(engine, features, given, **more):
    found = engine.fetch(feature_values(engine, features, asked(engine, given), **more))
    return {(row["customer_id"], row["at"].replace(tzinfo=UTC)): row for row in found.to_pylist()}


def seen(rows, person, at, keep=None):
    """What a person did before a time and somebody had heard of by then, in order."""
    visible = [
        row
        for row in rows.get(person, ())
        if row["ts"] < at and (row["received_at"] is None or row["received_at"] <= at)
    ]
    visible = [row for row in visible if keep is None or keep(row)]
    ids = KEYS.values()
    return sorted(visible, key=lambda row: (row["ts"], next(row[i] for i in ids if i in row)))


def sessions(events, minutes):
    """Number of events in each session."""
    depths = []
    for i, row in enumerate(events):
        if i == 0 or row["ts"] - events[i - 1]["ts"] > timedelta(minutes=minutes):
            depths.append(0)
        depths[-1] += 1
    return depths


def of_events(at, events):
    ages = [(at - row["ts"]) / DAY for row in events]
    gaps = [(b["ts"] - a["ts"]) / DAY for a, b in pairwise(events)]
    depths, devices = sessions(events, 30), [row["device"] for row in events if row["device"]]
    told = {
        "events": len(events),
        "carts_10d": sum(
            row["name"] == "cart" and age <= 10 for row, age in zip(events, ages, strict=True)
        ),
        "last_gap": gaps[-1] if sum(age <= 20 for age in ages) > 1 else None,
        "mean_gap": sum(gaps) / len(gaps) if gaps else None,
        "intent": sum(0.5 ** (age / 2.5) for age in ages),
        "forgotten": sum(0.5 ** (age / 0.001) for age in ages),
        "shift": None,
        "most_depth": max(sessions(events, 600), default=None),
        "device": devices[-1] if devices else None,
        "mobile": devices.count("mobile") / len(devices) if devices else None,
    }
    if ages and max(ages) > 7:
        recent = sum(age <= 7 for age in ages)
        before = (len(ages) - recent + 0.5) / (max(ages) - 7)
        told["shift"] = math.log2((recent + 0.5) / 7 / before)
    if events:
        told |= {
            "last_event": ages[-1],
            "depth": depths[-1],
            "mean_depth": sum(depths) / len(depths),
        }
    return told


def of_orders(at, orders):
    sold, euros = (
        list({row["order_id"]: row for row in reversed(kept)}.values())[::-1]
        for kept in (orders, [row for row in orders if row["currency"] == "EUR"])
    )
    baskets = [row["value"] / 100 for row in euros if row["ts"] >= at - 30 * DAY]
    told = {
        "spent": sum(row["value"] for row in euros) / 100,
        "basket": sum(baskets) / len(baskets) if baskets else None,
    }
    if not sold:
        return told
    times = sorted(row["ts"] for row in sold)
    days = {ts.date() for ts in times}
    return told | {
        "repeats": len(sold) - 1,
        "span": (times[-1] - times[0]) / DAY,
        "age": (at - times[0]) / DAY,
        "repeat_days": len(days) - 1,
        "age_days": (at.date() - min(days)).days,
    }


def oracle(person, at, rows):
    """Every feature of EVERY_KIND by its definition, from lists; what is missing is unknown."""
    clicks = seen(
        rows["activations"],
        person,
        at,
        lambda row: row["kind"] == "click" and row["channel"] == "email",
    )
    orders = seen(rows["conversions"], person, at, lambda row: row["status"] != "cancelled")
    told = of_events(at, seen(rows["events"], person, at)) | of_orders(at, orders)
    return told | {"last_mail_click": (at - clicks[-1]["ts"]) / DAY if clicks else None}


def by_person(given):
    found = {}
    for name, rows in given.items():
        found[name] = defaultdict(list)
        for row in rows:
            found[name][row["customer_id"]].append(row)
    return found


def assert_as_kept_by_hand(found, given, features=EVERY_KIND):
    rows, told = by_person(world()), defaultdict(set)
    assert set(found) == set(given)
    for key in given:
        expected = oracle(*key, rows)
        for name in (feature.name for feature in features.features):
            value, by_hand = found[key][name], expected.get(name)
            if isinstance(by_hand, float | int):
                close = value is not None and math.isclose(
                    value, by_hand, rel_tol=1e-9, abs_tol=1e-9
                )
                assert close, (key, name, value, by_hand)
            else:
                assert value == by_hand, (key, name)
            told[name].add(value)
    assert min(len(seen) for seen in told.values()) > 1, "every feature must vary"


def test_10_000_people_and_times_equal_the_bookkeeping():
    given = pairs(10_000)
    with connect() as engine:
        found = values(stocked(engine, world()), EVERY_KIND, given)
    ties = {(row["customer_id"], row["ts"]) for rows in world().values() for row in rows}
    assert len(ties.intersection(given)) > 500, "times at the very instant of an action"
    assert_as_kept_by_hand(found, given)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in ("postgres", "spark")]
)
def test_other_engines_give_the_same(name):
    # one feature of each expression, from few sets of rows: a query of Spark takes seconds
    few = ("events", "last_gap", "intent", "forgotten", "shift", "device", "mobile", "depth",
           "mean_depth", "span", "repeat_days", "age_days")  # fmt: skip
    given, features = pairs(300), EVERY_KIND.only(few)

    def check(url):
        with connect(url) as engine:
            found = values(stocked(engine, world()), features, given)
        assert_as_kept_by_hand(found, given, features)

    if name == "spark":
        check(spark_url())
        return
    with postgres() as url:
        check(url)


def test_the_order_of_rows_leaves_no_trace():
    given = pairs(500)
    with connect() as plain, connect() as other:
        one = values(stocked(plain, world()), EVERY_KIND, given)
        two = values(stocked(other, world(), shuffled=True), EVERY_KIND, given[::-1])
    assert one == two


def test_what_comes_after_never_changes_a_value():
    # of rows drawn anew, those at or after the time, or received after it, are added
    at = START + 20 * DAY
    given = [(f"p{i:03d}", at) for i in range(PEOPLE)]
    added = {
        name: [row for row in rows if row["ts"] >= at or (row["received_at"] or row["ts"]) > at]
        for name, rows in world(77, 3000).items()
    }
    for name, rows in added.items():
        rows.append({**rows[0], KEYS[name]: "x", "ts": at, "received_at": None})
    early = [row for row in added["conversions"] if row["ts"] < at]
    assert len(early) > 10, "orders that were made before and heard of after"
    with connect() as plain, connect() as other:
        before = values(stocked(plain, world()), EVERY_KIND, given)
        after = values(stocked(other, world(), added), EVERY_KIND, given)
    assert before == after


def test_decay_of_daily_actions_is_a_geometric_series():
    # n actions, one a day, seen a day after the last: Σ q^i for i = 1..n, q = 2^(-1/half-life)
    rows = [
        {"event_id": f"e{i}", "customer_id": "p", "name": "view", "ts": START + i * DAY}
        for i in range(50)
    ]
    features = declared(
        *({"name": f"h{h}", "kind": "decay", "half_life_days": h} for h in (1, 7, 400))
    )
    with connect() as engine:
        engine.register("events", table(rows, ["event_id", "customer_id", "name", "ts"]))
        found = values(engine, features, [("p", START + 50 * DAY), ("nobody", START)])
    for h in (1, 7, 400):
        q = 2 ** (-1 / h)
        expected = q * (1 - q**50) / (1 - q)
        assert found["p", START + 50 * DAY][f"h{h}"] == pytest.approx(expected, abs=1e-10)
        assert found["nobody", START][f"h{h}"] == 0


def order(number, person, day, value, **more):
    return {
        "conversion_id": f"k{number}",
        "order_id": f"o{number}",
        "customer_id": person,
        "ts": START + timedelta(days=day),
        "value": value,
        "refunded_value": 0,
        "currency": "EUR",
        "status": "paid",
    } | more


def with_orders(engine, rows):
    engine.register("conversions", table(rows, list(rows[0])))
    return engine


def test_lifetime_summary_of_a_person_by_hand():
    # Fader, Hardie and Lee 2005: x repeat purchases, t_x first to last, T first to now. Two orders
    # of one day are one purchase per day, as in summaries of the CDNOW data.
    rows = [order(i, "p", day, 100) for i, day in enumerate((3.25, 10.5, 10.75, 24.0))]
    form = {"kind": "lifetime", "of": ORDERS}
    parts = ("frequency", "recency", "age")
    features = declared(
        *({"name": part, "statistic": part, "per_day": True} | form for part in parts),
        *({"name": f"exact_{part}", "statistic": part} | form for part in parts),
    )
    assert [f.unit for f in features.features[:3]] == ["repeat days", "days", "days"]
    with connect() as engine:
        found = values(with_orders(engine, rows), features, [("p", START + 39.5 * DAY)])
    row = found["p", START + 39.5 * DAY]
    assert [row[part] for part in parts] == [2, 21, 36]
    assert [row[f"exact_{part}"] for part in parts] == [3, 20.75, 36.25]


def test_rfm_by_equal_parts_and_by_borders():
    # p0 ordered last, most and most often; p9 is p8's twin, and p10 never ordered
    orders = [(i, 50 - 5 * i) for i in range(9) for _ in range(9 - i)] + [(9, 10)]
    rows = [order(n, f"p{i}", day, 1000) for n, (i, day) in enumerate(orders)]
    people = [(f"p{i}", START + 51 * DAY) for i in range(11)]
    form = {"kind": "rfm", "currency": "EUR", "of": ORDERS}
    borders = {"recency_days": [1, 7, 22], "frequency": [2, 9], "money": [40, 90]}
    features = declared(
        {"name": "parts", "statistic": "cell"} | form,
        {"name": "recency", "statistic": "recency", "scores": 2} | form,
        {"name": "cell", "statistic": "cell", "borders": borders} | form,
        {"name": "money", "statistic": "money", "borders": borders} | form,
    )
    with connect() as engine:
        found = values(with_orders(engine, rows), features, people)
    told = [found[key] for key in people]
    # 1 + floor(5 × people below / 10): the twins at the bottom share score 1, p7 has two below
    assert [row["parts"] for row in told] == [
        "555", "555", "444", "444", "333", "333", "222", "222", "111", "111", None,
    ]  # fmt: skip
    assert [row["recency"] for row in told] == [2] * 5 + [1] * 5 + [None]
    # p0: 1 day ago is not less than 1 day, less than 7 and 22; 9 orders; 90 EUR
    assert [told[i]["cell"] for i in (0, 1, 4, 5, 8)] == ["333", "322", "222", "122", "111"]
    assert [told[i]["money"] for i in (0, 5, 6)] == [3, 2, 1]
    assert features.feature("cell").is_text


def test_equal_parts_know_only_people_of_the_same_time():
    rows = [order(i, f"p{i}", i, 100) for i in range(6)]
    features = declared(
        {"name": "score", "kind": "rfm", "statistic": "recency", "scores": 2, "currency": "EUR",
         "of": ORDERS}
    )  # fmt: skip
    early = [(f"p{i}", START + 2 * DAY) for i in range(6)]
    with connect() as engine:
        with_orders(engine, rows)
        alone = values(engine, features, early)
        later = values(engine, features, early + [(f"p{i}", START + 9 * DAY) for i in range(6)])
    assert [alone[key]["score"] for key in early] == [1, 2, None, None, None, None]
    assert {key: later[key] for key in early} == alone


def test_people_without_consent_at_the_time_are_left_out():
    given = [("p001", START + 5 * DAY), ("p001", START + 9 * DAY), ("p002", START + 9 * DAY)]
    with connect() as engine:
        stocked(engine, world())
        rows = [{"customer_id": person, "at": at} for person, at in given[1:]]
        consented = engine.register("consented", table(rows * 2, ["customer_id", "at"]))
        assert set(values(engine, EVERY_KIND, given, consented=consented)) == set(given[1:])


FAULTS = {
    "owner": {"owner": None},
    "version": {"version": None},
    "at least 1": {"owner": ""},
    "greater than or equal to 1": {"version": 0},
    "pattern": {"name": "Last Event"},
    "half_life_days is needed": {"kind": "decay"},
    "half_life_days belongs to a feature of kind decay": {"half_life_days": 3},
    "statistic is needed": {"kind": "gap"},
    "must be mean or last": {"kind": "gap", "statistic": "median"},
    "window_days is needed": {"kind": "change"},
    "of the table conversions": {"kind": "money", "statistic": "sum", "currency": "EUR"},
    "needs one": {"kind": "device", "statistic": "share"},
    "names and channels belong": {"of": {"table": "conversions", "names": ["x"]}},
    "key column": {"name": "at"},
    "Extra inputs": {"half_live_days": 3},
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_faulty_declaration_is_refused_in_one_line(said):
    whole = {"name": "x", "version": 1, "owner": "crm", "kind": "recency"} | FAULTS[said]
    given = {name: value for name, value in whole.items() if value is not None}
    with pytest.raises(InputError, match=said) as refused:
        Features.declared({"features": [given]})
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("features[0]")


def test_a_file_names_the_line_without_owner(tmp_path):
    path = tmp_path / "features.yaml"
    path.write_text("features:\n  - name: x\n    version: 1\n    kind: recency\n")
    with pytest.raises(SpecError, match=r"features\.yaml, line 2: features\[0\]\.owner"):
        load_model(path, Features)


def test_yaml_and_back(tmp_path):
    path = tmp_path / "features.yaml"
    path.write_text(EVERY_KIND.to_yaml(), encoding="utf-8")
    assert load_model(path, Features) == EVERY_KIND
    again = Features.declared(yaml.safe_load(EVERY_KIND.to_yaml()))
    assert again.content_hash() == EVERY_KIND.content_hash()
    changed = EVERY_KIND.model_copy(update={"features": EVERY_KIND.features[:3]})
    assert changed.content_hash() != EVERY_KIND.content_hash()
    one = EVERY_KIND.feature("events")
    assert one.content_hash() != one.model_copy(update={"version": 2}).content_hash()
    with pytest.raises(UnknownName, match="Did you mean 'intent'"):
        EVERY_KIND.feature("intnt")
    with pytest.raises(InputError, match="'events' stands there twice"):
        declared({"name": "events", "kind": "recency"}, {"name": "events", "kind": "frequency"})


def test_tables_that_cannot_serve():
    feature = declared({"name": "x", "kind": "recency"})
    with connect() as engine:
        people = asked(engine, [("p", START)])
        with pytest.raises(MissingFile, match="truelift load events"):
            feature_values(engine, feature, people)
        rows = [{"event_id": "e", "customer_id": "p", "name": "view", "ts": START, "r": "today"}]
        data = table(rows, ["event_id", "customer_id", "name", "ts", "r"])
        engine.register("events", data.rename_columns([*data.column_names[:-1], "received_at"]))
        with pytest.raises(DataError, match="received_at"):
            feature_values(engine, feature, people)


def test_a_platforms_clock_is_corrected_before_a_feature_sees_the_log():
    at = datetime(2026, 3, 7, tzinfo=UTC)
    click = {
        "activation_id": "a1", "platform": "alpha", "channel": "email", "campaign": "spring",
        "kind": "click", "customer_id": "u", "ts": at + timedelta(minutes=59),
    }  # fmt: skip
    hour = {
        "platform": "alpha", "offset_seconds": -3_600, "evidence": "planted",
        "recorded_by": "ana", "recorded_at": at,
    }  # fmt: skip
    clicks = declared({"name": "clicks", "kind": "frequency", "of": {"table": "activations"}})
    asked_for = pa.Table.from_pylist([{"customer_id": "u", "at": at}])
    with connect() as engine:
        engine.register("activations", pa.Table.from_pylist([click]))
        asked_for = engine.register("asked", asked_for)
        seen_before = engine.fetch(feature_values(engine, clicks, asked_for))
        engine.register("clock_offsets", pa.Table.from_pylist([hour]))
        seen_after = engine.fetch(feature_values(engine, clicks, asked_for))
    assert (seen_before["clicks"].to_pylist(), seen_after["clicks"].to_pylist()) == ([0.0], [1.0])
