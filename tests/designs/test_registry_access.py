"""Who may do what: role by action, nobody their own design, high-impact rules."""

import pytest

from designs.registry import Policy
from designs.registry.access import Action, Actor, Role, Subject, authorize, permissions
from designs.registry.policy import planned_spend
from measure.errors import AccessError, InputError, UnknownName
from tests.designs.registry_books import KEY, PEOPLE, REQUIRED, opened, register, running
from tests.designs.specs import experiment, written

# Columns: analyst, finance, modeler, admin. Source: the roles of the design (analyst runs tests
# and sees cohorts; finance reads approved reports, no person rows; modeler no raw ids; admin keys).
MATRIX = {
    "read": "yyyy",
    "register": "y---",
    "submit": "y---",
    "approve": "yy--",
    "reject": "yy--",
    "start": "y---",
    "stop": "yy-y",
    "conclude": "y---",
    "archive": "y--y",
    "analyze": "y-y-",
    "reconcile": "yy--",
    "report": "yyy-",
    "assign": "y---",
    "read_persons": "y---",
    "export_audience": "y---",
    "erase_person": "---y",
    "verify_audit": "-y-y",
}


def test_the_table_names_every_action_and_role():
    assert set(permissions()) == set(Action) == set(MATRIX)
    assert frozenset().union(*permissions().values()) == set(Role)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize(("column", "role"), list(enumerate(Role)))
def test_each_cell_of_the_matrix(action, column, role):
    subject = Subject(KEY, frozenset({"somebody else"}))
    if MATRIX[action][column] == "y":
        authorize(Actor("x", role), action, subject)
        return
    with pytest.raises(AccessError, match=rf"x \({role}\) may not {action[:4]}"):
        authorize(Actor("x", role), action, subject)


@pytest.mark.parametrize("action", list(Action))
def test_a_stranger_may_nothing_and_learns_the_way_in(action):
    with pytest.raises(AccessError, match=r"not among the people .* --as NAME"):
        authorize(Actor("eve", None), action, Subject(KEY))


@pytest.mark.parametrize("role", [*Role, None])
def test_nobody_approves_their_own_design_whatever_their_role(role):
    for trusted in (False, True):
        with pytest.raises(AccessError, match="nobody approves their own design"):
            authorize(Actor("ana", role, trusted), Action.APPROVE, Subject(KEY, frozenset({"ana"})))


def test_an_author_of_any_version_since_the_last_approval_is_no_approver(registry_url):
    with opened(registry_url, REQUIRED) as registry:
        register(registry, by="ben")
        register(registry, written() + "# clearer\n", by="ana")
        registry.submit(KEY, by="ana")
        for author in ("ana", "ben"):
            with pytest.raises(AccessError, match="nobody approves their own design"):
                registry.approve(KEY, by=author)
        registry.approve(KEY, by="fin")
        register(registry, written() + "# clearest\n", by="ana")
        registry.submit(KEY, by="ana")
        assert registry.approve(KEY, by="ben").state == "approved"  # version 1 is long approved


ANA = ["Ana", "ANA", " ana ", "\uff21na", "a\u200bna", "an\u034fa", "\u1d43na", "a na"]


@pytest.mark.parametrize("name", ANA)
def test_another_spelling_of_a_name_is_the_same_person(registry_url, name):
    with opened(registry_url) as registry:  # no people are named: any name may be given
        register(registry, by="ana")
        registry.submit(KEY, by="ana")
        with pytest.raises(AccessError, match="nobody approves their own design"):
            registry.approve(KEY, by=name)
        assert registry.approve(KEY, by="anna").state == "approved"


@pytest.mark.parametrize("name", ANA[:2] + ANA[3:4])
def test_two_spellings_of_one_name_are_refused_in_the_settings(name):
    with pytest.raises(InputError, match="read as one name"):
        Policy.of("required", {"ana": "analyst", name: "finance"})


