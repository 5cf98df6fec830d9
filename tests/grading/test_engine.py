"""`grade` joins probe and judge: whatever an answer does, there is a verdict, and nothing else has changed."""

import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from course_lib.grading import TASKS, Result, engine, grade, judge
from tests.grading.toy import TASK, log_mean_exp


def answer(x, scale):
    return torch.logsumexp(scale * x, 0) - torch.log(torch.tensor(float(len(x)), dtype=x.dtype))


def test_right_and_wrong_answers_get_their_verdicts():
    """Catches a verdict that does not depend on the answer."""
    result = grade(TASK, answer, seed=3)
    assert isinstance(result, Result) and result.passed and result.score == 1.0 and result.earned == 2
    wrong = grade(TASK, lambda x, scale: torch.logsumexp(scale * x, 0), seed=3)
    assert not wrong.passed and wrong.diagnosis == "sum_for_mean" and wrong.earned == 0


def test_the_same_seed_gives_the_same_message():
    """Catches inputs that depend on global random state."""
    off = [grade(TASK, lambda x, scale: answer(x, scale) + x[0] ** 2, seed=5).example for _ in range(2)]
    assert off[0] == off[1] != grade(TASK, lambda x, scale: answer(x, scale) + x[0] ** 2, seed=6).example


def test_unknown_task_and_bad_arguments(no_shape_check):
    """Catches a KeyError without a suggestion, and a timeout or a seed that is silently taken for another."""
    with pytest.raises(KeyError, match="kde_log_density"):
        grade("kde_log_densty", answer)
    with pytest.raises(ValueError, match="timeout must be greater than 0"):
        grade(TASK, answer, timeout=-1)
    with pytest.raises(ValueError, match="seed must be a whole number"):
        grade(TASK, answer, seed=1.5)


@pytest.mark.parametrize("thing", [3, None, "log_mean_exp", torch.ones(2), [answer]])
def test_what_is_not_callable_is_a_verdict(thing):
    """Catches an exception for an answer that is not a function."""
    assert grade(TASK, thing).stage == "callable"


def test_callables_of_every_kind_pass():
    """Catches an engine that wants a plain function."""

    class Callable:
        def __call__(self, x, scale):
            return answer(x, scale)

    for thing in (Callable(), functools.partial(answer), lambda x, scale: answer(x, scale), Callable().__call__):
        assert grade(TASK, thing).passed


def test_tasks_are_a_mapping():
    """Catches a registry that loses a set of exercises or the fields that others read."""
    assert {"kde_log_density", "gmm_e_step"} <= set(TASKS) and "nothing" not in TASKS and len(TASKS) == len(list(TASKS))
    for name, task in TASKS.items():
        assert task.name == name and task.points > 0 and task.exercise.startswith("ex")


@pytest.mark.skipif(not engine.can_fork(), reason="no fork here")
def test_timeout_says_where(monkeypatch):
    """Catches a limit that is not kept, and a report that names the wrong case."""
    start = time.monotonic()

    def loops(x, scale):
        while x.dtype == torch.float64:
            pass
        return answer(x, scale)

    result = grade(TASK, loops, timeout=1.0)
    assert result.status == "timeout" and "float64" in result.message and time.monotonic() - start < 5


def test_the_thread_fallback_gives_the_same_verdicts(monkeypatch):
    """Catches a fallback that hangs on a loop, lets SystemExit through or leaves global switches changed."""
    monkeypatch.setattr(engine, "can_fork", lambda: False)

    def loops(x, scale):
        while True:
            pass

    def leaves(x, scale):
        sys.exit(1)

    def disturbs(x, scale):
        torch.set_default_dtype(torch.float64)
        torch.allclose = None
        return answer(x, scale)

    assert grade(TASK, answer, seed=1).passed
    assert grade(TASK, lambda x, scale: answer(x, 1.0), seed=1).diagnosis == "no_scale"
    assert grade(TASK, loops, timeout=0.5).status == "timeout"
    assert grade(TASK, leaves).status == "error"
    assert grade(TASK, disturbs).status in ("passed", "wrong")
    assert torch.get_default_dtype() == torch.float32 and torch.allclose(torch.ones(1), torch.ones(1))
    assert torch.is_grad_enabled()


def test_no_child_and_no_file_is_left_behind():
    """Catches zombies and pipes that stay open: after twenty grades there are as many as before."""
    if not sys.platform.startswith("linux"):
        pytest.skip("counts in /proc")
    grade(TASK, answer)
    before = len(os.listdir("/proc/self/fd"))
    for end in (answer, lambda x, scale: os._exit(3)) * 10:
        grade(TASK, end)
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_reference_is_computed_after_the_answer_has_run(monkeypatch):
    """Catches expected values that lie in memory while the answer runs."""
    order = []
    run, records = engine.in_child, judge._records
    monkeypatch.setattr(engine, "in_child", lambda *a: (order.append("answer"), run(*a))[1])
    monkeypatch.setattr(judge, "_records", lambda *a: (order.append("reference"), records(*a))[1])
    assert grade(TASK, answer).passed and order[0] == "answer" and "reference" in order[1:]


@pytest.mark.alone
def test_a_check_takes_at_most_150_ms():
    """Catches a start-up cost that grew: median over all tasks, for the right answer and for known mistakes."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.grading.check_times"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    print(f"\none check: median {1e3 * found['processor']:.0f} ms of processor time, worst {1e3 * found['worst']:.0f}, "
          f"median wait {1e3 * found['wall']:.0f} ms")  # fmt: skip
    assert not found["wrong_verdicts"] and found["processor"] <= 0.150


def test_a_call_of_the_reference_is_reported_as_such():
    """Catches a trap that is not set on the task's own reference."""
    result = grade(TASK, log_mean_exp)
    assert result.stage == "forbidden" and "log_mean_exp" in result.message
