"""States, reviews, running changes and phases: cell by cell and field by field."""

import pytest

from designs.assignment.declared import (
    Allocation,
    Balance,
    Cluster,
    StandingHoldout,
    Switchback,
)
from designs.experiment import Experiment
from designs.registry import Policy
from designs.registry.amendments import RULES, changes, require_valid
from designs.registry.lifecycle import State, Step, allows
from designs.specification import parse_specification
from measure.errors import InputError, LifecycleError
from measure.plan import Source
from tests.designs.registry_books import KEY, PEOPLE, REQUIRED, opened, register, running
from tests.designs.specs import HILLSTROM, written

# Rows: steps; columns: draft, in review, approved, running, stopped, concluded, archived.
TABLE = {
    "register": "yyyy---",
    "submit": "y------",
    "approve": "-y-----",
    "reject": "-yy----",
    "start": "--y----",
    "stop": "---y---",
    "conclude": "---yy--",
    "archive": "yyy-yy-",
}


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize(("column", "state"), list(enumerate(State)))
def test_each_state_allows_exactly_its_steps(step, column, state):
    expected = TABLE[step][column] == "y"
    assert allows(step, state, approvals=True) is expected
    without = expected or (step is Step.START and column < 3)
    assert allows(step, state, approvals=False) is without
    proposed = expected or (step in {"approve", "reject"} and state == "running")
    assert allows(step, state, approvals=True, proposed=proposed) is (proposed or expected)


@pytest.fixture
def reviewed(registry_url):
    with opened(registry_url, REQUIRED) as registry:
        yield registry


def test_the_whole_way_with_review(reviewed):
    register(reviewed)
    assert reviewed.submit(KEY, by="ana").state == "in review"
    approved = reviewed.approve(KEY, by="fin")
    assert (approved.state, approved.approved_version, approved.reviewed) == ("approved", 1, True)
    assert reviewed.start(KEY, by="ana").state == "running"
    stopped = reviewed.stop(KEY, by="fin", reason="out of budget")
    assert (stopped.state, stopped.stopped_at is None) == ("stopped", False)
    assert reviewed.require_assignable(KEY).state == "stopped"  # whose arms are still looked up
    with pytest.raises(LifecycleError, match="is stopped; nobody is assigned any more"):
        reviewed.require_assignable(KEY, everybody=True)
    assert reviewed.conclude(KEY, {"a": 1}, by="ana").state == "concluded"
    archived = reviewed.archive(KEY, by="ada")
    assert (archived.state, archived.concluded_at is None) == ("archived", False)
    assert reviewed.result(KEY) == {"a": 1}
    whats = [event.what for event in reviewed.events(KEY)]
    assert whats == ["register", "submit", "approve", "start", "stop", "conclude", "archive"]
    assert reviewed.verify_audit(by="fin").intact


def test_with_approvals_required_nothing_starts_or_is_assigned_unapproved(reviewed):
    register(reviewed)
    for way_out in ("truelift submit", "Have it approved"):
        with pytest.raises(LifecycleError, match=way_out):
            reviewed.start(KEY, by="ana")
        with pytest.raises(LifecycleError, match="an unapproved design cannot be assigned"):
            reviewed.require_assignable(KEY)
        if way_out == "truelift submit":
            reviewed.submit(KEY, by="ana")
    reviewed.approve(KEY, by="fin")
    assert reviewed.require_assignable(KEY).state == "approved"


def test_without_approvals_one_person_starts_and_the_record_says_unreviewed(registry_url):
    with opened(registry_url) as registry:
        register(registry)
        entry = registry.start(KEY, by="ana")
        assert (entry.reviewed, entry.approved_version) == (False, None)
        assert registry.events()[-1].detail["reviewed"] is False


def test_a_rejected_design_is_a_draft_again_and_old_approvals_do_not_count(registry_url):
    policy = Policy.of("required", PEOPLE, [{"name": "all", "role": "finance", "spend_above": 1}])
    with opened(registry_url, policy) as registry:
        register(registry)
        registry.submit(KEY, by="ana")
        registry.approve(KEY, by="ben", reason="sound")
        with pytest.raises(InputError, match="needs a reason"):
            registry.reject(KEY, by="fin", reason=" ")
        assert registry.reject(KEY, by="fin", reason="too dear").state == "draft"
        assert registry.events()[-1].detail == {"reason": "too dear", "version": 1}
        registry.submit(KEY, by="ana")
        assert len(registry.outstanding(KEY)) == 2
        assert registry.approve(KEY, by="ben", reason="still sound").state == "in review"
        assert registry.approve(KEY, by="fin", reason="cheap enough").state == "approved"


def test_a_change_after_approval_needs_approval_again(reviewed):
    register(reviewed)
    reviewed.submit(KEY, by="ana")
    reviewed.approve(KEY, by="fin")
    changed = register(reviewed, written().replace("28", "14"), by="ben")
    assert (changed.state, changed.version, changed.approved_version) == ("draft", 2, 1)
    assert reviewed.events()[-1].detail["changed"] == ["plan.window_days: 28 → 14"]