@pytest.mark.parametrize(
    ("writes", "approves"),
    [
        (("ben", "ana"), ("ana", "")),  # (name, account): wrote as ben, approves as herself
        (("ana", ""), ("ben", "ana")),  # wrote as herself, approves as ben
        (("ana", ""), ("fin", "ana")),  # … and in another role
    ],
)
def test_nobody_approves_their_own_design_under_another_name(registry_url, writes, approves):
    with opened(registry_url, REQUIRED, account=writes[1]) as registry:
        register(registry, by=writes[0])
        registry.submit(KEY, by=writes[0])
    with (
        opened(registry_url, REQUIRED, account=approves[1]) as registry,
        pytest.raises(AccessError, match=r"^ana wrote what is to be approved"),
    ):
        registry.approve(KEY, by=approves[0])


def test_an_account_that_many_share_says_nothing_of_who_wrote(registry_url):
    with opened(registry_url, REQUIRED, account="root") as registry:
        register(registry, by="ana")
        registry.submit(KEY, by="ana")
        assert registry.approve(KEY, by="fin").state == "approved"


def test_who_may_not_is_told_nothing_of_what_there_is(registry_url):
    with opened(registry_url, REQUIRED) as registry:
        register(registry)
        for key in (KEY, "spring-newsletters", "no-such"):
            with pytest.raises(AccessError, match="not among the people"):
                registry.permit(Action.READ, key, by="eve")
        with pytest.raises(UnknownName, match="Did you mean"):
            registry.permit(Action.READ, "spring-newsletters", by="mo")
        registry.permit(Action.READ, by="mo")
        with pytest.raises(AccessError, match=r"mo \(modeler\) may not export audience; those"):
            registry.permit(Action.EXPORT_AUDIENCE, by="mo")
        refused = [(e.who, e.key) for e in registry.events() if e.what == "refuse"]
        assert refused == [
            *(("eve", k) for k in (KEY, "spring-newsletters", "no-such")),
            ("mo", ""),
        ]


def test_reading_waits_for_no_writer(sqlite_url):
    with opened(sqlite_url, REQUIRED) as registry:
        register(registry)
        with registry._database.writing(), opened(sqlite_url, REQUIRED) as other:
            other.permit(Action.READ_PERSONS, KEY, by="ana")  # would wait 30 seconds for the lock


def test_a_refusal_changes_nothing_and_is_audited(registry_url):
    with opened(registry_url, REQUIRED) as registry:
        register(registry)
        for by, step in (("fin", registry.submit), ("mo", registry.start), ("eve", registry.stop)):
            with pytest.raises(AccessError):
                step(KEY, by=by)
        with pytest.raises(AccessError):
            registry.permit(Action.EXPORT_AUDIENCE, KEY, by="mo")
        with pytest.raises(AccessError):
            registry.permit(Action.READ_PERSONS, KEY, by="fin")
        with pytest.raises(AccessError):
            register(registry, written("new-one"), by="mo")
        assert registry.get(KEY).state == "draft"
        assert [e.key for e in registry.entries()] == [KEY]
        refused = [e for e in registry.events() if e.what == "refuse"]
        assert [(e.who, e.role, e.detail["action"]) for e in refused] == [
            ("fin", "finance", "submit"),
            ("mo", "modeler", "start"),
            ("eve", "", "stop"),
            ("mo", "modeler", "export_audience"),
            ("fin", "finance", "read_persons"),
            ("mo", "modeler", "register"),
        ]
        assert "may not submit" in refused[0].detail["because"]
        assert registry.verify_audit(by="fin").intact


def test_the_account_behind_a_name_is_kept(sqlite_url):
    with opened(sqlite_url, REQUIRED, account="root") as registry:
        register(registry, by="ana")
        assert registry.events()[0].account == "root"
    with opened(sqlite_url, REQUIRED, account="ana") as registry:
        register(registry, written() + "# x", by="ana")
        assert registry.events()[1].account == ""


VIP = {"name": "VIP", "role": "finance", "population": {"segment": "VIP"}}
SPEND = {"name": "budget", "role": "finance", "spend_above": 1000}
SMALL = {"name": "holdout", "role": "modeler", "control_below": 0.15}


