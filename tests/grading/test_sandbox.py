"""Answers run locked up: what they may not see, reach, keep or use up, they do not; the next one never notices."""

# ruff: noqa: E501 (students' code in one line each)

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
import torch

from course_lib.grading import codec
from course_lib.grading import sandbox as sandbox_module
from course_lib.grading.sandbox import Sandbox
from course_lib.grading.submission import Cell

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the sandbox needs Linux or macOS")
WRAPPED = shutil.which("bwrap") is not None
REQUEST = codec.encode({"signature": ["x"], "forbidden": [], "cases": [{"args": (torch.arange(3.0),), "grad": []}]})


@pytest.fixture(scope="module", params=[True, False], ids=["bubblewrap", "plain"])
def sandbox(request):
    if request.param and not WRAPPED:
        pytest.skip("bubblewrap is not installed")
    with Sandbox(lambda task: REQUEST, timeout=3.0, memory=300, output=1000, bubblewrap=request.param) as box:
        assert (box.weaker is None) == request.param
        yield box


def run(box, *sources, tasks=("f",)):
    cells = tuple(Cell(source, None, number) for number, source in enumerate(sources, 1))
    return box.run(cells, list(tasks))


def returned(outcome):
    """What the answer returned, or its error."""
    assert outcome.status == "observed", outcome
    record = codec.decode(outcome.observed)["records"][0]
    return record["error"]["type"] if record["error"] else record["outputs"]


def test_an_answer_comes_back_as_bytes(sandbox):
    """Catches a worker that loses or changes a value, and prints mixed into the result."""
    outcome = run(
        sandbox, "import sys", "def f(x):\n    print('seen', flush=True)\n    sys.stderr.write('too')\n    return x * 2"
    )["f"]
    assert torch.equal(returned(outcome), torch.tensor([0.0, 2.0, 4.0]))
    assert "seen" in outcome.output and "too" in outcome.output


FATES = {
    "loop": ("def f(x):\n    while True: pass", "timeout"),
    "deaf loop": ("def f(x):\n  while True:\n    try:\n      while True: pass\n    except BaseException: pass", "timeout"),
    "deaf sleeper": ("import signal, time\ndef f(x):\n  [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15, 14)]\n  time.sleep(99)", "timeout"),
    "memory": ("def f(x):\n    a = []\n    while True:\n        try: a.append(bytearray(2**22))\n        except MemoryError: pass", ("memory", "timeout")),
    "many small": ("import os, time\ndef f(x):\n  for i in range(8):\n    if os.fork() == 0:\n      a = bytearray(b'x' * (100 * 2**20)); time.sleep(9)\n  time.sleep(9)", "memory"),
    "exit": ("import os\ndef f(x): os._exit(0)", "crashed"),
    "exit while loading": ("import os\nt = os._exit(3)\ndef f(x): return t", "crashed"),
    "hang while loading": ("import time\nt = time.sleep(99)\ndef f(x): return t", "timeout"),
    "kill itself": ("import os\ndef f(x): os.kill(os.getpid(), 9)", "crashed"),
    "segfault": ("import ctypes\ndef f(x): ctypes.string_at(0)", "crashed"),
    "abort": ("import os\ndef f(x): os.abort()", "crashed"),
    "deep recursion": ("import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)\nsys.setrecursionlimit(10**9)", ("crashed", "observed", "memory")),
    "garbage in the channel": ("import os\ndef f(x):\n    for fd in range(3, 20):\n        try: os.write(fd, b'L' + b'\\xff' * 5000)\n        except OSError: pass\n    return x", "crashed"),
    "closed channel": ("import os\ndef f(x):\n    os.closerange(0, 100)\n    return x", "crashed"),
    "missing": ("x = 1", "missing"),
    "raises while loading": ("t = 1 / 0\ndef f(x): return x\nf = t", "observed"),
    "no definition": ("f = 1 / 0", "error"),
}  # fmt: skip


