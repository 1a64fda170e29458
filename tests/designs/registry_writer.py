"""A process that edits a registry: run by the durability tests.

    registry_writer.py drafts URL NAME COUNT   registers COUNT versions of one draft
    registry_writer.py counter URL NAME COUNT  raises a number in a draft COUNT times
    registry_writer.py keys URL NAME           registers, starts, concludes until killed
    registry_writer.py job URL                 begins a job and waits to be killed

Each acknowledged step is one line on standard output, flushed after the method has returned.
"""

import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from designs.specification import parse_specification
from measure.errors import LifecycleError
from tests.designs.registry_books import opened
from tests.designs.specs import written


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def register(registry, text, by, **options):
    return registry.register(text, parse_specification(text, "x").experiment, by=by, **options)


def drafts(url: str, name: str, count: str) -> None:
    with opened(url) as registry:
        for i in range(int(count)):
            entry = register(registry, written("shared") + f"# {name} {i}\n", by=name)
            say(f"{entry.version} {name} {i}")


def counter(url: str, name: str, count: str) -> None:
    """Read a number, add one, write it: refused and done again when somebody was faster.

    The name keeps texts apart: two writers with the same text would have made the same edit.
    """
    with opened(url) as registry:
        for _ in range(int(count)):
            while True:
                entry = registry.get("shared")
                number = int(entry.text.rsplit(" ", 1)[1]) + 1
                text = written("shared") + f"# {name} {number}"
                try:
                    register(registry, text, by=name, expected_version=entry.version)
                except LifecycleError as error:
                    # The loser of a race is shown what the winner wrote beside its own text.
                    if f"+# {name} {number}" not in str(error):
                        raise
                    continue
                break


def keys(url: str, name: str) -> None:
    with opened(url) as registry:
        for i in itertools.count():
            key = f"{name}-{i}"
            register(registry, written(key), by=name)
            say(f"{key} draft")
            registry.start(key, by=name)
            say(f"{key} running")
            registry.conclude(key, {"number": i}, by=name)
            say(f"{key} concluded")


def job(url: str) -> None:
    with opened(url) as registry, registry.job("analyze", "shared"):
        say("working")
        time.sleep(60)


if __name__ == "__main__":
    {"drafts": drafts, "counter": counter, "keys": keys, "job": job}[sys.argv[1]](*sys.argv[2:])