@pytest.mark.parametrize(
    ("rule", "more", "units", "because"),
    [
        (VIP, "", None, "the population touches segment VIP"),
        (VIP, "population: {where: {segment: VIP}}", None, "the population touches segment VIP"),
        (VIP, "population: {where: {segment: new}}", None, None),
        (VIP, "population: {where: {country: DE}}", None, "the population touches segment VIP"),
        (SPEND, "", 10, "planned spend is not known"),
        (SPEND, "cost: {per_unit: 2, margin: 0.5, currency: EUR}", None, "is not known"),
        (SPEND, "cost: {per_unit: 2, margin: 0.5, currency: EUR}", 500, None),
        (SPEND, "cost: {per_unit: 2, margin: 0.5, currency: EUR}", 501, "spend 1,002.00 > 1,000"),
        (SPEND, "cost: {per_unit: 0, margin: 0.5, currency: EUR, fixed: 9}", None, None),
        (SMALL, "", None, "control share 0.1 < 0.15"),
        ({**SMALL, "control_below": 0.1}, "", None, None),
        (
            {**SMALL, "control_below": 0.1},
            "allocation: {attribute: country, shares: {DE: {newsletter: 0.99, control: 0.01}}}",
            None,
            "control share 0.01 < 0.1",
        ),
    ],
)
def test_a_high_impact_rule_says_when_and_why(rule, more, units, because):
    policy = Policy.of("required", PEOPLE, [rule])
    found = policy.demands(experiment(more=more), units)
    assert len(found) == (because is not None)
    if because:
        assert because in str(found[0])
        assert str(found[0]).startswith(f"{rule['role']} ({rule['name']}: ")


def test_planned_spend_is_fixed_plus_units():
    cost = "cost: {per_unit: 0.5, margin: 0.5, currency: EUR, fixed: 100}"
    assert planned_spend(experiment(more=cost), 1000) == 600


def test_a_rule_demands_its_role_with_a_reason(registry_url):
    policy = Policy.of("required", PEOPLE, [VIP])
    with opened(registry_url, policy) as registry:
        register(registry)
        registry.submit(KEY, by="ana")
        assert registry.events()[-1].detail["needs"] == [
            "finance (VIP: the population touches segment VIP)"
        ]
        assert registry.approve(KEY, by="ben").state == "in review"
        assert registry.outstanding(KEY) == ("finance (VIP: the population touches segment VIP)",)
        with pytest.raises(InputError, match=r"sign-off of finance \(VIP.*--reason TEXT"):
            registry.approve(KEY, by="fin")
        entry = registry.approve(KEY, by="fin", reason="capped at 500 people")
        assert entry.state == "approved"
        assert registry.events()[-1].detail["signs_off"] == ["VIP"]


def test_a_wider_rollout_of_a_running_test_is_signed_off_anew(registry_url):
    policy = Policy.of("required", PEOPLE, [VIP])
    with opened(registry_url, policy) as registry:
        running(registry, written(more="rollout: 0.1"))
        register(registry, written(more="rollout: 1.0"))
        assert registry.approve(KEY, by="ben", reason="ok").version == 1
        assert registry.approve(KEY, by="fin", reason="ok").version == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"approvals": "maybe"}, 'must be "none" or "required"'),
        ({"approvals": "required"}, "at least two names"),
        ({"people": {"a\nb": "analyst"}}, "printable characters on one line"),
        ({"people": {"ana": "boss"}}, "role 'boss' not found"),
        ({"approval_rules": [VIP]}, "have no effect while approvals"),
        ({"approvals": "required", "approval_rules": [{"name": "x", "role": "finance"}]}, "one of"),
        ({"approvals": "required", "approval_rules": [{**VIP, "rol": 1}]}, "'rol' not found"),
        ({"approvals": "required", "approval_rules": [{**SPEND, "spend_above": 0}]}, "> 0"),
        ({"approvals": "required", "approval_rules": [{**SMALL, "control_below": 5}]}, "5 %"),
        ({"approvals": "required", "approval_rules": [{"role": "admin"}]}, "name is required"),
    ],
)
def test_settings_of_the_policy_are_checked(settings, message):
    people = PEOPLE if "approval_rules" in settings and len(settings) > 1 else None
    with pytest.raises((InputError, UnknownName), match=message):
        Policy.of(**{"people": people, **settings})
