"""What the tests of the registry share: a key, a clock, people, and a way to register."""

from datetime import UTC, datetime, timedelta

from designs.registry import Policy, Registry
from designs.specification import parse_specification
from tests.designs.specs import written

SECRET = b"a key that only these tests know"
KEY = "spring-newsletter"
PEOPLE = {"ana": "analyst", "ben": "analyst", "fin": "finance", "mo": "modeler", "ada": "admin"}
REQUIRED = Policy.of("required", PEOPLE)


class Clock:
    """Time that passes a second at each look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def opened(url, policy=None, **options):
    return Registry(
        url, secret=SECRET, policy=policy, clock=options.pop("clock", Clock()), **options
    )


def register(registry, text=None, by="ana", **options):
    text = text or written()
    return registry.register(text, parse_specification(text, "x").experiment, by=by, **options)


def running(registry, text=None):
    """An experiment that went the whole way: ana designs, fin approves."""
    key = register(registry, text).key
    registry.submit(key, by="ana")
    registry.approve(key, by="fin", reason="fine")
    return registry.start(key, by="ana")
