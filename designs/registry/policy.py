"""What a workspace demands before an experiment runs: people, approvals, sign-offs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from designs.registry.access import Actor, Role, identity
from measure.errors import InputError, UnknownName

if TYPE_CHECKING:
    from designs.experiment import Experiment

APPROVALS = ("none", "required")
_CONDITIONS = ("population", "spend_above", "control_below")


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """A high-impact rule: when its condition holds, somebody of a role must sign off."""

    name: str
    role: Role
    population: Mapping[str, str] = field(default_factory=dict)
    """Holds when the population can contain units with all these attribute values."""
    spend_above: float | None = None
    """Holds when the planned spend is above this, or is not known. Major units of currency."""
    control_below: float | None = None
    """Holds when the control's share is below this (0.05 is 5 %), in any cohort."""

    def because(self, experiment: Experiment, planned_units: int | None) -> str | None:
        """Why the rule asks for a sign-off; ``None`` when it does not."""
        if self.control_below is not None:
            share = smallest_control(experiment)
            low = share < self.control_below
            return f"control share {share:.6g} < {self.control_below:.6g}" if low else None
        if self.spend_above is not None:
            return self._spending(experiment, planned_units)
        where = experiment.population.where
        if any(where.get(name, value) != value for name, value in self.population.items()):
            return None
        touched = ", ".join(f"{name} {value}" for name, value in self.population.items())
        return f"the population touches {touched}"

    def _spending(self, experiment: Experiment, planned_units: int | None) -> str | None:
        spend = planned_spend(experiment, planned_units)
        if spend is None:
            return f"planned spend is not known, and above {self.spend_above:,.6g} needs a sign-off"
        if self.spend_above is None or spend <= self.spend_above:
            return None
        return f"planned spend {spend:,.2f} > {self.spend_above:,.6g}"


@dataclass(frozen=True, slots=True)
class Demand:
    """A sign-off that a version needs: by which role, under which rule, and why."""

    rule: str
    role: Role
    because: str

    def __str__(self) -> str:
        return f"{self.role} ({self.rule}: {self.because})"


@dataclass(frozen=True, slots=True)
class Policy:
    """How strictly a workspace works; without any settings one person can do everything."""

    approvals: bool = False
    """Whether a design must be approved by somebody else before it starts."""
    people: Mapping[str, Role] = field(default_factory=dict)
    rules: tuple[ApprovalRule, ...] = ()

    @classmethod
    def of(
        cls,
        approvals: str = "none",
        people: Mapping[str, Any] | None = None,
        approval_rules: Sequence[Mapping[str, Any]] = (),
        where: str = "truelift.toml",
    ) -> Policy:
        """Read the settings; each name and value is checked, and ``where`` names the file."""
        if approvals not in APPROVALS:
            raise InputError.rule(f"{where}: approvals", approvals, 'must be "none" or "required"')
        named = {_person(name, where): _role(r, where) for name, r in (people or {}).items()}
        _require_apart(named, where)
        rules = tuple(_rule(entry, n, where) for n, entry in enumerate(approval_rules, 1))
        required = approvals == "required"
        if required and len(named) < 2:
            raise InputError(
                f'{where}: approvals = "required" needs at least two names under [people]: '
                "nobody approves their own design."
            )
        if rules and not required:
            raise InputError(
                f'{where}: [[approval_rules]] have no effect while approvals == "none". Write '
                'approvals = "required".'
            )
        return cls(required, named, rules)

    def actor(self, name: str, account: str = "") -> Actor:
        """Who a name is in this workspace, and whose account it acts from."""
        personal = account if self.is_person(account) else ""
        return Actor(name, self.people.get(name), trusted=not self.people, account=personal)

    def is_person(self, account: str) -> bool:
        """Whether an account is that of one of the people, and not one that many share."""
        return bool(account) and identity(account) in map(identity, self.people)

    def demands(self, experiment: Experiment, planned_units: int | None) -> tuple[Demand, ...]:
        """Sign-offs that an experiment needs beyond one approval by somebody else."""
        found = ((rule, rule.because(experiment, planned_units)) for rule in self.rules)
        return tuple(Demand(r.name, r.role, because) for r, because in found if because)

    @property
    def weighs_spend(self) -> bool:
        """Whether any rule asks how much money is planned."""
        return any(rule.spend_above is not None for rule in self.rules)


def smallest_control(experiment: Experiment) -> float:
    """Return the control's share where it is smallest: overall, or in a cohort with its own."""
    shares = [experiment.arms[experiment.control]]
    if experiment.allocation is not None:
        shares += [cohort[experiment.control] for cohort in experiment.allocation.shares.values()]
    return min(shares)


def planned_spend(experiment: Experiment, planned_units: int | None) -> float | None:
    """Return what treating all planned units costs; ``None`` when that is not known.

    ``planned_units`` counts units of the treated arms. Without ``cost`` nothing is known.
    """
    cost = experiment.cost
    if cost is None:
        return None
    if cost.per_unit == 0:
        return cost.fixed
    return None if planned_units is None else cost.fixed + cost.per_unit * planned_units


def _person(name: str, where: str) -> str:
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= 200:
        rule = "must be 1 to 200 printable characters on one line, without blanks around"
        raise InputError.rule(f"{where}: [people]", name, rule)
    return name


def _require_apart(people: Mapping[str, Role], where: str) -> None:
    """Refuse two spellings of one name: the second would approve what the first wrote."""
    known: dict[str, str] = {}
    for name in people:
        other = known.setdefault(identity(name), name)
        if other != name:
            raise InputError(
                f"{where}: [people]: {other!r} and {name!r} read as one name. Keep one, or write "
                "the names in full."
            )


def _role(value: Any, where: str) -> Role:
    if not isinstance(value, str) or value not in set(Role):
        raise UnknownName.of("role", str(value), list(Role), where)
    return Role(value)


def _rule(entry: Any, number: int, where: str) -> ApprovalRule:
    place = f"{where}: [[approval_rules]] {number}"
    if not isinstance(entry, Mapping):
        raise InputError(f"{place}: must be a table. Write [[approval_rules]], then name = …")
    known = ("name", "role", *_CONDITIONS)
    for name in entry:
        if name not in known:
            raise UnknownName.of("field", name, known, place)
    for name in ("name", "role"):
        if name not in entry:
            raise InputError(f"{place}: {name} is required. Add it.")
    given = [name for name in _CONDITIONS if name in entry]
    if len(given) != 1:
        raise InputError(f"{place}: give exactly one of {', '.join(_CONDITIONS)}.")
    return ApprovalRule(
        name=_person(str(entry["name"]), place),
        role=_role(entry["role"], place),
        **{given[0]: _condition(given[0], entry[given[0]], place)},
    )


def _condition(name: str, value: Any, place: str) -> Any:
    if name == "population":
        if not isinstance(value, Mapping) or not value:
            rule = 'must be attributes with values. Write {segment = "VIP"}'
            raise InputError.rule(f"{place}: population", value, rule)
        return {str(attribute): str(wanted) for attribute, wanted in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InputError.rule(f"{place}: {name}", value, "must be a number > 0")
    if name == "control_below" and value > 1:
        raise InputError.rule(f"{place}: {name}", value, "must be ≤ 1; 0.05 is 5 %")
    return float(value)
