"""Pooled effects of 200 cohorts × 6 metrics: exact and through PyMC, against a bare quadrature.

Run: ``python benchmarks/hierarchical_bayes.py``. Prints CPU seconds, peak memory and ratios, each
in a process of its own, best of several after the first.

``floor``   Gauss–Legendre over τ at 400 nodes computed beforehand, means and standard deviations
            only, on a stretch of τ known beforehand
``exact``   the shipped default: stretch found, quantiles, lifts and prior sensitivity
``sample``  the shipped PyMC path: compiled once, then 4 chains, gates and quantiles
"""

import json
import subprocess
import sys
import time
from pathlib import Path

METRICS, COHORTS, SEED = 6, 200, 20080320
REPEATS = {"floor": 20, "exact": 20, "sample": 3}


def world():
    import numpy as np

    from measure.incrementality.pooling.values import Group, Observed

    rng = np.random.default_rng(SEED)
    groups = []
    for _ in range(METRICS):
        se = rng.uniform(0.02, 0.1, COHORTS)
        groups.append(Group(rng.normal(0.05, np.hypot(se, 0.03)), se, 0.0, 1.0, 0.1))
    members = [
        [
            Observed(float(d), float(s), 0.5, 0.5 * s**2)
            for d, s in zip(g.estimate, g.se, strict=True)
        ]
        for g in groups
    ]
    return groups, members


def bare(groups, points, weights):
    import numpy as np

    answers = []
    for g in groups:
        tau = 0.1 * (points + 1)
        variance = tau[:, None] ** 2 + g.se**2
        inverse = 1 / variance
        precision = inverse.sum(axis=1) + g.mean_scale**-2
        weighted = (inverse * g.estimate).sum(axis=1)
        fit = (inverse * g.estimate**2).sum(axis=1) - weighted**2 / precision
        log_density = -0.5 * (
            (tau / g.tau_scale) ** 2 + np.log(variance).sum(axis=1) + np.log(precision) + fit
        )
        mass = weights * np.exp(log_density - log_density.max())
        mass /= mass.sum()
        share = tau[:, None] ** 2 * inverse
        centre = share * g.estimate + (1 - share) * (weighted / precision)[:, None]
        spread = share * g.se**2 + (1 - share) ** 2 / precision[:, None]
        value = mass @ centre
        answers.append((value, np.sqrt(mass @ (spread + (centre - value) ** 2))))
    return answers


def prepared(name):
    """What is repeated, and how its answer is described."""
    groups, members = world()
    if name == "floor":
        import numpy as np

        rule = np.polynomial.legendre.leggauss(400)
        return lambda: bare(groups, *rule), lambda _: ""
    from measure.incrementality.pooling.exact import pool_exactly
    from measure.incrementality.pooling.marginal import pool_by_sampling

    if name == "exact":
        return lambda: pool_exactly(groups, members, 0.95), lambda _: ""
    return lambda: pool_by_sampling(groups, members, 0.95, SEED), described


def described(found):
    """Convergence of the sampled groups."""
    from measure.incrementality.pooling.gate import diagnose

    told = [diagnose({k: p.draws[k] for k in ("average", "spread")}, 0) for p in found]
    diverged = int(found[0].draws["diverging"].sum())
    passed = sum(not p.complaint for p in found)
    least = min(t.ess for t in told)
    return f"{passed} of {len(found)} pass, least ESS {least:.0f}, {diverged} divergences"


def work(name):
    """Do the work, first once and then again, and print what it cost."""
    do, describe = prepared(name)
    costs = []
    for _ in range(REPEATS[name] + 1):
        cpu, wall = time.process_time(), time.perf_counter()
        answer = do()
        costs.append((time.process_time() - cpu, time.perf_counter() - wall))
    status = Path("/proc/self/status").read_text(encoding="ascii")
    told = {
        "first": costs[0][0],
        "cpu": min(cpu for cpu, _ in costs[1:]),
        "wall": min(wall for _, wall in costs[1:]),
        "mib": int(status.split("VmHWM:")[1].split()[0]) / 1024,
        "told": describe(answer),
    }
    print(json.dumps(told))


def main():
    print(f"{COHORTS} cohorts × {METRICS} metrics")
    found = {}
    for name in REPEATS:
        done = subprocess.run(
            [sys.executable, __file__, "--work", name], capture_output=True, text=True, check=True
        )
        found[name] = json.loads(done.stdout)
    floor = found["floor"]
    for name, r in found.items():
        ratios = f"{r['cpu'] / floor['cpu']:7.2f} x CPU  {r['mib'] / floor['mib']:5.2f} x memory"
        print(
            f"  {name:<7} {r['cpu'] * 1e3:8.1f} CPU-ms  {r['wall'] * 1e3:8.1f} ms  "
            f"first {r['first']:6.2f} CPU-s  {r['mib']:5.0f} MiB  "
            f"{ratios}  {r['told']}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2])
    else:
        main()
