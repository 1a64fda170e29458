"""A specification is read whole, or refused in one line that says what to mend."""

import os
from datetime import UTC, datetime

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from designs.experiment import Experiment
from designs.specification import load_experiment, parse_specification, read_specification
from measure.errors import InputError, MissingFile, SpecError
from measure.plan import AnalysisPlan, Metric
from tests.data import data_file
from tests.designs.faults import BROKEN
from tests.designs.specs import HILLSTROM, experiment, written

TEXT = HILLSTROM.read_text(encoding="utf-8")
LINES = {line.split(":")[0].strip(): i for i, line in enumerate(TEXT.splitlines(), start=1)}


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_specification(text, "spec.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def outcome(text: str) -> str:
    """Return the message, or the key of what was read; any other exception is a bug."""
    try:
        return parse_specification(text, "spec.yaml").experiment.key
    except InputError as error:
        return str(error)


def test_the_example_says_what_it_means():
    hillstrom = load_experiment(HILLSTROM)
    assert hillstrom.arms == {"No E-Mail": 0.333, "Womens E-Mail": 0.334, "Mens E-Mail": 0.333}
    plan = hillstrom.analysis_plan()
    assert plan.primary.name == "spend"
    assert plan.treatments == ("Womens E-Mail", "Mens E-Mail")
    assert plan.metrics[2] == Metric(
        name="visit", kind="proportion", role="guardrail", harm_below=-0.002
    )
    assert plan.estimators == ("difference", "cuped", "hierarchical_bayes", "double_ml")
    assert hillstrom.cost is not None
    assert (hillstrom.cost.per_unit, hillstrom.cost.margin) == (0.05, 0.35)
    assert hillstrom.salt == "womens-email-2008"


def test_the_example_points_at_its_data():
    source = load_experiment(HILLSTROM).source
    assert source is not None
    assert source.path is not None
    assert source.path == "../../shared/data/hillstrom.csv"
    assert data_file("hillstrom.csv").name == "hillstrom.csv"


def test_options_left_out_are_those_of_the_analysis_plan():
    brief = parse_specification(
        "{key: a, hypothesis: b, source: {table: t, arm: arm}, arms: {x: 0.5, y: 0.5}, control: x,"
        " metrics: [{name: m}]}",
        "spec.yaml",
    ).experiment
    expected = AnalysisPlan(arms={"x": 0.5, "y": 0.5}, control="x", metrics=(Metric(name="m"),))
    assert brief.analysis_plan() == expected


def test_values_stay_the_text_they_are():
    found = experiment(more="population: {where: {zip: 007, code: 1e5, id: 1_000, on: yes}}")
    assert found.population.where == {"zip": "007", "code": "1e5", "id": "1_000", "on": "yes"}
    named = written().replace("newsletter: 0.9, control: 0.1", "Yes: 0.9, No: 0.1")
    arms = parse_specification(
        named.replace("control: control", "control: No"), "x"
    ).experiment.arms
    assert arms == {"Yes": 0.9, "No": 0.1}


def test_dates_are_midnight_in_utc_and_times_keep_their_offset():
    schedule = experiment().schedule
    assert schedule is not None
    assert schedule.start == datetime(2026, 3, 1, tzinfo=UTC)
    assert schedule.end == datetime(2026, 3, 28, 23, tzinfo=UTC)


def test_content_hash_ignores_layout_and_order_but_no_value():
    spaced = "# a comment\n" + TEXT.replace(", arm: segment", ",   arm:   segment")
    first, second = (parse_specification(text, "x") for text in (TEXT, spaced))
    assert first.text_hash != second.text_hash
    assert first.experiment.content_hash() == second.experiment.content_hash()
    changed = parse_specification(TEXT.replace("margin: 0.35", "margin: 0.36"), "x").experiment
    assert changed.content_hash() != first.experiment.content_hash()
    assert changed.analysis_plan().content_hash() == first.experiment.analysis_plan().content_hash()


def test_an_experiment_survives_json():
    hillstrom = load_experiment(HILLSTROM)
    assert Experiment.model_validate_json(hillstrom.model_dump_json()) == hillstrom


def test_a_byte_order_mark_and_windows_lines_change_nothing():
    odd = "\ufeff" + TEXT.replace("\n", "\r\n")
    assert parse_specification(odd, "x").experiment == load_experiment(HILLSTROM)


@pytest.mark.parametrize(("old", "new", "field", "words"), BROKEN)
def test_a_fault_is_named_with_line_field_rule_and_way_out(old, new, field, words):
    broken = TEXT.replace(old, new, 1)
    assert broken != TEXT
    message = refusal(broken)
    assert words in message
    line = int(message.removeprefix("spec.yaml, line ").split(":")[0])
    assert abs(line - LINES[field]) <= (2 if field == "- {name" else 0)


def test_required_fields_and_rules_between_fields():
    assert "key: is required. Add it." in refusal("hypothesis: x")
    no_window = written().replace("window_days: 28, ", "")
    assert "plan.window_days: is needed without source" in refusal(no_window)
    assert "'household' cannot be assigned" in refusal(written(more="unit: household"))
    no_cost = refusal(written(more='decision: {scale_if: "P(roi > 1) >= 0.8"}'))
    assert "the rule speaks of money, but cost is missing" in no_cost
    assert "purpose: 'marketng' is no purpose of consent. Did you mean 'marketing'?" in refusal(
        written(more="consent: {purpose: marketng, channel: email}")
    )
    assert "must be smaller" in refusal(written(more="layer: {name: email, slot: [0.5, 0.5]}"))
    assert "must say its time zone" in refusal(
        written().replace("29T00:00:00+01:00", "29T00:00:00")
    )
    assert "end must lie after start" in refusal(written().replace("2026-03-29T", "2026-02-28T"))
    assert "is not a date" in refusal(written().replace("2026-03-01", "2026-02-30"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("- a", "must be fields with values"),
        ("just text", "must be fields with values"),
        ("a: [1, 2", "line 1: YAML: cannot be read at column"),
        ("a: 1\n\tb: 2", "line 2: YAML: cannot be read at column 1"),
        ("a: 1\n---\nb: 2", "but found another document"),
        ("a\x00b: 1", "character U+0000 is not allowed"),
        ("[" * 100_000, "nested deeper than 20"),
        ("a: &a [*a]", "aliases multiply"),
        ("? [a]\n: 1", "a field's name must be plain text"),
        ("a: !!binary aGk=", "tag !!binary is not allowed"),
        ("a: *b", "found undefined alias"),
        ("a: [" + "1," * 30_000 + "]", "more than 20,000 values"),
    ],
)
def test_yaml_that_is_no_specification(text, words):
    assert words in refusal(text)


def test_multiplying_aliases_cost_nothing():
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 18)]
    assert "aliases multiply" in refusal("l0: &l0 [1]\n" + "\n".join(levels))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(MissingFile, match="no such file"):
        load_experiment(tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match="is not a file"):
        load_experiment(tmp_path)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * 1_000_001)
    with pytest.raises(SpecError, match="larger than 1,000,000 bytes"):
        load_experiment(large)
    for encoding in ("utf-16", "latin-1"):
        other = tmp_path / f"{encoding}.yaml"
        other.write_text(TEXT.replace("women's", "été"), encoding=encoding)
        with pytest.raises(SpecError, match="is not UTF-8"):
            load_experiment(other)


