"""What is true of the world: effects known person by person, planted defects by check code.

Effects are sample averages over all assigned units, of being assigned rather than held out: what
the programme reached, missed and leaked is part of them, for both potential outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from console.demo.claims import Claims
from console.demo.defects import Spoiled
from console.demo.exposure import Touches
from console.demo.orders import Delivery, Orders, Outcomes, State
from console.demo.people import People
from console.demo.setting import (
    CURRENCY,
    MARGIN,
    MICROS_PER_CENT,
    PROGRAMME,
    SEGMENTS,
    Flags,
    Integers,
    Numbers,
)
from console.demo.world import World
from measure.results import Cohort, Result


@dataclass(frozen=True, slots=True)
class Quantity(Result):
    """A planted number: what it is, its true value, and which estimate answers it.

    ``metric`` and ``cohort`` name the estimate for effects per customer and are ``None`` otherwise;
    ``unit`` is ``probability``, a currency (major units), ``customers`` or ``ratio``.
    """

    name: str
    truth: float
    unit: str
    definition: str
    metric: str | None = None
    cohort: Cohort | None = None


@dataclass(frozen=True, slots=True)
class Defect(Result):
    """A planted defect: how many rows of ``entity`` a check must find, and the cents in question.

    ``detail`` holds other countings of the same defect.
    """

    code: str
    entity: str
    rows: int
    money: int | None
    currency: str | None
    detail: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Truth(Result):
    """All that was planted in one world."""

    seed: int
    customers: int
    treated: int
    control: int
    quantities: tuple[Quantity, ...]
    defects: tuple[Defect, ...]

    def quantity(self, name: str) -> Quantity:
        """The quantity of this name; ``KeyError`` when there is none."""
        return {quantity.name: quantity for quantity in self.quantities}[name]

    def defect(self, code: str) -> Defect:
        """The defect of this check code; ``KeyError`` when there is none."""
        return {defect.code: defect for defect in self.defects}[code]


def truth_of(world: World) -> Truth:
    """Read the truth off a world, from the generator's own books."""
    treated = int(world.treated.sum())
    cost = programme_cents(world.billed_campaign, world.billed)
    return Truth(
        seed=world.people.seed,
        customers=len(world.people),
        treated=treated,
        control=len(world.people) - treated,
        quantities=_effects(world.people, world.if_control, world.if_treated)
        + _money(world.treated, world.if_control, world.if_treated, cost),
        defects=(
            *_claim_defects(world.orders, world.spoiled),
            _repeated_orders(world.orders, world.copies),
            _bill(world.overbilled),
            *_experiment_defects(world.people, world.delivery, world.treated, world.touches),
        ),
    )


def _effects(people: People, control: Outcomes, treated: Outcomes) -> tuple[Quantity, ...]:
    """Effects per assigned customer, for everybody and per segment."""
    bought = treated.conversion.astype(float) - control.conversion
    euros = (treated.net_revenue - control.net_revenue) / 100
    said = "mean over all assigned customers of the outcome if treated minus if held out"
    everybody = (
        Quantity("effect.conversion", _mean(bought), "probability", said, "conversion"),
        Quantity("effect.net_revenue", _mean(euros), CURRENCY, said, "net_revenue"),
    )
    return everybody + tuple(
        Quantity(
            f"effect.conversion[segment={segment.name}]",
            _mean(bought[people.segment == code]),
            "probability",
            said.replace("customers", f"{segment.name} customers"),
            "conversion",
            Cohort("segment", segment.name),
        )
        for code, segment in enumerate(SEGMENTS)
    )


def _mean(values: Numbers) -> float:
    return float(values.mean()) if len(values) else 0.0


