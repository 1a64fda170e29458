"""A graph says what it means, or is refused in one line; identification follows from it."""

import pytest

from measure.errors import InputError
from measure.incrementality.observational.graph import read_graph
from measure.incrementality.observational.identify import identify
from tests.measure.incrementality.observational.worlds import plan_of

USUAL = ("a, b, c -> treatment, y", "treatment -> y")


def graph_of(**changes):
    plan = plan_of(**changes)
    return read_graph(plan, plan.observational)


def refusal(**changes) -> str:
    with pytest.raises(InputError) as caught:
        identify(graph_of(**changes), "y")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_edges_every_covariate_is_a_confounder():
    assert set(graph_of().edges) == set(graph_of(observational={"graph": USUAL}).edges)
    assert identify(graph_of(), "y").adjustment == ("a", "b", "c")


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (("a, b, c > treatment, y",), "must read cause -> effect"),
        (("a, -> y",), "must read cause -> effect"),
        ((*USUAL, "ab -> y"), "'ab' not found"),
        ((*USUAL, "y -> a"), "runs in a circle"),
        (("a, b, c -> treatment, y",), "is not reached from 'treatment'"),
        (("a, b -> treatment, y", "treatment -> y"), "'c', has no edge"),
        ((*USUAL, "treatment -> c"), "runs in a circle"),
        (("a, b -> treatment, y", "treatment -> c -> y"), "'c', comes after 'treatment'"),
    ],
)
def test_a_graph_that_contradicts_itself_is_refused(graph, said):
    assert said in refusal(observational={"graph": graph})


def test_what_is_measured_after_treatment_is_refused_by_name():
    assert "'b', is measured after treatment" in refusal(observational={"measured_after": ("b",)})
    assert "cohort == 'segment'" in refusal(
        cohorts=("segment",), observational={"measured_after": ("segment",)}
    )


def test_an_unmeasured_cause_of_both_leaves_no_adjustment_and_is_named():
    graph = (*USUAL, "u -> treatment, y")
    message = refusal(observational={"graph": graph, "unmeasured": ("u",)})
    assert "no set of measured covariates" in message
    assert "Measure u" in message


def test_the_front_door_is_recognised():
    # Pearl 1995: smoking -> tar -> cancer with an unmeasured cause of smoking and cancer.
    graph = ("u -> treatment, y", "treatment -> tar -> y")
    message = refusal(covariates=(), observational={"graph": graph, "unmeasured": ("u", "tar")})
    assert "front door" not in message  # tar is not measured


def test_a_collider_is_left_out_of_the_adjustment():
    # M-bias (Greenland, Pearl and Robins 1999): c is caused by two unmeasured causes.
    graph = ("a, b -> treatment, y", "v -> c, treatment", "w -> c, y", "treatment -> y")
    drawn = graph_of(observational={"graph": graph, "unmeasured": ("v", "w")})
    found = identify(drawn, "y")
    assert found.adjustment == ("a", "b")
    assert drawn.colliders(found.adjustment) == ("c",)


def test_what_moves_only_the_treatment_is_left_out():
    graph = ("a, b, c -> treatment", "a, b -> y", "treatment -> y")
    assert identify(graph_of(observational={"graph": graph}), "y").adjustment == ("a", "b")


def test_an_instrument_may_need_covariates():
    # Brito and Pearl 2002: c is an instrument only once a is held equal.
    graph = ("a -> c, y", "c -> treatment", "u, b -> treatment, y", "treatment -> y")
    declared = {"graph": graph, "unmeasured": ("u",), "instruments": ("c",)}
    found = identify(graph_of(observational=declared), "y")
    assert found.adjustment is None
    assert found.instruments == ("c",)
    assert found.given == ("a", "b")
    assert "reaches y through treatment only" in " ".join(found.assumptions)


def test_an_instrument_with_another_way_to_the_outcome_is_refused():
    graph = (*USUAL, "u -> treatment, y")
    declared = {"graph": graph, "unmeasured": ("u",), "instruments": ("c",)}
    assert "must move 'treatment' and reach 'y' through it only" in refusal(observational=declared)
    assert "must be one of the covariates" in refusal(observational={"instruments": ("zip",)})


def test_every_word_of_the_estimand_comes_sorted():
    one = identify(graph_of(), "y")
    assert one.estimand == (
        "the mean of E[y | treatment = 1, a, b, c] − E[y | treatment = 0, a, b, c] over {a, b, c}"
    )
