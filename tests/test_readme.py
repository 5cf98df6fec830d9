"""The README promises what is there: a row for each lecture with its own question, files and commands that exist."""

import re
from pathlib import Path

import nbformat
import pytest

from course_lib import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LECTURES = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_each_lecture_has_a_row_with_its_question_and_its_seconds(path):
    """Catches a lecture that the table forgets, a question that has changed since, and a lecture over its minute."""
    lines = [line.strip() for line in nbformat.read(path, 4).cells[0].source.splitlines() if line.strip()]
    question = lines[1].strip("*_ ")
    title = rf"\[{path.stem[:2]}[^|]*\]\(notebooks/{path.name}\)"
    row = re.search(rf"^\| {title} \| ([^|]+) \| (\d+) \| ([^|]+) \|$", README, re.M)
    assert row, (
        f"README.md needs a row '| [NN title](notebooks/{path.name}) | question | seconds | what you will see |'"
    )
    assert row[1] == question
    assert int(row[2]) <= 60


def test_links_and_commands_exist():
    """Catches a link to a file that moved and a command that was renamed."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), f"README.md links to {target}, which is not there"
    commands = "lab|doctor|run|build|grade|export|slides|site|train|leaderboard|colab"
    named = set(re.findall(rf"(?<![\w/.-])course ({commands})\b", README))
    assert named <= set(cli.COMMANDS), f"README.md names commands that do not exist: {named - set(cli.COMMANDS)}"
