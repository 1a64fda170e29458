"""`truelift clocks` and the options of `truelift load` that say how times are to be read."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from console.workspace import Workspace
from measure.reconcile import CATALOGUE, statement
from tests.console.command import truelift
from tests.console.documents import assert_documented

T0 = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path):
    Workspace.create(tmp_path / "w")
    return tmp_path / "w"


def put(workspace, table, text, *options):
    path = workspace / f"{table}.csv"
    path.write_text(text, encoding="utf-8")
    done = truelift("load", table, path, *options, "--json", "-", cwd=workspace)
    assert done.code == 0, done.err
    return json.loads(done.out)["files"][0]


def test_a_correction_is_an_act_on_record(workspace, monkeypatch):
    chosen = [check for check in CATALOGUE if check.code == "C7"]
    monkeypatch.setattr(statement, "CATALOGUE", chosen)
    log = "activation_id,platform,channel,campaign,kind,ts,customer_id,click_id\n"
    events = "event_id,customer_id,name,ts,click_id\n"
    for i in range(40):
        at = T0 + timedelta(hours=i)
        late = at + timedelta(seconds=420)
        log += f"a{i},alpha,Search,x,click,{late.isoformat()},u{i},k{i}\n"
        events += f"e{i},u{i},landing,{(at + timedelta(seconds=3)).isoformat()},k{i}\n"
    put(workspace, "activations", log)
    put(workspace, "events", events)
    shown = json.loads(truelift("clocks", "--json", "-", cwd=workspace).out)
    (clock,) = shown["clocks"]
    # Planted: 420 s too much, every landing 3 s after its click.
    assert (clock["median_seconds"], clock["offset_seconds"]) == (-417, -417)
    done = truelift("clocks", "--correct", "alpha", "--as", "ana", "--json", "-", cwd=workspace)
    document = json.loads(done.out)
    assert_documented("clocks", document)
    assert (document["recorded"]["offset_seconds"], document["recorded"]["recorded_by"]) == (
        -417,
        "ana",
    )
    assert document["clocks"][0]["median_seconds"] == 0
    notes = json.loads(truelift("reconcile", "--json", "-", cwd=workspace).out)["notes"]
    assert any("alpha are corrected by −417 s" in note and "by ana" in note for note in notes)
    assert (
        "On record: 0 s"
        in truelift("clocks", "--correct", "alpha", "--seconds", "0", cwd=workspace).out
    )
    truelift("clocks", "--correct", "gamma", cwd=workspace).refused("gamma", "alpha")
    truelift("clocks", "--seconds", "3", cwd=workspace).refused("--correct PLATFORM")
    mistyped = ("--correct", "alhpa", "--seconds", "-417")
    truelift("clocks", *mistyped, cwd=workspace).refused("alhpa", "alpha")


def test_local_times_and_numbers_are_read_as_stated(workspace):
    header = "exposure_id,experiment,unit_id,ts\n"
    naive = put(workspace, "exposures", header + "e1,x,u,2026-07-01T12:00:00\n")
    assert (naive["accepted"], naive["quarantined"]) == (0, 1)
    text = header + "e2,x,u,2026-07-01T12:00:00\n"
    assert put(workspace, "exposures", text, "--time-zone", "Asia/Kathmandu")["accepted"] == 1
    text = header + "e3,x,u,1710055800\n"
    assert put(workspace, "exposures", text, "--epoch", "s")["accepted"] == 1
    truelift(
        "load", "exposures", workspace / "exposures.csv", "--time-zone", "Paris", cwd=workspace
    ).refused("time zone == 'Paris'", "Europe/Paris")
