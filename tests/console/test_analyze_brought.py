"""Registered experiments that bring their results: by key, concluded, as priors, with draws."""

import json
from pathlib import Path

import numpy as np
import pytest

from console.cli import main
from console.publishing import _incremental
from console.workspace import Workspace
from designs.specification import parse_specification
from measure.results import Analysis, Estimand, Estimate, Status

SPEC = """\
key: {key}
hypothesis: Letters bring orders.
unit: person
source: {{path: {path}, arm: arm}}
arms: {{letter: 0.5, none: 0.5}}
control: none
metrics:
  - {{name: orders, role: primary}}
cohorts: [region]
plan: {plan}
"""
PLAIN = "{estimators: [difference]}"
POOLED = "{{estimators: [difference, hierarchical_bayes], bayes: {{{}}}}}"
SIDE = 400
"""Units of each arm."""


def units(lift, *, spread=0.8):
    """Rows whose control mean is 10 and whose lift is exact; standard error of the lift 2.8 %."""
    base = np.linspace(-1.7320508, 1.7320508, SIDE) * 4
    rows = []
    for arm, mean in (("none", 10.0), ("letter", 10.0 * (1 + lift))):
        for place, value in enumerate(base - base.mean()):
            region = "ns"[place % 2]
            more = 0.0 if arm == "none" else spread * (1 if region == "n" else -1)
            rows.append(f"{arm},{region},{mean + value + more:.9f}")
    return "arm,region,orders\n" + "\n".join(rows) + "\n"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    root = Workspace.create(tmp_path / "shop").root
    monkeypatch.chdir(root)
    return root


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert caught.value.code == code


def analysed(target, *options):
    run("analyze", target, "--json", "out.json", *options)
    return json.loads(Path("out.json").read_text(encoding="utf-8"))


def started(root, key, lift, plan=PLAIN, folder="experiments"):
    (root / f"{key}.csv").write_text(units(lift), encoding="utf-8")
    path = f"../{key}.csv" if folder == "experiments" else f"{key}.csv"
    spec = root / folder / f"{key}.yaml"
    spec.write_text(SPEC.format(key=key, path=path, plan=plan), encoding="utf-8")
    run("register", spec)
    run("start", key)
    return spec


def everybody(document, estimator):
    return next(
        e for e in document["estimates"] if e["estimator"] == estimator and e["cohort"] is None
    )


def test_a_key_reads_the_results_that_its_specification_names(shop, capsys):
    spec = started(shop, "letters", 0.05)
    run("report", "letters", "--out", "pages")  # no table was ever loaded here
    assert "0.5000" in (shop / "pages" / "experiment-letters.html").read_text(encoding="utf-8")
    by_key, by_file = analysed("letters"), analysed(spec)
    assert by_key == by_file
    provenance = by_key["provenance"]
    assert (provenance["registered"], provenance["exploratory"]) == (True, False)
    capsys.readouterr()
    run("list", "--json", "list.json")
    (entry,) = json.loads((shop / "list.json").read_text())["experiments"]
    assert provenance["plan_hash"] == entry["plan_hash"]
    # On record under the key, unlike the analysis of a file.
    kept = json.loads((shop / "results" / "letters" / "analysis.json").read_text())
    assert kept["estimates"] == by_key["estimates"]
    assert everybody(by_key, "difference")["relative"] == pytest.approx(0.05, abs=1e-6)
    run("conclude", "letters")
    again = analysed("letters")["provenance"]
    assert again["after_conclusion"] is True


def test_what_is_no_started_plan_or_no_file_of_the_workspace_is_refused(shop, capsys):
    (shop / "letters.csv").write_text(units(0.05), encoding="utf-8")
    spec = shop / "letters.yaml"
    spec.write_text(SPEC.format(key="letters", path="letters.csv", plan=PLAIN), encoding="utf-8")
    run("register", spec)
    run("analyze", "letters", code=2)
    assert "was not started, so no plan is frozen" in capsys.readouterr().err
    run("start", "letters")
    analysed("letters")
    text = spec.read_text(encoding="utf-8")
    spec.write_text(text.replace("[difference]", "[difference, cuped]"), encoding="utf-8")
    capsys.readouterr()
    run("analyze", "letters", code=2)
    assert "none is the registered one" in capsys.readouterr().err
    spec.write_text(text, encoding="utf-8")
    (shop / "experiments" / "copy.yaml").write_text(text, encoding="utf-8")
    run("analyze", "letters", code=2)  # two files, two folders, two sources
    assert "several are the registered one" in capsys.readouterr().err


def test_a_key_asks_for_the_same_permission_as_any_other(tmp_path, monkeypatch, capsys):
    people = {"Ana": "analyst", "Finn": "finance"}
    root = Workspace.create(tmp_path / "shop", people=people).root
    monkeypatch.chdir(root)
    monkeypatch.setenv("TRUELIFT_USER", "Ana")
    started(root, "letters", 0.05, folder=".")
    analysed("letters", "--as", "Ana")
    capsys.readouterr()
    run("analyze", "letters", "--as", "Finn", code=2)
    assert "Finn" in capsys.readouterr().err


WINNERS = {"a": 0.060, "b": 0.072, "c": 0.058, "d": 0.090, "e": 0.065}
"""Lifts of past experiments, every one just significant at a standard error of 2.8 %."""


