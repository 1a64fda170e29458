"""All checks and the bridge, against one windowed last-touch join over the same rows.

Run: ``python benchmarks/reconciliation.py [ACTIVATIONS [MEMORY]]``; conversions are a tenth of the
activations (default 5,000,000), MEMORY is DuckDB's limit (default ``4GB``). Prints CPU seconds,
peak memory and the ratio, floor and ours on the same seeded Parquet files, each in a process of its
own. The floor finds for every conversion the last touch of its customer in the 14 days before.
``python benchmarks/reconciliation.py --profile [ACTIVATIONS]`` lists what each check costs.
"""

import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

START, DAYS = datetime(2025, 3, 1, tzinfo=UTC), 60
SEED = 20250301
CLICKS = 10
"""Every tenth activation is a click."""
MACROS = f"""
CREATE MACRO draw(i, what, n) AS (hash(i, what, {SEED}) % n)::BIGINT;
CREATE MACRO who(i, customers) AS 'customer-' || draw(i, 'who', customers);
CREATE MACRO moment(i) AS
    TIMESTAMPTZ '2025-03-01 00:00:00+00' + to_seconds(draw(i, 'when', {(DAYS - 8) * 86_400}));
CREATE MACRO platform(i) AS (['mailer', 'social', 'search', 'display'])[1 + draw(i, 'on', 4)];
CREATE MACRO channel(i) AS
    (['email', 'paid_social', 'paid_search', 'display'])[1 + draw(i, 'on', 4)];
CREATE MACRO campaign(i) AS platform(i) || '-' || draw(i, 'campaign', 5);
"""


PLANS = {
    "platforms": """
        SELECT platform, 'UTC' time_zone, 7 click_window_days, 1 view_window_days
        FROM (VALUES ('mailer'), ('social'), ('search'), ('display')) p(platform)""",
    "campaigns": """
        SELECT platform, platform || '-' || n campaign, DATE '2025-02-20' starts_on,
            DATE '2025-06-01' ends_on
        FROM (VALUES ('mailer'), ('social'), ('search'), ('display')) p(platform), range(5) t(n)
        """,
}
"""Platforms and campaigns: their tables are the same at every size."""


def tables(activations):
    """SQL of each table."""
    customers = activations // 10
    return {**logs(activations, customers), **people(activations, customers), **PLANS}


def logs(activations, customers):
    """What happened; a conversion follows the click ``10 * clicked`` or comes of itself."""
    conversions = activations // 10
    clicked = f"{CLICKS} * draw(j, 'clicked', {activations // CLICKS})"
    return {
        "activations": f"""
            SELECT 'a' || i activation_id, platform(i) platform, channel(i) channel,
                campaign(i) campaign, if(i % {CLICKS} = 0, 'click', 'impression') kind,
                moment(i) ts, moment(i) + to_seconds(draw(i, 'late', 60)) received_at,
                who(i, {customers}) customer_id, if(i % {CLICKS} = 0, 'k' || i, NULL) click_id,
                (1 + draw(i, 'cost', 40)) * 10000 cost_micros, 'EUR' currency,
                'creative-' || draw(i, 'creative', 9) creative, 'mobile' network,
                if(draw(i, 'bot', 1000) = 0, 'declared_bot', 'app') agent
            FROM range({activations}) t(i)""",
        "conversions": f"""
            SELECT 'v' || j conversion_id, 'o' || j order_id,
                if(j % 10 < 7, who(i, {customers}), who(-j, {customers})) customer_id,
                if(j % 10 < 7, moment(i), moment(-j)) + to_seconds(600 + draw(j, 'lag', 518400)) ts,
                500 + draw(j, 'value', 40000) "value",
                if(draw(j, 'refund', 50) = 0, 500, 0) refunded_value, 'EUR' currency,
                if(draw(j, 'refund', 50) = 0, 'refunded', 'paid') status,
                if(j % 10 < 7, 'k' || i, NULL) click_id
            FROM (SELECT j, {clicked} i FROM range({conversions}) t(j))""",
        "claims": f"""
            SELECT 'm' || j || '-' || again AS claim_id, platform(i) platform, channel(i) channel,
                campaign(i) campaign, 'o' || j order_id, 'k' || i click_id, 'click' AS kind,
                moment(i) touched_at,
                moment(i) + to_seconds(600 + draw(j, 'lag', 518400)) converted_at,
                500 + draw(j, 'value', 40000) "value", 'EUR' currency, 7 window_days
            FROM (SELECT j, {clicked} i FROM range({conversions}) t(j) WHERE j % 10 < 6),
                range(2) s(again) WHERE again = 0 OR draw(j, 'again', 50) = 0""",
        "spend": f"""
            SELECT platform(i) platform, channel(i) channel, campaign(i) campaign,
                moment(i)::DATE AS "date", sum(1 + draw(i, 'cost', 40))::BIGINT amount,
                'EUR' currency
            FROM range({activations}) t(i) GROUP BY ALL""",
    }


