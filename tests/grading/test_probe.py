"""The probe says what an answer did, and knows no right answer."""

import ast
import inspect
import sys

import torch

from course_lib.grading import codec, judge, probe
from tests.grading.toy import TASK, log_mean_exp


def observe(answer, task=TASK, **options) -> dict:
    return codec.decode(probe.observe(answer, judge.request(task, 0)[1], **options))


def test_it_imports_nothing_that_knows_answers():
    """Catches a probe that drags tasks or the judge into the process of the student's code."""
    names = {"codec", "fixtures", "traps"}
    tree = ast.parse(inspect.getsource(probe))
    found = {
        a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and "course_lib" in n.module for a in n.names
    }
    assert found == names


def test_request_holds_inputs_only():
    """Catches a label, a seed or an expected value that travels with the inputs."""
    asked = codec.decode(judge.request(TASK, 0)[1])
    assert asked.keys() == {"signature", "forbidden", "cases"}
    assert all(case.keys() == {"args", "grad"} for case in asked["cases"])


def test_outputs_and_gradients_are_those_of_the_function():
    """Catches a gradient taken along the wrong direction, or outputs of the second call sent for the first."""
    case = judge.request(TASK, 0)[0][0]
    record = observe(log_mean_exp)["records"][0]
    x = case.args[0].clone().requires_grad_()
    y = log_mean_exp(x, case.args[1])
    assert torch.equal(record["outputs"], y.detach()) and record["again"] is None and record["mutated"] == []
    want = torch.autograd.grad(y, x, 1 + 0.5 * torch.sin(1 + 2.3 * torch.arange(2)))[0]
    torch.testing.assert_close(record["grads"][0], want)


def test_what_was_returned_is_copied_at_once():
    """Catches an answer that changes an already returned tensor when it is called again."""
    kept = []

    def answer(x, scale):
        for old in kept:
            old.zero_()
        kept.append(log_mean_exp(x, scale).detach())
        return kept[-1]

    assert bool(observe(answer)["records"][0]["outputs"].any())


def test_change_of_an_argument_is_seen():
    """Catches a comparison of an argument with itself instead of with what was sent."""
    assert observe(lambda x, scale: x.zero_().sum(0))["records"][0]["mutated"] == [0]
    assert observe(lambda x, scale: x.clone().zero_().sum(0))["records"][0]["mutated"] == []
    assert observe(lambda x, scale: x.resize_(1).sum())["records"][0]["mutated"] == [0]


def test_randomness_is_seen():
    """Catches a second call that is made with the same global random state."""
    assert observe(lambda x, scale: x.sum(0) + torch.rand(()))["records"][0]["again"] is not None


def test_errors_carry_the_students_lines_only():
    """Catches lines of torch or of ours in a student's traceback, and messages of any length."""

    def helper(x):
        return x.sum(9)

    def answer(x, scale):
        return helper(x)

    error = observe(answer)["records"][0]["error"]
    assert error["type"] == "IndexError" and [line[1] for line in error["lines"]] == ["answer", "helper"]
    assert error["lines"][1][2] == "return x.sum(9)"

    def raises(x, scale):
        raise ValueError("long " * 10**6)

    assert len(observe(raises)["records"][0]["error"]["message"]) <= 400


def test_exits_and_interrupts_are_the_answers_own():
    """Catches SystemExit and KeyboardInterrupt that get through to the process."""

    def leave(x, scale):
        raise SystemExit(3)

    def interrupt(x, scale):
        raise KeyboardInterrupt

    assert observe(leave)["records"][0]["error"]["type"] == "SystemExit"
    assert observe(interrupt)["records"][0]["error"]["type"] == "KeyboardInterrupt"


def test_signature_is_compared_by_number_not_by_name():
    """Catches a refusal of renamed or defaulted parameters, and a call of a function that cannot take the arguments."""
    assert observe(lambda data, factor: data)["signature"] is None
    assert observe(lambda x, scale, extra=1: x)["signature"] is None
    assert observe(lambda *args: args[0])["signature"] is None
    assert observe(lambda x: x) == {"signature": "x", "forbidden": [], "records": []}


def test_global_switches_are_set_back_for_each_call():
    """Catches gradients that vanish because the first call turned them off."""

    def answer(x, scale):
        torch.set_grad_enabled(False)
        with torch.enable_grad():
            return log_mean_exp(x, scale)

    assert observe(answer)["records"][1]["grads"]
    torch.set_grad_enabled(True)


def test_forbidden_calls_are_noted_however_they_are_reached(monkeypatch):
    """Catches aliases, late imports and swallowed errors that get past the trap; and traps that stay after the run."""
    from course_lib import gaussian

    alias = gaussian.log_prob
    eye, zero, x = torch.eye(2), torch.zeros(2), torch.ones(3, 2)

    def through_alias(x, scale):
        return alias(x, zero, eye)

    def swallowed(x, scale):
        try:
            import course_lib.gaussian as g

            return g.log_prob(x, zero, eye)
        except Exception:
            return log_mean_exp(x, scale)

    def late(x, scale):
        import course_lib.models.densities

        return course_lib.models.densities

    # Late is only what was never imported; an earlier test of this process may have imported it.
    monkeypatch.delitem(sys.modules, "course_lib.models.densities", raising=False)
    for answer in (through_alias, swallowed, late):
        assert observe(answer)["forbidden"], answer.__name__
    assert alias(x, zero, eye).shape == (3,)
    assert not observe(log_mean_exp)["forbidden"]