@pytest.mark.parametrize("name", FATES)
def test_a_bad_answer_costs_its_own_task(sandbox, name):
    """Catches a loop, crash or memory blow-up that takes another task, or the worker, with it."""
    source, expected = FATES[name]
    started = time.monotonic()
    outcomes = run(sandbox, source, "def g(x): return x + 1", tasks=("f", "g"))
    assert outcomes["f"].status in (expected if isinstance(expected, tuple) else (expected,)), outcomes["f"]
    assert torch.equal(returned(outcomes["g"]), torch.tensor([1.0, 2.0, 3.0]))
    assert time.monotonic() - started < 40


def test_exit_and_interrupt_are_errors_of_the_answer(sandbox):
    """Catches SystemExit or KeyboardInterrupt ending the worker."""
    assert returned(run(sandbox, "def f(x): raise SystemExit(0)")["f"]) == "SystemExit"
    assert returned(run(sandbox, "def f(x): raise KeyboardInterrupt")["f"]) == "KeyboardInterrupt"


def test_output_is_cut(sandbox):
    """Catches an answer that floods the grader with what it prints, or blocks when nobody reads."""
    outcome = run(sandbox, "def f(x):\n    print('y' * 10**7)\n    return x")["f"]
    assert returned(outcome).shape == (3,) and len(outcome.output) == 1000


def test_there_is_no_network(sandbox):
    """Catches a worker that shares the machine's network (a listener of ours must be out of its reach)."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = f"import socket\ndef f(x):\n    socket.socket().connect((b'127.0.0.1', {port}))\n    return x"
        assert returned(run(sandbox, source)["f"]) in ("ConnectionRefusedError", "OSError")


def test_nothing_outside_scratch_can_be_written(sandbox, tmp_path):
    """Catches a course, a Python or a folder of the grader that an answer can change."""
    os.chmod(tmp_path, 0o777)
    places = [os.__file__, torch.__file__, str(tmp_path / "x"), "/dev/x", "/x", codec.__file__]
    source = (f"import os\ndef f(x):\n    for p in {places!r}:\n        try: open(p, 'a').write('x'); return p\n"
              "        except OSError: pass\n    open('ok', 'w').write('x')\n    return os.getcwd()")  # fmt: skip
    scratch = Path(returned(run(sandbox, source)["f"]))
    assert scratch in (Path("/tmp"), Path("/var/tmp"))
    assert not (tmp_path / "x").exists() and not (scratch / "ok").exists()


def test_scratch_never_covers_the_course(monkeypatch):
    """Catches a checkout below /tmp that the scratch folder hides, so that no worker can start."""
    monkeypatch.setattr(sandbox_module, "_shown", lambda: {Path("/usr"), Path("/tmp/course/.venv")})
    assert sandbox_module._scratch() == "/var/tmp"
    monkeypatch.setattr(sandbox_module, "_shown", lambda: {Path("/usr"), Path("/tmpfoo")})
    assert sandbox_module._scratch() == "/tmp"


def test_answers_are_out_of_sight(sandbox):
    """Catches tasks, solutions or tests being readable, or importable, where answers run."""
    from course_lib.grading.sandbox import _answers

    hidden = [str(folder) for folder in _answers()]
    source = (f"import os\ndef f(x):\n    seen = []\n    for p in {hidden!r}:\n        try: seen += os.listdir(p)\n"
              "        except OSError: pass\n    return len(seen)")  # fmt: skip
    assert returned(run(sandbox, source)["f"]) == 0
    source = "def f(x):\n    import course_lib.grading.tasks.ex01_density_estimation\n    return x"
    assert returned(run(sandbox, source)["f"]) == "ModuleNotFoundError"


@pytest.mark.skipif(not WRAPPED, reason="bubblewrap is not installed")
def test_other_submissions_are_out_of_sight(tmp_path):
    """Catches one student reading another's notebook, wherever the folder lies."""
    (tmp_path / "bob.ipynb").write_text("secret")
    os.chmod(tmp_path, 0o755)
    source = f"def f(x):\n    return open({str(tmp_path / 'bob.ipynb')!r}).read()"
    with Sandbox(lambda task: REQUEST, timeout=5.0, hide=(tmp_path,)) as box:
        assert returned(run(box, source)["f"]) in ("FileNotFoundError", "PermissionError")


