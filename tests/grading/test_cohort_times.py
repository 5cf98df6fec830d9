"""What `course grade` costs, in processor seconds: on a machine with other work they are what can be compared."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.grading import TASKS

ROOT = Path(__file__).parents[2]
EXERCISE = "ex02_maximum_likelihood"  # what the benchmark grades


def cost(submissions: int) -> tuple[float, float]:
    """(processor seconds, MB at most) of one batch, all processes and start-up included."""
    command = [sys.executable, "-m", "benchmarks.grading", "--sample", "0", "--submissions", str(submissions)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    each, memory = re.search(r"([\d.]+) s of processor time each.* ([\d.]+) MB", done.stdout).groups()
    return float(each) * submissions, float(memory)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(sys.platform != "linux", reason="processor time of all descendants is counted on Linux only")
def test_a_batch_of_200_costs_what_was_promised():
    """Catches work that crept in for each answer, or at the start: 0.15 s a submission of 7 tasks on 2 processors."""
    tasks = sum(task.exercise == EXERCISE for task in TASKS.values())
    (few, _), (many, memory) = cost(4), cost(44)
    each = (many - few) / 40
    batch = few + 196 * each
    print(
        f"\nstart {few - 4 * each:.2f} s, then {each:.3f} s for {tasks} answers, {batch:.1f} s for 200; {memory:.0f} MB"
    )
    assert each > 0 and memory > 0
    assert batch <= 200 * 2 * 0.15 * tasks / 7
    assert memory <= 1500
