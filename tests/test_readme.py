"""The README's example is run, and prints what the README says; its links lead somewhere."""

import re

from tests.console.command import truelift
from tests.data import ROOT, data_file

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_example_prints_what_the_readme_shows(tmp_path):
    folder = data_file("hillstrom.csv").parent
    (spec,) = blocks("yaml")
    assert len(spec.splitlines()) == 10
    (tmp_path / "first.yaml").write_text(spec, encoding="utf-8")
    sessions = blocks("console")
    assert len(sessions) == 2
    for session in sessions:
        command, _, expected = session.partition("\n")
        assert command.startswith("$ truelift ")
        arguments = command.removeprefix("$ truelift ").split()
        ran = truelift(*arguments, cwd=tmp_path, TRUELIFT_DATA=str(folder))
        assert ran.code == 0, ran.err
        assert ran.out.rstrip() == expected.rstrip()


def test_every_link_and_picture_is_there():
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / target).exists(), target


def test_the_two_commands_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (setup, *_) = blocks("sh")
    for command in re.findall(r"^make (\w+)", setup, flags=re.MULTILINE):
        assert re.search(rf"^{command}:", makefile, flags=re.MULTILINE), command


def test_every_command_named_exists():
    from console.cli.app import app

    known = {c.name or c.callback.__name__ for c in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    for name in re.findall(r"`?truelift (\w+)", README):
        assert name in known, name
