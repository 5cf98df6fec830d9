"""`grade`: one answer, in a process of its own where the platform has one, judged where it cannot reach.

On Linux the answer runs in a forked child (see `child`): one torch thread, limits on memory, processor and files, and
no right answer in sight. It sends bytes, the parent judges them. Elsewhere (Windows, macOS, a process that uses CUDA,
where a fork is not safe) the answer runs in a guarded thread, which can be given up but not killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import secrets
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable

import torch

from course_lib import checks
from course_lib.grading import TASKS, child, codec, judge, probe, verdicts
from course_lib.grading.pristine import pristine
from course_lib.grading.task import Case, Result, Task

#: What an answer may take beyond the memory its process holds already, in bytes.
MEMORY = 1 << 30
_LARGEST = 2 * codec.MAX_BYTES


def grade(task: str | Task, answer: object, *, seed: int | None = None, timeout: float | int = 10.0) -> Result:
    """Judge one answer on fresh random inputs; a wrong, slow or crashing answer is a verdict, never an exception.

    Args:
        task: the function's name (or a `Task` of your own).
        answer: the function to be judged.
        seed: of the inputs, a whole number; None draws a fresh one.
        timeout: seconds that the answer has for all its calls together.

    Returns:
        A `Result` with `.passed`, `.score` (0 or 1), `.message` and `.diagnosis`.

    Raises:
        KeyError: no task has that name.
        ValueError: the timeout or the seed is not a number that makes sense.
    """
    with pristine():
        task = task if isinstance(task, Task) else TASKS[task]
        timeout = checks.number(timeout, "timeout", above=0)
        seed = secrets.randbits(48) if seed is None else checks.count(seed, "seed", at_least=0)
        if not callable(answer):
            text = f"`{task.name}` should be a function; what you hand in is of type {type(answer).__name__}."
            return verdicts.outcome(task, "wrong", text, stage="callable", step=f"Write `def {task.name}(...)`.")
        cases, request = judge.request(task, seed)
        run = in_child if can_fork() else in_thread
        seen = run(task, answer, cases, request, timeout)
        return seen if isinstance(seen, Result) else judge.judge(task, cases, seen)


def can_fork() -> bool:
    """Whether a fork of this process is safe: Linux, and no GPU in use."""
    return sys.platform == "linux" and not torch.cuda.is_initialized()


def in_child(task: Task, answer: Callable, cases: list[Case], request: bytes, timeout: float | int) -> bytes | Result:
    """Run an answer in a forked child; its observation, or a verdict if none came back."""
    deadline = time.monotonic() + timeout
    end, out = os.pipe()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of threads; the child touches none of them
            pid = os.fork()
    except OSError:  # no process to be had
        os.close(end)
        os.close(out)
        return in_thread(task, answer, cases, request, timeout)
    if pid == 0:
        child.run(task, answer, request, out, seconds=timeout, memory=MEMORY)
    os.close(out)
    data = bytearray()
    try:
        complete = _read(end, data, deadline)
    finally:  # also when the student presses the stop button
        os.close(end)
        status = _end(pid, wait=not data.lstrip(child.STARTED) and time.monotonic() < deadline)
    reached = len(data) - len(data.lstrip(child.STARTED)) - 1
    if complete:
        return bytes(data.lstrip(child.STARTED)[1 + child.LENGTH.size :])
    where = {"cases": cases, "reached": reached if reached >= 0 else None}
    if time.monotonic() >= deadline or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return verdicts.timed_out(task, timeout, **where)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == child.OUT_OF_MEMORY:
        return verdicts.out_of_memory(task, **where)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return verdicts.crashed(task, f"signal {number}, {signal.strsignal(number)}", **where)
    return verdicts.crashed(task, f"exit status {os.WEXITSTATUS(status)}", **where)


def _read(end: int, data: bytearray, deadline: float) -> bool:
    """Collect what the child sends until it is one whole observation; False at the deadline, at its end, or on junk."""
    poll = select.poll()
    poll.register(end, select.POLLIN | select.POLLHUP)
    while (left := deadline - time.monotonic()) > 0:
        if not poll.poll(1000 * left):
            break
        chunk = os.read(end, 1 << 20)
        data += chunk
        body = data.lstrip(child.STARTED) if len(data) < 1 << 16 or not chunk else None
        if not chunk:
            return _whole(body)
        if len(data) > _LARGEST or (body and body[:1] != child.DONE):
            return False
        if body is not None and _whole(body):
            return True
    return False


def _whole(body: bytearray) -> bool:
    head = 1 + child.LENGTH.size
    return body[:1] == child.DONE and len(body) >= head and child.LENGTH.unpack_from(body, 1)[0] == len(body) - head


def _end(pid: int, *, wait: bool) -> int:
    """Make sure that the child and what it started are gone; its exit status."""
    if wait:  # it closed the pipe by itself, so it is ending: learn how
        for _ in range(200):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status
            time.sleep(0.001)
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:  # somebody else's handler has collected it
        return 0


def in_thread(task: Task, answer: Callable, cases: list[Case], request: bytes, timeout: float | int) -> bytes | Result:
    """Run an answer in a thread of this process: weaker, since it can be asked to stop but not made to."""
    seen: dict = {}

    def work() -> None:
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                seen["bytes"] = probe.observe(answer, request, on_case=lambda i: seen.update(reached=i))
        except probe.Stop:
            pass
        except BaseException as error:
            seen["error"] = type(error).__name__

    thread = threading.Thread(target=work, name=f"grading {task.name}", daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(probe.Stop))
        thread.join(0.2)
        return verdicts.timed_out(task, timeout, cases, seen.get("reached"))
    if "bytes" not in seen:
        return verdicts.crashed(task, seen.get("error", "it ended its thread"), cases, seen.get("reached"))
    return seen["bytes"]