def test_nothing_is_left_for_the_next_submission(sandbox):
    """Catches files, processes or patches of one submission reaching the next, or a worker that can be killed."""
    nasty = """
import os, time, torch
def f(x):
    open('/tmp/left', 'w').write('x')
    if os.path.isdir('/dev/shm'): open('/dev/shm/left', 'w').write('x')
    torch.Tensor.__add__ = None
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True: time.sleep(1)
        os._exit(0)
    for pid in range(1, 60):
        if pid != os.getpid():
            try: os.kill(pid, 9)
            except OSError: pass
    return x
"""
    run(sandbox, nasty)
    process = sandbox.process
    look = "import os\ndef f(x):\n    kept = [p for p in ('/tmp/left', '/dev/shm/left') if os.path.exists(p)]\n    return (x + 1, len(kept))"
    result, kept = returned(run(sandbox, look)["f"])
    assert torch.equal(result, torch.tensor([1.0, 2.0, 3.0])) and kept == 0
    assert sandbox.process is process and process.poll() is None


def test_processes_are_limited(sandbox):
    """Catches a fork bomb that spreads over the machine."""
    source = """
import os, time
def f(x):
    n = 0
    try:
        while n < 2000:
            if os.fork() == 0:
                time.sleep(20); os._exit(0)
            n += 1
    except OSError: pass
    return n
"""
    outcome = run(sandbox, source)["f"]
    assert outcome.status == "crashed" or returned(outcome) < 64


def test_privileges_are_gone(sandbox):
    """Catches an answer that may trace, mount, enter namespaces or take memory that no limit counts."""
    source = """
import ctypes, os
def f(x):
    libc = ctypes.CDLL(None, use_errno=True)
    tries = [libc.unshare(0x10000000), libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), libc.ptrace(16, 1, 0, 0),
             libc.setns(0, 0), libc.prctl(24, 21, 0, 0, 0), libc.shmget(0, 2**30, 0o1600)]
    return all(t < 0 for t in tries) and os.getuid() != 0
"""
    assert returned(run(sandbox, source)["f"]) is True


def test_a_lost_worker_is_replaced(sandbox):
    """Catches a batch that stops when its worker dies."""
    os.killpg(sandbox.process.pid, signal.SIGKILL)
    outcomes = run(sandbox, "def f(x): return x", "def g(x): return x", tasks=("f", "g"))
    assert outcomes["f"].status == "crashed"
    assert returned(outcomes["g"]).shape == (3,)


def test_nothing_survives_closing():
    """Catches workers that outlive the grader's interest in them."""
    import psutil

    with Sandbox(lambda task: REQUEST, timeout=5.0) as box:
        run(box, "def f(x): return x")
        children = psutil.Process(box.process.pid).children(recursive=True)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives way to another user")
def test_a_private_python_is_said(monkeypatch):
    """Catches a root whose Python others cannot read, and answers that fail there without anyone being told why."""
    for folder in (None, Path("/root")):
        monkeypatch.setattr(sandbox_module, "_private", lambda folder=folder: folder)
        with Sandbox(lambda task: b"", bubblewrap=False) as box:
            assert box.weaker.count(".") == 1 and ("/root" in box.weaker) == (folder is not None)


def test_a_private_folder_is_found_on_the_way_to_python(monkeypatch):
    """Catches looking at the last folder alone: one closed folder anywhere above it is enough."""
    with tempfile.TemporaryDirectory() as name:
        closed = Path(name).resolve()
        (closed / "lib").mkdir(mode=0o755)
        monkeypatch.setattr(sandbox_module, "_libraries", lambda: [])
        monkeypatch.setattr(sandbox_module.sysconfig, "get_path", lambda name: str(closed / "lib"))
        assert sandbox_module._private() == closed
        closed.chmod(0o755)
        assert sandbox_module._private() is None