def people(activations, customers):
    """Who is who, in which arm, and what they allow."""
    return {
        "assignments": f"""
            SELECT 'spring' AS experiment, 'customer-' || n unit_id,
                if(n % 10 = 0, 'holdout', 'treated') arm,
                TIMESTAMPTZ '2025-03-01 00:00:00+00' assigned_at
            FROM range({customers}) t(n)""",
        "identities": f"""
            SELECT 'customer-' || n customer_id, 'email_hash' AS kind, sha256('c' || n) identifier,
                TIMESTAMPTZ '2025-01-01 00:00:00+00' seen_at
            FROM range({customers}) t(n)""",
        "consents": f"""
            SELECT 'customer-' || n customer_id, purpose, 'all' channel,
                (draw(n, purpose, 100) > 0) AS granted,
                TIMESTAMPTZ '2024-06-01 00:00:00+00' valid_from,
                NULL::TIMESTAMPTZ valid_to, TIMESTAMPTZ '2024-06-01 00:00:00+00' recorded_at
            FROM range({customers}) t(n), (VALUES ('marketing'), ('measurement')) p(purpose)""",
        "events": f"""
            SELECT 'e' || i event_id, who(i, {customers}) customer_id, 'landing' AS name,
                moment(i) + to_seconds(3) ts, channel(i) channel, 'k' || i click_id
            FROM range(0, {activations}, {CLICKS}) t(i)""",
    }


def write(folder, activations):
    """Write the seeded tables as Parquet."""
    import duckdb

    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        database.execute("SET threads = 2; SET memory_limit = '4GB'")
        database.execute(MACROS)
        for name, query in tables(activations).items():
            database.execute(f"COPY ({query}) TO '{folder / name}.parquet' (COMPRESSION zstd)")


def limited(database, memory):
    database.execute(f"SET memory_limit = '{memory}'; SET threads = 2; SET TimeZone = 'UTC'")
    database.execute("SET preserve_insertion_order = false")


def floor(folder, memory):
    """The last touch of each conversion's customer within 14 days, counted by channel."""
    import duckdb

    with duckdb.connect() as database:
        limited(database, memory)
        return database.execute(f"""
            SELECT channel, count(*), sum("value") FROM (
                SELECT c.conversion_id, any_value(c.value) "value", arg_max(a.channel, a.ts) channel
                FROM '{folder}/conversions.parquet' c JOIN '{folder}/activations.parquet' a
                ON a.customer_id = c.customer_id AND a.ts <= c.ts
                    AND a.ts >= c.ts - INTERVAL 14 DAY
                GROUP BY c.conversion_id) GROUP BY channel""").fetchall()


def opened(folder, memory):
    """An engine whose tables are views of the Parquet files."""
    from measure.engine.connection import connect

    engine = connect()
    database = engine.backend.con
    limited(database, memory)
    database.execute(f"SET temp_directory = '{folder}/spill'")
    for file in sorted(Path(folder).glob("*.parquet")):
        database.execute(f"CREATE VIEW {file.stem} AS SELECT * FROM '{file}'")
    return engine


def experiment():
    """The experiment whose integrity is checked."""
    from measure.reconcile import ExperimentWindow

    return ExperimentWindow(
        key="spring",
        arms={"holdout": 0.1, "treated": 0.9},
        control="holdout",
        start=START,
        end=START + timedelta(days=DAYS),
        campaigns=("mailer-0", "social-0"),
    )


def ours(folder, memory):
    """The shipped path: every check, money counted once, the bridge."""
    from measure.reconcile import reconcile

    result = reconcile(opened(folder, memory), experiment=experiment())
    return [f"{check.code} {check.outcome}: {check.message}" for check in result.checks]


def profile(folder, memory):
    """CPU seconds of each check, the costliest first, and of what follows them."""
    from measure.reconcile import Settings
    from measure.reconcile.bridge import build_bridge
    from measure.reconcile.check import run
    from measure.reconcile.ledger import count_once
    from measure.reconcile.sources import Sources
    from measure.reconcile.statement import CATALOGUE

    sources = Sources(opened(folder, memory), Settings(), experiment())
    costs, ran = {}, []
    for declared in CATALOGUE:
        began = time.process_time()
        ran.append(run(declared, sources))
        costs[f"{declared.code} {ran[-1].result.outcome}"] = time.process_time() - began
    began = time.process_time()
    ledger = count_once(sources, ran)
    costs["money counted once"] = time.process_time() - began
    began = time.process_time()
    build_bridge(sources, ran, ledger)
    costs["bridge"] = time.process_time() - began
    for name, cost in sorted(costs.items(), key=lambda item: -item[1]):
        print(f"  {cost:7.2f} CPU-s  {name}")
    print(f"  {sum(costs.values()):7.2f} CPU-s  in all")


WORK = {"floor": floor, "ours": ours}


def peak_mib():
    """Peak memory of this process; getrusage would count what its parent had before it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def work(name, folder, memory):
    """Do the work once and print what it cost."""
    import duckdb  # noqa: F401 - imported before the clock starts

    if name == "ours":
        from measure.engine.connection import connect
        from measure.reconcile import reconcile  # noqa: F401

        connect().close()
    wall, cpu = time.perf_counter(), time.process_time()
    WORK[name](folder, memory)
    print(
        json.dumps(
            {
                "cpu": time.process_time() - cpu,
                "wall": time.perf_counter() - wall,
                "mib": peak_mib(),
            }
        )
    )


def measured(name, folder, memory):
    """Run one piece of work in a process of its own, after its imports."""
    done = subprocess.run(
        [sys.executable, __file__, "--work", name, str(folder), memory],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def main():
    given = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    rows = int(float(given[0])) if given else 5_000_000
    memory = given[1] if len(given) > 1 else "4GB"
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write(folder, rows)
        print(f"{rows:,} activations, {rows // 10:,} conversions, DuckDB limited to {memory}")
        if "--profile" in sys.argv:
            profile(folder, memory)
            return
        results = {name: measured(name, folder, memory) for name in WORK}
        base = results["floor"]
        for name, r in results.items():
            print(
                f"  {name:<6} {r['cpu']:7.2f} CPU-s  {r['wall']:7.2f} s  {r['mib']:6.0f} MiB"
                f"  {r['cpu'] / base['cpu']:6.2f} x CPU"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:5])
    else:
        main()
