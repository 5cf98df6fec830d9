"""Answers that try to pass without being right, to break out, or to hurt others: none may. And fair ones must pass."""

import ctypes
import gc
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch

from course_lib.grading import TASKS, child, codec, engine, grade
from course_lib.grading.pristine import pristine
from tests.grading.toy import NUMBER, TASK

pytestmark = pytest.mark.skipif(
    not engine.can_fork(), reason="the guarantees hold where an answer gets its own process"
)


def right(x, scale):
    return torch.logsumexp(scale * x, 0) - torch.log(torch.tensor(float(len(x)), dtype=x.dtype))


def wrong(x, scale):
    return torch.zeros(x.shape[1], dtype=x.dtype)


class Equal:
    """Equal to everything, less than nothing, of any shape."""

    dtype, shape, device, requires_grad, ndim = torch.float32, (2,), torch.device("cpu"), True, 1

    def __eq__(self, other):
        return True

    __le__ = __ge__ = __sub__ = __rsub__ = __abs__ = lambda self, *other: self

    def __float__(self):
        return 0.0

    def __getattr__(self, name):
        return lambda *args, **kwargs: self


class Agreeing(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func.__name__ in ("eq", "__eq__", "allclose", "isclose", "equal", "le", "lt", "all"):
            return torch.tensor(True)
        return super().__torch_function__(func, types, args, kwargs or {})


def equal(x, scale):
    return Equal()


def agreeing(x, scale):
    return wrong(x, scale).as_subclass(Agreeing)


def patches_torch(x, scale):
    torch.allclose = torch.equal = torch.isclose = lambda *args, **kwargs: True
    torch.Tensor.all = torch.Tensor.__eq__ = lambda *args, **kwargs: torch.tensor(True)
    return wrong(x, scale)


def patches_builtins(x, scale):
    import builtins

    builtins.all = builtins.any = builtins.isinstance = lambda *args: True
    builtins.abs = builtins.max = lambda *args, **kwargs: 0
    return wrong(x, scale)


def patches_the_grader(x, scale):
    from course_lib.grading import compare, judge, task

    judge.judge = judge._judge = lambda t, *a: task.Result(t.name, "passed", t.points, "")
    compare.agree = lambda *a, **k: torch.tensor(True)
    return wrong(x, scale)


def patches_the_probe(x, scale):
    from course_lib.grading import probe

    probe._record = lambda *a: {"outputs": None, "error": None}
    return wrong(x, scale)


def calls_the_reference(x, scale):
    return TASK.reference(x, scale)


def walks_the_frames(x, scale):
    frame = sys._getframe()
    while frame:
        task = frame.f_locals.get("task")
        if task is not None and hasattr(task, "reference"):
            try:
                return task.reference(x, scale)
            except Exception:
                pass
        frame = frame.f_back
    return wrong(x, scale)


def walks_the_heap(x, scale):
    try:
        things = gc.get_objects()
    except PermissionError:
        things = []
    for thing in things:
        if getattr(thing, "__name__", "") == "log_mean_exp":
            return thing(x, scale)
    return wrong(x, scale)


def takes_a_known_mistake_apart(x, scale):
    return TASK.mistakes[0].answer(x, scale) - torch.log(torch.tensor(float(len(x)), dtype=x.dtype))


def reads_the_source(x, scale):
    from course_lib import grading

    folder = Path(grading.__file__).parent / "tasks"
    scope = {}
    exec((folder / "ex02_maximum_likelihood.py").read_text(), scope)
    return wrong(x, scale)


def nan(x, scale):
    return wrong(x, scale) * float("nan")


def infinite(x, scale):
    return wrong(x, scale) + float("inf")


def custom_backward(x, scale):
    class Zero(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sum(0) * 0

        @staticmethod
        def backward(ctx, g):
            raise SystemExit

    return Zero.apply(x)


def lazily(x, scale):
    return (value for value in right(x, scale))


def returns_itself(x, scale):
    return returns_itself


def huge(x, scale):
    return torch.zeros(1).expand(10**12)


def truly_huge(x, scale):
    return torch.zeros(3 * 10**7)


def deep(x, scale):
    out = []
    for _ in range(10**5):
        out = [out]
    return out


def wide(x, scale):
    return [[0.0] * 1000] * 1000


def forges_the_pipe(x, scale):
    record = {"outputs": torch.zeros(x.shape[1]), "again": None, "container": "single", "grads": [], "mutated": []}
    record |= {"error": None, "grad_error": None, "seconds": 0.0}
    seen = codec.encode({"signature": None, "forbidden": [], "records": [record] * 4})
    for fd in range(3, 64):
        try:
            os.write(fd, child.DONE + child.LENGTH.pack(len(seen)) + seen)
        except OSError:
            pass
    os._exit(0)


def floods_the_pipe(x, scale):
    while True:
        for fd in range(3, 64):
            try:
                os.write(fd, b"c" * 65536)
            except OSError:
                pass


def claims_a_long_message(x, scale):
    for fd in range(3, 64):
        try:
            os.write(fd, child.DONE + struct.pack("<Q", 2**60))
        except OSError:
            pass
    return wrong(x, scale)


def closes_files(x, scale):
    os.closerange(0, 1000)
    return wrong(x, scale)


def counts_its_calls(x, scale, calls=[]):  # noqa: B006
    calls.append(1)
    return right(x, scale) + (len(calls) % 2)


def different_next_time(x, scale, calls=[]):  # noqa: B006
    calls.append(1)
    return right(x, scale) if len(calls) % 2 else wrong(x, scale)


def leaves(x, scale):
    sys.exit(0)


def leaves_for_good(x, scale):
    os._exit(0)


def aborts(x, scale):
    os.abort()


def segfaults(x, scale):
    ctypes.string_at(1)


def kills_itself(x, scale):
    os.kill(os.getpid(), signal.SIGKILL)


def kills_its_parent(x, scale):
    os.kill(os.getppid(), signal.SIGTERM)


def kills_its_parent_in_c(x, scale):
    ctypes.CDLL(None).kill(os.getppid(), signal.SIGTERM)


def loops_stubbornly(x, scale):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def ignores_signals(x, scale):
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True:
        pass


def sleeps(x, scale):
    threading.Event().wait()


def eats_memory(x, scale):
    return torch.ones(2**34)


def eats_memory_in_python(x, scale):
    return [0] * 2**31


def recurses(x, scale):
    return recurses(x, scale)


def forks(x, scale):
    while True:
        os.fork()


def starts_a_process(x, scale):
    subprocess.Popen(["sleep", "100"])
    return wrong(x, scale)


def connects(x, scale):
    socket.create_connection(("127.0.0.1", 9), timeout=1)


def prints_without_end(x, scale):
    while True:
        os.write(1, b"x" * 65536)


FUNCTIONS = [value for value in list(globals().values()) if isinstance(value, type(right))]
ATTACKS = [f for f in FUNCTIONS if f.__module__ == __name__ and f not in (right, wrong)]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_no_attack_passes_or_raises(attack):
    """Catches every way of getting points without the right values, or of ending the process that grades."""

    def switches():
        return torch.get_default_dtype(), torch.is_grad_enabled(), torch.allclose, torch.equal, os.getcwd(), isinstance

    before = switches()
    result = grade(TASK, attack, timeout=2.0)
    assert not result.passed and result.score == 0.0 and result.message, result
    assert len(result.message) + len(result.example) + len(result.trace) < 5000
    assert before == switches()
    if attack is forks:
        assert grade(TASK, right).passed


def test_there_are_attacks():
    """Catches a list that is collected empty."""
    assert len(ATTACKS) >= 40


def test_files_are_safe(tmp_path):
    """Catches an answer that deletes, renames, empties or writes a file of the student."""
    kept = tmp_path / "thesis.txt"
    kept.write_text("all my work")
    deeds = [
        lambda: kept.unlink(),
        lambda: os.rename(kept, tmp_path / "gone"),
        lambda: shutil.rmtree(tmp_path),
        lambda: os.truncate(kept, 0),
        lambda: kept.write_text(""),
        lambda: open(kept, "a").write("x" * 10**9),
        lambda: os.close(os.open(kept, os.O_TRUNC | os.O_WRONLY)),
        lambda: torch.save(torch.ones(1000), tmp_path / "new.pt"),
    ]
    for deed in deeds:
        grade(TASK, lambda x, scale, deed=deed: (deed(), right(x, scale))[1])
        assert kept.read_text() == "all my work"
        assert all(path == kept or not path.stat().st_size for path in tmp_path.iterdir())


def test_equal_things_are_no_numbers():
    """Catches a number task that trusts `==`."""
    assert not grade(NUMBER, lambda n: Equal()).passed


def test_patches_made_before_grading_do_not_help(monkeypatch):
    """Catches a judge that uses whatever a notebook cell has put in place of torch's comparisons."""
    with monkeypatch.context() as patch:
        for name in ("allclose", "equal", "isclose"):
            patch.setattr(torch, name, lambda *args, **kwargs: True)
        patch.setattr(torch.Tensor, "all", lambda *args, **kwargs: torch.ones(()).bool())
        patch.setattr(torch, "logsumexp", lambda x, dim: x.sum(dim) * 0)
        results = [grade(TASK, wrong), grade(TASK, lambda x, scale: x.sum(0) * 0 - x.new_tensor(len(x)).log())]
    assert not any(result.passed for result in results)


def test_disturbed_global_state_harms_nobody():
    """Catches a default dtype, a grad mode or a seed that reaches the parent, and a random state used up."""

    def disturbs(x, scale):
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(0)
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        os.chdir("/")
        sys.path.clear()
        os.environ.clear()
        return right(x, scale)

    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    grade(TASK, disturbs)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled() and "HOME" in os.environ and sys.path
    assert grade(TASK, right).passed
    torch.set_default_dtype(torch.float64)
    try:
        assert grade(TASK, right).passed
    finally:
        torch.set_default_dtype(torch.float32)


def prints(x, scale):
    print("hello" * 1000)
    print("oops", file=sys.stderr)
    os.write(2, b"raw")
    return right(x, scale)


def warns(x, scale):
    warnings.warn("careful", stacklevel=1)
    return right(x, scale)


def slow_at_first(x, scale, done=[]):  # noqa: B006
    if not done:
        done.append(threading.Event().wait(0.5))
    return right(x, scale)


def uses_threads(x, scale):
    out = []
    thread = threading.Thread(target=lambda: out.append(right(x, scale)))
    thread.start()
    thread.join()
    return out[0]


def catches_its_own_errors(x, scale):
    try:
        raise KeyError
    except KeyError:
        return right(x, scale)


@pytest.mark.parametrize("fair", [prints, warns, slow_at_first, uses_threads, catches_its_own_errors])
def test_fair_answers_pass(fair, capfd):
    """Catches a containment that refuses right answers, and output of an answer that reaches the notebook's streams."""
    assert grade(TASK, fair).passed
    out, err = capfd.readouterr()
    assert out == "" and err == ""


def test_answers_cannot_be_had_from_the_library():
    """Catches a task whose answer is one call into the course."""

    def borrowed(x, mean, cov):
        from course_lib import gaussian

        return gaussian.log_prob(x, mean, cov)

    result = grade("gaussian_log_prob", borrowed)
    assert result.stage == "forbidden" and "course_lib.gaussian" in result.message

    def from_the_tasks(x, mean, cov):
        return TASKS["gaussian_log_prob"].reference(x, mean, cov)

    assert grade("gaussian_log_prob", from_the_tasks).stage == "forbidden"


def test_sources_of_the_answers_cannot_be_read():
    """Catches a reference that an answer copies from its file."""
    assert grade(TASK, reads_the_source).stage == "forbidden"


def test_patches_are_lifted_inside_the_block_and_back_after_it(monkeypatch):
    """Catches a judge that works with patched tools, and one that takes a notebook's own patches away."""
    original, patch = torch.logsumexp, lambda *args: None
    monkeypatch.setattr(torch, "logsumexp", patch)
    monkeypatch.setattr(torch.Tensor, "all", patch, raising=False)
    with pristine():
        assert torch.logsumexp is original and bool(torch.ones(2).all())
        torch.logsumexp = None
    assert torch.logsumexp is patch and torch.Tensor.all is patch