def test_a_running_experiment_takes_what_keeps_it_valid(registry_url):
    with opened(registry_url) as registry:
        first = written(more="rollout: 0.1")
        register(registry, first)
        frozen = registry.start(KEY, by="ana").plan_hash
        for version, (old, new) in enumerate(
            [("rollout: 0.1", "rollout: 0.5"), ("campaigns:", "title: Letters\ncampaigns:")], 2
        ):
            first = first.replace(old, new)
            entry = register(registry, first)
            assert (entry.state, entry.version, entry.plan_hash) == ("running", version, frozen)
        assert entry.experiment.rollout == 0.5
        assert registry.is_planned(KEY, entry.experiment.analysis_plan())
        assert [str(c) for c in registry.changes(KEY, 1, 2)] == ["rollout: 0.1 → 0.5"]


def test_where_approvals_are_required_a_running_change_waits_for_one(reviewed):
    running(reviewed, written(more="rollout: 0.1"))
    proposed = register(reviewed, written(more="rollout: 0.5"))
    assert (proposed.version, proposed.proposed_version) == (1, 2)
    assert proposed.experiment.rollout == 0.1
    assert reviewed.approve(KEY, by="fin").experiment.rollout == 0.5
    register(reviewed, written(more="rollout: 0.9"))
    entry = reviewed.reject(KEY, by="fin", reason="slowly")
    assert (entry.state, entry.version, entry.latest_version) == ("running", 2, 3)
    assert entry.proposed_version is None
    assert register(reviewed, written(more="rollout: 0.8")).proposed_version == 4
    assert reviewed.stop(KEY, by="ana").proposed_version is None


def test_what_was_read_is_what_is_approved(reviewed):
    register(reviewed)
    reviewed.submit(KEY, by="ana")
    read = reviewed.get(KEY).version  # fin reads version 1; meanwhile …
    register(reviewed, written().replace("28", "90"))
    reviewed.submit(KEY, by="ana")
    with pytest.raises(LifecycleError) as caught:
        reviewed.approve(KEY, by="fin", expected_version=read)
    message = str(caught.value)
    assert f"'{KEY}': version 2 by ana is under review, not 1; read it first." in message
    assert "-plan: {window_days: 28" in message
    assert "+plan: {window_days: 90" in message
    assert reviewed.approve(KEY, by="fin", expected_version=2).approved_version == 2


def test_an_outdated_proposal_cannot_undo_what_is_in_force(registry_url):
    """Approvals may be switched off and on again while a proposal waits."""
    with opened(registry_url, REQUIRED) as registry:
        running(registry, written(more="rollout: 0.1"))
        register(registry, written(more="rollout: 0.5"))
    with opened(registry_url) as registry:
        entry = register(registry, written(more="rollout: 0.9"))
        assert (entry.version, entry.proposed_version) == (3, None)
    with opened(registry_url, REQUIRED) as registry:
        with pytest.raises(LifecycleError, match="is running"):
            registry.approve(KEY, by="fin")
        assert registry.get(KEY).experiment.rollout == 0.9


BASE = written(
    more="rollout: 0.5\nlayer: {name: mail, slot: [0.0, 0.5]}\n"
    "cost: {per_unit: 1, margin: 0.5, currency: EUR}"
)
OTHER = {  # field: (what is replaced, by what); values a specification may hold
    "key": (KEY, "another-key"),
    "title": ("campaigns:", "title: Spring letters\ncampaigns:"),
    "hypothesis": ("orders that", "repeat orders that"),
    "arms": ("{newsletter: 0.9, control: 0.1}", "{newsletter: 0.8, control: 0.2}"),
    "control": ("control: control", "control: newsletter"),
    "metrics": ("unit: EUR", "unit: USD"),
    "covariates": ("[prior_orders]", "[prior_revenue]"),
    "cohorts": ("[country]", "[country, device]"),
    "exposure": ("campaigns:", "exposure: exposed\ncampaigns:"),
    "plan": ("window_days: 28", "window_days: 14"),
    "cost": ("per_unit: 1", "per_unit: 2"),
    "decision": ("campaigns:", 'decision: {scale_if: "P(roi > 1) >= 0.8"}\ncampaigns:'),
    "campaigns": ("[spring]", "[spring, summer]"),
    "channels": ("campaigns:", "channels: [email]\ncampaigns:"),
    "population": ("campaigns:", "population: {where: {segment: VIP}}\ncampaigns:"),
    "consent": ("campaigns:", "consent: {purpose: marketing, channel: email}\ncampaigns:"),
    "holdout": ("campaigns:", "holdout: {share: 0.1}\ncampaigns:"),
    "layer": ("[0.0, 0.5]", "[0.0, 0.6]"),
    "rollout": ("rollout: 0.5", "rollout: 0.4"),
    "schedule": ("2026-03-29", "2026-03-28"),
    "salt": ("campaigns:", "salt: other\ncampaigns:"),
}
HALVES = {"newsletter": 0.5, "control": 0.5}
VALUES = {  # fields that do not go together with the sample's: given as values
    "unit": "household",
    "source": Source(path="units.csv", arm="arm"),
    "holdouts": (StandingHoldout(name="mail", share=0.1),),
    "allocation": Allocation(attribute="country", shares={"DE": HALVES}),
    "cluster": Cluster(attribute="account"),
    "balance": Balance(attributes=("age",)),
    "switchback": Switchback(units=("berlin", "bremen"), block_hours=6),
    "factors": {"subject": {"short": 0.5, "long": 0.5}},
}


