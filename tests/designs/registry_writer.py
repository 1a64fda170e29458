"""A process that edits a registry: run by the durability tests.

    registry_writer.py drafts URL NAME COUNT   registers COUNT versions of one draft
    registry_writer.py counter URL NAME COUNT  raises a number in a draft COUNT times
    registry_writer.py keys URL NAME           registers, starts, concludes until killed
    registry_writer.py job URL                 begins a job and waits to be killed
    registry_writer.py stubborn URL COUNT      does the same COUNT times, whatever is refused
    registry_writer.py limited URL COUNT SEED  writes against COUNT limits on the size of a file

Each acknowledged step is one line on standard output, flushed after the method has returned.
"""

import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from designs.specification import parse_specification
from measure.errors import LifecycleError, RegistryError
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


def whole_way(registry, key: str, more: str = "") -> None:
    register(registry, written(key) + more, by="ana")
    say(f"{key} draft")
    registry.start(key, by="ana")
    say(f"{key} running")
    registry.conclude(key, {"key": key}, by="ana")
    say(f"{key} concluded")


def keys(url: str, name: str) -> None:
    with opened(url) as registry:
        for i in itertools.count():
            whole_way(registry, f"{name}-{i}")


def stubborn(url: str, count: str) -> None:
    with opened(url) as registry:
        for i in range(int(count)):
            try:
                whole_way(registry, f"key-{i}")
            except RegistryError:
                say("refused once")


def job(url: str) -> None:
    with opened(url) as registry, registry.job("analyze", "shared"):
        say("working")
        time.sleep(60)


def limited(url: str, count: str, seed: str) -> None:
    """Take steps until the system refuses to write a file any longer; lift that; again.

    RLIMIT_FSIZE makes write() fail with EFBIG in the middle of a step, wherever that is: in the
    journal, in the table, in the index (setrlimit(2); Python ignores SIGXFSZ).
    """
    import random
    import resource

    draw, path = random.Random(int(seed)), Path(url.removeprefix("sqlite:///"))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    with opened(url) as registry:
        register(registry, written("first"), by="ana")
        for number in range(int(count)):
            room = path.stat().st_size + draw.randrange(-8_192, 60_000)
            resource.setrlimit(resource.RLIMIT_FSIZE, (max(room, 0), hard))
            try:
                for step in itertools.count():
                    more = f"# {'x' * draw.randrange(6_000)}\n"
                    whole_way(registry, f"limit{number}-{step}", more)
            except RegistryError:
                say("refused once")
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


if __name__ == "__main__":
    modes = (drafts, counter, keys, stubborn, limited, job)
    {mode.__name__: mode for mode in modes}[sys.argv[1]](*sys.argv[2:])