def test_a_pipe_is_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    with pytest.raises(SpecError, match="is not a file"):
        load_experiment(pipe)


def test_specification_keeps_its_text_and_origin():
    found = read_specification(HILLSTROM)
    assert found.text == TEXT
    assert found.origin == str(HILLSTROM)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(TEXT)), st.integers(0, 12), st.text(max_size=6))
def test_any_damage_is_refused_in_one_line_or_harmless(start, length, inserted):
    damaged = TEXT[:start] + inserted + TEXT[start + length :]
    assert "\n" not in outcome(damaged)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    st.sampled_from(sorted(Experiment.model_fields)),
)
def test_any_value_in_any_field_is_refused_in_one_line_or_harmless(value, field):
    document = yaml.safe_load(TEXT) | {field: value}
    assert "\n" not in outcome(yaml.safe_dump(document, allow_unicode=True))


VALUES = st.recursive(
    st.sampled_from(["maybe", "3", "true", "null", "false", "weak", "all", "1e400"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda parts: f"[{', '.join(parts)}]"),
        st.dictionaries(st.sampled_from(["method", "mean", "sd", "x"]), inner, max_size=2).map(
            lambda fields: "{" + ", ".join(f"{k}: {v}" for k, v in fields.items()) + "}"
        ),
    ),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(field=st.sampled_from(["sequential", "discovery", "bayes", "holdouts"]), value=VALUES)
def test_no_way_of_writing_a_field_shows_its_name_in_the_validator(field, value):
    """``plan.sequential.literal[False]`` is no field; nobody wrote that."""
    text = written().replace("window_days: 28", f"window_days: 28, {field}: {value}")
    if field == "holdouts":
        text = written(more=f"holdouts: [{{name: a, share: 0.1, channels: {value}}}]")
    said = outcome(text)
    for tag in ("literal[", "tuple[", "constrained", "function-", "Sequential", "PriorEffect"):
        assert tag not in said