def parse(text):
    return parse_specification(text, "x").experiment


def test_every_field_of_an_experiment_has_its_rule():
    assert set(RULES) == set(Experiment.model_fields)
    assert set(OTHER) | set(VALUES) == set(RULES)  # and each is tried below


WORDING = {"title"}


@pytest.mark.parametrize("field", sorted(WORDING))
def test_wording_may_change_while_running(field):
    old, new = parse(BASE), parse(BASE.replace(*OTHER[field]))
    assert getattr(old, field) != getattr(new, field)
    require_valid(old, new)  # raises where a change is refused


@pytest.mark.parametrize("field", sorted(set(OTHER) - WORDING))
def test_each_field_that_matters_is_refused_while_running(field):
    old, new = parse(BASE), parse(BASE.replace(*OTHER[field]))
    assert getattr(old, field) != getattr(new, field)
    with pytest.raises(LifecycleError, match=rf"is running; {field}.*(new phase|new, shorter)"):
        require_valid(old, new)


@pytest.mark.parametrize("field", sorted(VALUES))
def test_a_field_added_while_running_is_refused(field):
    old = parse(BASE)
    with pytest.raises(LifecycleError, match=f"is running; {field}.* decides who is in which arm"):
        require_valid(old, old.model_copy(update={field: VALUES[field]}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("campaigns:", "title: Spring letters\ncampaigns:"),
        ("rollout: 0.5", "rollout: 0.51"),
        ("2026-03-29T00:00:00+01:00", "2026-03-30"),
        (", end: 2026-03-29T00:00:00+01:00", ""),
    ],
)
def test_each_change_that_keeps_validity_passes_and_leaves_the_plan(old, new):
    before, after = parse(BASE), parse(BASE.replace(old, new))
    assert len(changes(before, after)) == 1
    require_valid(before, after)
    assert before.analysis_plan().content_hash() == after.analysis_plan().content_hash()


@pytest.mark.parametrize(
    ("old", "new"), [("start: 2026-03-01", "start: 2026-02-01"), ("schedule:", "#")]
)
def test_the_start_of_a_schedule_stays(old, new):
    with pytest.raises(LifecycleError, match="schedule may only end later"):
        require_valid(parse(BASE), parse(BASE.replace(old, new)))


def test_a_source_of_its_own_stays_what_it_was():
    text = HILLSTROM.read_text(encoding="utf-8")
    with pytest.raises(LifecycleError, match=r"source\.path: .* → other\.csv"):
        require_valid(parse(text), parse(text.replace("../../shared/data/hillstrom", "other")))


def test_a_new_phase_has_a_key_a_salt_and_a_plan_of_its_own(registry_url):
    with opened(registry_url) as registry:
        register(registry)
        first = registry.start(KEY, by="ana")
        second = written(f"{KEY}-phase-2").replace("0.9, control: 0.1", "0.8, control: 0.2")
        entry = register(registry, second)
        assert (entry.phase, entry.experiment.salt) == (2, f"{KEY}-phase-2")
        with pytest.raises(LifecycleError, match=f"truelift stop {KEY}"):
            registry.start(entry.key, by="ana")
        registry.stop(KEY, by="ana")
        started = registry.start(entry.key, by="ana")
        assert started.plan_hash != first.plan_hash
        # Each phase is planned by its own plan only; the other's is exploratory for it.
        one, two = first.experiment.analysis_plan(), started.experiment.analysis_plan()
        assert [registry.is_planned(KEY, p) for p in (one, two)] == [True, False]
        assert [registry.is_planned(entry.key, p) for p in (one, two)] == [False, True]
        assert registry.get(KEY).phase == 1


def test_phases_come_in_order_and_never_share_a_salt(registry_url):
    with opened(registry_url) as registry:
        for key in ("lonely-phase-2", f"{KEY}-phase-2", f"{KEY}-phase-1"):
            if key != "lonely-phase-2" and not registry.entries():
                register(registry)
            with pytest.raises(LifecycleError, match="was never started"):
                register(registry, written(key))
        registry.start(KEY, by="ana")
        with pytest.raises(LifecycleError, match=f"{KEY}-phase-2' was never started"):
            register(registry, written(f"{KEY}-phase-3"))
        with pytest.raises(LifecycleError, match="is that of an earlier phase"):
            register(registry, written(f"{KEY}-phase-2", more=f"salt: {KEY}"))