def test_a_prior_learned_from_concluded_experiments_shrinks_winners(shop, capsys):
    new = started(shop, "new", 0.08, POOLED.format("effect: registry"))
    run("analyze", "new", code=2)
    assert "5 concluded experiments" in capsys.readouterr().err
    for key, lift in WINNERS.items():
        started(shop, key, lift)
        run("conclude", key)
    # Concluded after this one started: they may not speak about it.
    run("analyze", "new", code=2)
    assert "there are 0" in capsys.readouterr().err
    later = new.with_name("later.yaml")
    later.write_text(new.read_text().replace("key: new", "key: later"), encoding="utf-8")
    run("register", later)
    run("start", "later")
    found = analysed("later")
    (prior,) = found["provenance"]["hierarchical_bayes"]["priors"]
    learned = prior["relative"]
    naive = sum(WINNERS.values()) / len(WINNERS)
    # Five of five significant: what is not on record pulls the mean well below that of the record.
    assert 0 < learned["mean"] < 0.85 * naive
    plain, pooled = (everybody(found, name) for name in ("difference", "hierarchical_bayes"))
    assert plain["relative"] == pytest.approx(0.08, abs=1e-6)
    assert pooled["value"] < plain["value"]
    # Closed form: two normals, the interval's error and the prior times the control's mean.
    half = (plain["ci_high"] - plain["ci_low"]) / 2 / 1.959963984540054
    weights = half**-2, (10 * learned["sd"]) ** -2
    mean = (weights[0] * plain["value"] + weights[1] * 10 * learned["mean"]) / sum(weights)
    assert pooled["value"] == pytest.approx(mean, rel=1e-6)
    assert pooled["se"] == pytest.approx(sum(weights) ** -0.5, rel=1e-6)


def store(document, root):
    said = document["provenance"]["hierarchical_bayes"]
    assert said["draws"] == ["orders-letter-region.zarr"]
    return root / said["draws_in"] / said["draws"][0]


def effects(folder):
    import arviz as az

    return az.from_zarr(folder)["posterior"]["effect"]


def test_kept_draws_are_those_of_the_result_on_record(shop, capsys):
    spec = started(shop, "letters", 0.05, POOLED.format("keep_draws: true"))
    first = analysed("letters")
    assert first["provenance"]["hierarchical_bayes"]["draws_in"] == "results/letters/draws"
    cohort = next(
        e
        for e in first["estimates"]
        if e["estimator"] == "hierarchical_bayes" and e["cohort"] == {
            "dimension": "region", "value": "n"}
    )  # fmt: skip
    both = effects(store(first, shop)).load()
    drawn = both.sel(cohort="n")
    # 4 × 600 independent draws at least: five Monte Carlo standard errors.
    assert float(drawn.mean()) == pytest.approx(cohort["value"], abs=5 * cohort["se"] / 2_400**0.5)
    assert float(drawn.std()) == pytest.approx(cohort["se"], rel=0.1)

    # Redone, they are replaced with the result, and what is not of it goes.
    stale = store(first, shop).with_name("gone.zarr")
    stale.mkdir()
    (shop / "letters.csv").write_text(units(0.20), encoding="utf-8")
    second = analysed("letters")
    assert not stale.exists()
    moved = float(effects(store(second, shop)).mean() - both.mean())
    assert moved == pytest.approx(1.5, abs=0.1)  # 15 % of 10

    # An analysis of the file is not on record, nor are its draws: it needs a folder of its own.
    run("analyze", spec, code=2)
    assert "--draws DIR" in capsys.readouterr().err
    own = analysed(spec, "--draws", "mine")
    assert own["provenance"]["hierarchical_bayes"]["draws_in"] == "mine"
    assert effects(store(own, shop)).equals(effects(store(second, shop)))


def test_draws_of_a_concluded_experiment_stay(shop, capsys):
    started(shop, "letters", 0.05, POOLED.format("keep_draws: true"))
    run("conclude", "letters")
    folder = shop / "results" / "letters" / "draws"
    before = effects(folder / "orders-letter-region.zarr").mean("draw").load()
    (shop / "letters.csv").write_text(units(0.20), encoding="utf-8")
    run("analyze", "letters", code=2)
    assert "its draws on record stay. Add --draws DIR" in capsys.readouterr().err
    later = analysed("letters", "--draws", "today")
    assert later["provenance"]["after_conclusion"] is True
    assert effects(folder / "orders-letter-region.zarr").mean("draw").equals(before)
    assert not effects(store(later, shop)).mean("draw").equals(before)


def test_numbers_that_are_withheld_leave_no_draws(shop):
    started(shop, "letters", 0.05, POOLED.format("keep_draws: true"))
    analysed("letters")
    folder = shop / "results" / "letters" / "draws"
    assert folder.exists()
    lines = (shop / "letters.csv").read_text().splitlines()
    (shop / "letters.csv").write_text("\n".join(lines[:-150]) + "\n")  # the sample ratio breaks
    found = analysed("letters")
    assert found["status"] == "invalid"
    assert found["provenance"]["hierarchical_bayes"]["draws"] == []
    assert not folder.exists()


@pytest.mark.parametrize("observed", [False, True])
def test_what_was_not_randomised_is_not_said_to_have_caused_conversions(observed):
    plan = "{observational: {estimators: [regression]}}" if observed else PLAIN
    text = SPEC.format(key="letters", path="letters.csv", plan=plan)
    text = text.replace("{name: orders, role: primary}", "{name: bought, kind: proportion}")
    experiment = parse_specification(text, "letters.yaml").experiment
    name = "regression" if observed else "difference"
    estimate = Estimate(
        "bought", "letter", "none", None, Estimand.ITT, name, 0.02, 0.01, 0.0, 0.04, 0.95, 0.04,
        0.2, 0.0, 0.4, 400, 400, Status.OK,
    )  # fmt: skip
    analysis = Analysis("letters", Status.OK, (), (estimate,))
    found = _incremental(experiment, analysis)
    assert (found is None) is observed