def _money(arms: Flags, control: Outcomes, treated: Outcomes, cost: int) -> tuple[Quantity, ...]:
    """What the programme brought among the treated, and what it cost."""
    buyers = int((treated.conversion[arms] & ~control.conversion[arms]).sum())
    cents = int((treated.net_revenue[arms] - control.net_revenue[arms]).sum())
    brought = "sum over treated customers of the outcome if treated minus if held out"
    return (
        Quantity("total.conversion", buyers, "customers", brought),
        Quantity("total.net_revenue", cents / 100, CURRENCY, brought),
        Quantity("cost", cost / 100, CURRENCY, "spend of the programme's campaigns in the window"),
        Quantity("iroas", _ratio(cents, cost), "ratio", "total.net_revenue / cost"),
        Quantity(
            "roi", _ratio(MARGIN * cents, cost), "ratio", f"{MARGIN} × total.net_revenue / cost"
        ),
    )


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else 0.0


def _claim_defects(orders: Orders, spoiled: Spoiled) -> tuple[Defect, ...]:
    claims, rows = spoiled.claims, spoiled.rows
    plain = [
        _claims(code, claims, rows[code], int(claims.value[rows[code]].sum()))
        for code in ("A1", "A3", "B2", "C1", "C3")
    ]
    refunded = claims.order[rows["E6"]]
    cancelled = orders.state[refunded] == State.CANCELLED
    lost = np.where(cancelled, orders.value[refunded], orders.refunded[refunded])
    return (
        _between_platforms(orders, claims, rows["E6"]),
        *plain,
        _claims("E6", claims, rows["E6"], int(lost.sum())),
    )


def _claims(code: str, claims: Claims, rows: Integers, money: int) -> Defect:
    orders = len(np.unique(claims.order[rows])) if code != "A1" else 0
    return Defect(code, "claim", len(rows), money, CURRENCY, {"orders": orders})


def _between_platforms(orders: Orders, claims: Claims, refunded: Integers) -> Defect:
    """Orders that several platforms claim: every such claim, and the money beyond the orders."""
    real = np.flatnonzero(claims.order >= 0)
    real = np.setdiff1d(real, refunded)
    pairs = np.unique(np.stack([claims.order[real], claims.platform[real]]), axis=1)
    platforms = np.bincount(pairs[0], minlength=len(orders))
    shared = np.flatnonzero(platforms > 1)
    extra = int((platforms[shared] - 1).sum())
    money = int(((platforms[shared] - 1) * orders.value[shared]).sum())
    detail = {"orders": len(shared), "extra_claims": extra}
    return Defect("B1", "claim", extra + len(shared), money, CURRENCY, detail)


def _repeated_orders(orders: Orders, copies: Integers) -> Defect:
    money = int(orders.value[copies].sum())
    return Defect("B8", "conversion", len(copies), money, CURRENCY, {"orders": len(copies)})


def _bill(overbilled: Integers) -> Defect:
    """Bills that differ from the logs, in campaign-days."""
    return Defect("F1", "spend", int((overbilled > 0).sum()), int(overbilled.sum()), CURRENCY)


def _experiment_defects(
    people: People, delivery: Delivery, treated: Flags, touches: Touches
) -> tuple[Defect, ...]:
    planted = touches.keep(touches.planted)
    held_out = ~treated[planted.person]
    leaked, refused = planted.keep(held_out), planted.keep(~held_out)
    twin = people.same_person
    here = np.flatnonzero(twin > np.arange(len(people)))
    crossing = int((treated[here] != treated[twin[here]]).sum())
    return (
        Defect(
            "G1",
            "unit",
            int((~treated & delivery.contaminated).sum()),
            _cents(leaked),
            CURRENCY,
            {"touches": len(leaked)},
        ),
        Defect("G3", "unit", 2 * crossing, None, None, {"persons": crossing, "pairs": len(here)}),
        Defect(
            "H1",
            "activation",
            len(refused),
            _cents(refused),
            CURRENCY,
            {"customers": len(np.unique(refused.person))},
        ),
    )


def _cents(touches: Touches) -> int:
    return int(touches.micros.sum()) // MICROS_PER_CENT


def programme_cents(campaign: Integers, cents: Integers) -> int:
    """What the programme's campaigns are billed."""
    return int(cents[np.isin(campaign, PROGRAMME)].sum())
