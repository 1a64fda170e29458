import math

from console.concluded import _lifts


def estimate(**changed):
    base = {
        "metric": "spend", "arm": "mail", "cohort": None, "status": "ok", "p_value": 0.04,
        "relative": 0.1, "relative_ci_low": 0.002, "relative_ci_high": 0.198, "ci_level": 0.95,
    }  # fmt: skip
    return base | changed


def test_lifts_come_from_the_first_usable_estimate_for_everybody():
    # Closed form: an interval of ± .098 at 95 % has the standard error .098 / 1.96.
    document = {
        "estimates": [
            estimate(cohort={"dimension": "region", "value": "a"}, relative=9.0),
            estimate(status="insufficient", relative=None),
            estimate(),
            estimate(relative=0.5),
            estimate(arm="call", p_value=None),
            estimate(metric="visits", relative_ci_low=None),
        ]
    }
    ((metric, effect),) = _lifts(document)
    assert metric == "spend"
    assert effect.lift == 0.1
    assert math.isclose(effect.se, 0.098 / 1.959963984540054)


def test_an_empty_record_teaches_nothing():
    assert _lifts({}) == []
