"""How often each tail of many analyses claimed an effect, and the band for it."""

from dataclasses import dataclass, field

import numpy as np

from measure.results import Estimate, Status


def band(trials: int, rate: float, level: float = 0.999) -> tuple[int, int]:
    """Counts between which a binomial of this rate lies with probability ``level``."""
    from scipy.stats import binom

    tail = (1 - level) / 2
    return int(binom.ppf(tail, trials, rate)), int(binom.isf(tail, trials, rate))


@dataclass
class Tally:
    """Counts over repeated analyses of one cell."""

    truth: float = 0.0
    answered: int = 0
    refused: int = 0
    more: int = 0
    """Interval wholly above the truth."""
    less: int = 0
    """Interval wholly below the truth."""
    rerouted: int = 0
    p_values: list[float] = field(default_factory=list)

    def add(self, estimate: Estimate) -> None:
        if estimate.status is not Status.OK:
            self.refused += 1
            return
        self.answered += 1
        self.more += estimate.ci_low > self.truth
        self.less += estimate.ci_high < self.truth
        self.rerouted += "permutation" in estimate.note
        if estimate.p_value is not None:
            self.p_values.append(estimate.p_value)
            if self.truth == 0:
                claims = estimate.ci_low > 0 or estimate.ci_high < 0
                assert claims == (estimate.p_value <= 1 - estimate.ci_level)

    @property
    def coverage(self) -> float:
        return 1 - (self.more + self.less) / self.answered

    def uniformity(self) -> float:
        """Kolmogorov–Smirnov p-value of the p-values against the uniform distribution."""
        from scipy.stats import kstest

        return float(kstest(np.array(self.p_values), "uniform").pvalue)

    def row(self, level: float = 0.95) -> dict[str, str]:
        """The tally as printed: rates, and the limit that each tail must keep."""
        if not self.answered:
            return {"answered": "0 %", "method": "refused"}
        total = self.answered + self.refused
        limit = band(self.answered, (1 - level) / 2)
        return {
            "answered": f"{100 * self.answered / total:.0f} % of {total:,}",
            "method": "permutation" if self.rerouted > self.answered / 2 else "normal",
            "claims more": f"{100 * self.more / self.answered:.2f} %",
            "claims less": f"{100 * self.less / self.answered:.2f} %",
            "band per tail": " – ".join(f"{100 * edge / self.answered:.2f}" for edge in limit)
            + " %",
        }
