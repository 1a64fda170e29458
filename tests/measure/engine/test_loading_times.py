"""R17, A21: local times, days of 23 and 25 hours, numbers for times; nothing is guessed."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from measure.engine.connection import connect
from measure.engine.embedded import open_database
from measure.engine.loading import Warehouse
from measure.engine.local_time import MACROS, Reading
from measure.errors import InputError
from tests.measure.engine.one_database import one_database

HEADER = "exposure_id,experiment,unit_id,ts\n"
PUT_FORWARD, PUT_BACK = "the clocks were put forward", "the clocks were put back"


@pytest.fixture(autouse=True, scope="module")
def _one_database():
    with one_database():
        yield


def load(tmp_path, times, reading=None, name="e.csv"):
    path = tmp_path / name
    path.write_text(HEADER + "".join(f"e{i},x,u,{t}\n" for i, t in enumerate(times)))
    warehouse = Warehouse(tmp_path / "warehouse")
    (report,) = warehouse.load("exposures", [path], reading)
    with connect(f"warehouse:{warehouse.root}") as engine:
        rows = engine.fetch(engine.table("exposures").order_by("exposure_id")).to_pylist()
    refused = []
    if report.quarantine_file:
        refused = pq.read_table(report.quarantine_file).column("reason").to_pylist()
    return [row["ts"] for row in rows], refused


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# Wall clocks of 2026 and the moments they mean: tz database 2024a, checked with zoneinfo below.
DAYS = {
    "New York": ("America/New_York", "2026-03-08T02:30:00", "2026-11-01T01:30:00",
                 ["2026-03-08T01:59:59", "2026-03-08T03:00:00"],
                 ["2026-03-08T06:59:59", "2026-03-08T07:00:00"]),
    "Adelaide, +9:30 and +10:30": ("Australia/Adelaide", "2026-10-04T02:30:00",
                                   "2026-04-05T02:30:00",
                                   ["2026-10-04T01:59:59", "2026-10-04T03:00:00"],
                                   ["2026-10-03T16:29:59", "2026-10-03T16:30:00"]),
    "Chatham, +12:45 and +13:45": ("Pacific/Chatham", "2026-09-27T03:00:00",
                                   "2026-04-05T03:00:00",
                                   ["2026-09-27T02:44:59", "2026-09-27T03:45:00"],
                                   ["2026-09-26T13:59:59", "2026-09-26T14:00:00"]),
}  # fmt: skip


@pytest.mark.parametrize(("zone", "never", "twice", "local", "moments"), DAYS.values(), ids=DAYS)
def test_local_times_on_both_days_that_clocks_change(tmp_path, zone, never, twice, local, moments):
    stored, refused = load(tmp_path, [*local, never, twice], Reading(time_zone=zone))
    assert stored == [utc(moment) for moment in moments]
    for wall, moment in zip(local, stored, strict=True):
        shown = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        assert shown == datetime.fromisoformat(wall)
    assert len(refused) == 2
    assert PUT_FORWARD in refused[0]
    assert PUT_BACK in refused[1]


def by_zoneinfo(zone, wall):
    """Moments at which a zone shows a wall time: none, one or two."""
    there = ZoneInfo(zone)
    found = set()
    for fold in (0, 1):
        moment = wall.replace(tzinfo=there, fold=fold).astimezone(UTC)
        if moment.astimezone(there).replace(tzinfo=None) == wall:
            found.add(moment)
    return found


def test_local_times_agree_with_the_time_zone_library_of_python():
    chance, walls = random.Random(4), []
    zones = ["Europe/Paris", "America/St_Johns", "Asia/Kathmandu", "Asia/Kolkata", "Pacific/Apia",
             "Australia/Lord_Howe", "Pacific/Chatham", "America/Sao_Paulo"]  # fmt: skip
    for zone in zones:
        for year in (2011, 2018, 2024):
            wall = datetime(year, 1, 1)  # noqa: DTZ001 - a clock on the wall has no zone
            while wall.year == year:
                changes = {ZoneInfo(zone).utcoffset(wall + timedelta(days=d)) for d in (-1, 1)}
                walls.append((zone, wall))
                step = 15 if len(changes) > 1 else 60 * 24
                wall += timedelta(minutes=step * chance.choice([1, 2]))
    with open_database() as database:
        for macro in MACROS:
            database.execute(macro)
        columns = {"zone": [z for z, _ in walls], "wall": pa.array([w for _, w in walls])}
        database.register("walls", pa.table(columns))
        found = database.execute(
            "SELECT epoch_us(moment_of(wall, zone)), happened_twice(wall, zone) FROM walls"
        ).fetchall()
    seen = {0: 0, 1: 0, 2: 0}
    for (zone, wall), (moment, twice) in zip(walls, found, strict=True):
        moments = by_zoneinfo(zone, wall)
        seen[len(moments)] += 1
        assert bool(twice) == (len(moments) == 2), (zone, wall)
        expected = min(moments) if moments else None
        assert moment == (expected and round(expected.timestamp() * 1e6)), (zone, wall)
    assert min(seen.values()) >= 15, seen


def test_the_platforms_contract_says_the_zone_and_a_stated_zone_goes_before_it(tmp_path):
    warehouse = Warehouse(tmp_path / "warehouse")
    header = "activation_id,platform,channel,campaign,kind,ts,customer_id\n"
    platforms = "platform,time_zone,click_window_days,view_window_days\n"
    platforms += "a,America/New_York,7,1\nb,Asia/Kolkata,7,1\nbad,Mars/Base,7,1\n"
    log = header + "".join(
        f"{p}1,{p},c,x,click,2026-07-01T12:00:00,u\n" for p in ("a", "b", "bad", "none")
    )
    (tmp_path / "platforms.csv").write_text(platforms)
    (tmp_path / "log.csv").write_text(log)
    (before,) = warehouse.load("activations", [tmp_path / "log.csv"])
    assert (before.accepted, before.quarantined) == (0, 4)
    warehouse.load("platforms", [tmp_path / "platforms.csv"])
    # The same bytes, now with a zone to read them in: what was refused is looked at again.
    (after,) = warehouse.load("activations", [tmp_path / "log.csv"])
    assert (after.accepted, after.quarantined, after.already_loaded) == (2, 2, False)
    (again,) = warehouse.load("activations", [tmp_path / "log.csv"])
    assert again.already_loaded
    reasons = pq.read_table(after.quarantine_file).column("reason").to_pylist()
    assert "names no known time zone" in reasons[0]
    assert "no time zone" in reasons[1]
    (stated,) = warehouse.load(
        "activations", [tmp_path / "log.csv"], Reading(time_zone="Europe/Paris")
    )
    assert (stated.accepted, stated.conflicts, stated.quarantined) == (2, 2, 2)
    with connect(f"warehouse:{warehouse.root}") as engine:
        rows = engine.fetch(engine.table("activations")).to_pylist()
    assert {row["activation_id"]: row["ts"] for row in rows} == {
        "a1": utc("2026-07-01T16:00:00"),  # UTC−4
        "b1": utc("2026-07-01T06:30:00"),  # UTC+5:30
        "bad1": utc("2026-07-01T10:00:00"),  # UTC+2
        "none1": utc("2026-07-01T10:00:00"),
    }


def test_times_with_an_offset_need_no_zone_and_dates_are_no_times(tmp_path):
    times = ["2026-07-01T12:00:00+05:45", "2026-07-01", "2026-07-01T23:59:60"]
    stored, refused = load(tmp_path, times, Reading(time_zone="Europe/Paris"))
    assert stored == [utc("2026-07-01T06:15:00")]
    assert "only a date" in refused[0]
    assert "not an ISO 8601 moment" in refused[1]


def test_naive_times_of_parquet_take_the_zone_too(tmp_path):
    moment = pa.array([datetime(2026, 7, 1, 12)], pa.timestamp("us"))  # noqa: DTZ001 - naive
    row = {"exposure_id": ["e"], "experiment": ["x"], "unit_id": ["u"], "ts": moment}
    pq.write_table(pa.table(row), tmp_path / "e.parquet")
    warehouse = Warehouse(tmp_path / "warehouse")
    (report,) = warehouse.load(
        "exposures", [tmp_path / "e.parquet"], Reading(time_zone="Asia/Kathmandu")
    )
    assert report.accepted == 1
    (path,) = warehouse.files("exposures")
    assert pq.read_table(path)["ts"].to_pylist()[0].astimezone(UTC) == utc("2026-07-01T06:15:00")


EPOCHS = {
    "s": ("1710055800", "2024-03-10T07:30:00"),
    "ms": ("1710055800123", "2024-03-10T07:30:00.123000"),
    "us": ("1710055800123456", "2024-03-10T07:30:00.123456"),
}


@pytest.mark.parametrize("unit", EPOCHS)
def test_numbers_count_the_stated_unit_and_another_unit_is_refused(tmp_path, unit):
    # date -u -d @1710055800: 2024-03-10 07:30:00. Each other unit is off by a factor of 1,000.
    stored, refused = load(tmp_path, [number for number, _ in EPOCHS.values()], Reading(epoch=unit))
    assert stored == [utc(EPOCHS[unit][1])]
    assert len(refused) == 2
    assert all("not between 1990 and 2100" in r or "no such moment" in r for r in refused)


def test_what_a_reading_cannot_be(tmp_path):
    with pytest.raises(InputError, match="time zone == 'Paris', must be an IANA name"):
        Reading(time_zone="Paris")
    with pytest.raises(InputError, match="epoch == 'ns', must be s, ms or us"):
        Reading(epoch="ns")
    stored, refused = load(tmp_path, ["2026-07-01T12:00:00", "1710055800"])
    assert not stored
    assert "no time zone" in refused[0]
    assert "seconds or milliseconds" in refused[1]
