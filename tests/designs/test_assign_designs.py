"""Clusters, allocation by cohort, factorial designs: engine and Python agree, shares hold."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from designs.assignment.allocation import OTHERS, designed_shares
from designs.assignment.assign import LOOSE_IDS, assign, population_query
from designs.assignment.explain import Context, explain
from designs.assignment.hashing import bucket, share_threshold
from designs.assignment.steps import cluster_key, draws
from designs.specification import parse_specification
from measure.engine.connection import connect
from measure.errors import InputError, SpecError
from tests.designs.specs import experiment, written
from tests.services import postgres

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
N = 4_000
HOUSEHOLD = "cluster: {kind: household}\nrollout: 0.6\nholdout: {share: 0.1}"
BY_COUNTRY = (
    "allocation: {attribute: country, shares: {DE: {newsletter: 0.5, control: 0.5}, "
    "FR: {newsletter: 0.2, control: 0.8}}}"
)
FACTORIAL = """\
key: creative
hypothesis: A short subject and a voucher add up.
factors:
  subject: {short: 0.5, long: 0.5}
  offer: {none: 0.4, voucher: 0.6}
control: long + none
metrics: [{name: revenue, unit: EUR, role: primary}]
plan: {window_days: 28}
schedule: {start: 2026-03-01}
"""


def factorial(text=FACTORIAL):
    return parse_specification(text, "test.yaml").experiment


def people():
    return pa.table(
        {
            "customer_id": [f"c{i}" for i in range(N)],
            "first_seen_at": pa.array([START - DAY] * N, pa.timestamp("us", "UTC")),
            "country": [("DE", "FR", "AT", None)[i % 4] for i in range(N)],
            "account": [f"a{i // 5}" if i % 10 else "" for i in range(N)],
        }
    )


def households():
    """Three customers a household; every seventh has none, every eleventh a later, smaller one."""
    rows = []
    for i in range(N):
        if i % 7:
            rows.append((f"c{i}", "household", f"h{i // 3}", START - DAY))
        if i % 11 == 0:
            rows.append((f"c{i}", "household", "a", START + DAY))
        rows.append((f"c{i}", "device", "0", START - DAY))
    names = ("customer_id", "kind", "identifier", "seen_at")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    kinds = [pa.string()] * 3 + [pa.timestamp("us", "UTC")]
    return pa.table({n: pa.array(columns[n], k) for n, k in zip(names, kinds, strict=True)})


def household_of(i):
    return f"h{i // 3}" if i % 7 else None


@pytest.fixture(scope="module")
def warehouse():
    with connect("duckdb://") as engine:
        engine.register("customers", people())
        engine.register("identities", households())
        yield engine


def population(engine, design):
    rows = engine.fetch(population_query(engine, design)).to_pylist()
    return {row["unit_id"]: (row["outcome"], row["arm"]) for row in rows}


def test_members_of_a_household_share_ramp_and_arm(warehouse):
    design = experiment(more=HOUSEHOLD)
    assert design.unit == "household"
    found = population(warehouse, design)
    shared = {}
    for i in range(N):
        outcome, arm = found[f"c{i}"]
        if outcome == "held_out":  # holdouts are of persons, the same for all experiments
            assert bucket("holdout:global", f"c{i}") < share_threshold(0.1)
        elif household_of(i):
            assert shared.setdefault(household_of(i), (outcome, arm)) == (outcome, arm)
    outcomes = Counter(outcome for outcome, _ in shared.values())
    n, arms = len(shared), Counter(arm for _, arm in shared.values() if arm)
    assert abs(outcomes["assigned"] - 0.6 * n) < 4.5 * math.sqrt(n * 0.24)
    assert abs(arms["control"] - 0.1 * arms.total()) < 4.5 * math.sqrt(arms.total() * 0.09)


def test_python_explanation_and_servers_agree_on_clusters(warehouse):
    design = experiment(more=HOUSEHOLD)
    found = population(warehouse, design)
    ids, clusters = [f"c{i}" for i in range(N)], [household_of(i) for i in range(N)]
    many = assign(design, ids, clusters=clusters)
    assert {a.unit_id: (a.outcome.value, a.arm) for a in many} == found
    few = [a for i in range(0, N, 500) for a in assign(
        design, ids[i : i + 500], clusters=clusters[i : i + 500])]  # fmt: skip
    assert tuple(few) == many
    assert N > LOOSE_IDS
    for i in range(200):
        context = Context(START, START, {}, (), household_of(i))
        last = explain(design, f"c{i}", context)[-1]
        assert last.arm == found[f"c{i}"][1]
    with postgres() as url, connect(url) as server:
        server.register("customers", people())
        server.register("identities", households())
        assert population(server, design) == found
        by_country = experiment(more=BY_COUNTRY)
        assert population(server, by_country) == population(warehouse, by_country)
        assert population(server, factorial()) == population(warehouse, factorial())


def test_a_cluster_may_be_an_attribute_and_an_empty_one_is_none(warehouse):
    design = experiment(more="cluster: {attribute: account}")
    assert design.unit == "account"
    found = population(warehouse, design)
    for i in range(0, 400, 5):
        members = [j for j in range(i, i + 5) if j % 10]
        assert len({found[f"c{j}"] for j in members}) == 1
        alone = bucket("arm:spring-newsletter", f"customer:c{i}") < share_threshold(0.1)
        if i % 10 == 0:
            assert (found[f"c{i}"][1] == "control") == alone


def test_a_cluster_and_a_unit_of_the_same_name_are_two(warehouse):
    design = experiment(more=HOUSEHOLD)
    assert cluster_key(design, "x", None) == "customer:x"
    assert cluster_key(design, "y", "x") == "household:x"
    assert cluster_key(experiment(), "x", None) == "x"


def test_what_is_needed_beyond_the_id_must_be_given():
    with pytest.raises(InputError, match="clusters: none given for 1 units"):
        assign(experiment(more=HOUSEHOLD), ["a"])
    with pytest.raises(InputError, match="cohorts: 1 given for 2 units"):
        assign(experiment(more=BY_COUNTRY), ["a", "b"], cohorts=["DE"])
    silent = explain(experiment(more="cluster: {kind: household}"), "a")
    assert (silent[-1].step, silent[-1].passed) == ("cluster", False)
    silent = explain(experiment(more=BY_COUNTRY), "a")
    assert (silent[-1].step, silent[-1].passed) == ("allocation", False)


def test_each_cohort_gets_its_own_shares(warehouse):
    design = experiment(more=BY_COUNTRY)
    found = population(warehouse, design)
    shares = {"DE": 0.5, "FR": 0.8, "AT": 0.1, None: 0.1}
    for index, (country, share) in enumerate(shares.items()):
        mine = [found[f"c{i}"][1] for i in range(index, N, 4)]
        n = mine.count("control")
        assert abs(n - share * 1_000) < 4.5 * math.sqrt(1_000 * share * (1 - share)), country
    countries = people()["country"].to_pylist()
    ids = [f"c{i}" for i in range(N)]
    assert {
        a.unit_id: (a.outcome.value, a.arm) for a in assign(design, ids, cohorts=countries)
    } == (found)
    for i in range(100):
        context = Context(START, START, {"country": countries[i]})
        steps = explain(design, f"c{i}", context)
        assert steps[-1].arm == found[f"c{i}"][1]
        assert steps[-2].step == "allocation"
    assert "FR', which has its own shares: control 0.8, newsletter 0.2" in (
        explain(design, "c1", Context(START, START, {"country": "FR"}))[-2].sentence
    )
    assert designed_shares(design, {"DE", "AT"}) == {
        "DE": {"newsletter": 0.5, "control": 0.5},
        OTHERS: design.arms,
    }


def test_a_factorial_design_gives_every_combination_its_share(warehouse):
    design = factorial()
    shares = {
        "short + none": 0.2, "short + voucher": 0.3, "long + none": 0.2, "long + voucher": 0.3
    }  # fmt: skip
    assert design.arms == pytest.approx(shares, abs=0)
    assert [d.salt for d in draws(design)] == ["arm:creative/subject", "arm:creative/offer"]
    found = population(warehouse, design)
    ids = [f"c{i}" for i in range(N)]
    assert {a.unit_id: (a.outcome.value, a.arm) for a in assign(design, ids)} == found
    for arm, share in shares.items():
        n = sum(found[unit][1] == arm for unit in ids)
        assert abs(n - share * N) < 4.5 * math.sqrt(N * share * (1 - share))
    steps = explain(design, "c5")
    assert [s.step for s in steps] == ["factor subject", "factor offer", "arm"]
    assert steps[-1].arm == found["c5"][1]
    assert "The level of offer is" in steps[1].sentence
    assert str(steps[1].bucket) in steps[1].sentence


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("cluster: {kind: houshold}", "Did you mean 'household'"),
        ("cluster: {}", "exactly one of kind and attribute"),
        ("cluster: {kind: household}\nunit: customer", "use household"),
        (BY_COUNTRY.replace("0.8}", "0.7}"), "shares of 'FR' add up to 0.9"),
        (BY_COUNTRY.replace("newsletter: 0.2", "letter: 0.2"), "a share to each of the arms"),
        (BY_COUNTRY.replace("country,", "region,"), "must list 'region'"),
        (BY_COUNTRY + "\ncluster: {kind: household}", "cannot be combined with allocation"),
        ("balance: {attributes: [a]}\nrollout: 0.5", "remove rollout or balance"),
        ("balance: {attributes: []}", "must not be empty"),
    ],
)
def test_designs_that_do_not_fit_are_refused(more, words):
    with pytest.raises(SpecError, match=words):
        experiment(more=more)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("long: 0.5}", "long: 0.6}", "shares of 'subject' add up to 1.1"),
        ("  offer: {none: 0.4, voucher: 0.6}\n", "", "two factors or more"),
        ("subject:", "arm:", "'arm' is taken"),
        ("control: long + none", "control: none", "not one of the arms"),
        ("control: long", "arms: {a: 0.5, b: 0.5}\ncontrol: long", "Leave arms out"),
    ],
)
def test_factors_that_do_not_fit_are_refused(old, new, words):
    assert old in FACTORIAL
    with pytest.raises(SpecError, match=words):
        factorial(FACTORIAL.replace(old, new))


def test_allocation_is_pooled_only_by_estimators_that_know_how():
    text = written(more=BY_COUNTRY).replace("[difference, cuped]", "[difference, double_ml]")
    with pytest.raises(SpecError, match="only difference and cuped"):
        parse_specification(text, "test.yaml")


def test_values_match_the_tables_whatever_form_they_were_written_in():
    # Texts are NFC once loaded, so a decomposed ü in a specification would match nobody.
    more = (
        "population: {where: {city: Mu\u0308nchen}}\n"
        "allocation: {attribute: country, shares: {Mu\u0308nchen: {newsletter: 0.5, control: 0.5}}}"
    )
    design = experiment(more=more)
    assert design.population.where == {"city": "M\u00fcnchen"}
    assert list(design.allocation.shares) == ["M\u00fcnchen"]
