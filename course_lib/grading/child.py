"""What a forked child gives up before it runs an answer: the right answers, its parent's files, time and memory.

Nothing here can hold against code that means to break out of its own process; it keeps mistakes and mischief from
doing harm, and right answers out of sight. Submissions of strangers run in `sandbox`.
"""

from __future__ import annotations

import contextlib
import gc
import linecache
import os
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from course_lib.grading import probe, traps
from course_lib.grading.task import ANSWERS, Task

STARTED, DONE = b"c", b"R"
LENGTH = struct.Struct("<Q")
OUT_OF_MEMORY = 71
_GRADING = Path(__file__).resolve().parent
_HIDDEN = (str(_GRADING / "tasks") + os.sep, str(_GRADING.parent.parent / "solutions") + os.sep)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_DENIED = frozenset(
    """os.remove os.rename os.rmdir os.mkdir os.link os.symlink os.truncate os.chmod os.chown os.fork os.forkpty os.exec
    os.posix_spawn os.spawn os.system os.killpg subprocess.Popen shutil.rmtree shutil.move pty.spawn socket.connect
    socket.bind resource.setrlimit resource.prlimit gc.get_objects gc.get_referrers gc.get_referents""".split()
)
_DENIED_SYMBOLS = frozenset(
    "kill killpg fork vfork clone unlink remove rmdir rename execve system popen ptrace syscall setrlimit".split()
)


def run(task: Task, answer: Callable, request: bytes, out: int, *, seconds: float | int, memory: int) -> None:
    """Observe an answer and send what was seen through the file descriptor `out`; never returns."""
    status = 1
    try:
        os.setsid()
        _close_files(out)
        _limit(seconds, memory)
        torch.set_num_threads(1)
        gc.freeze()  # the parent's objects are not this process's to finalise
        _disarm(task)
        sys.addaudithook(_audit)
        seen = probe.observe(answer, request, on_case=lambda _: os.write(out, STARTED))
        _send(out, DONE + LENGTH.pack(len(seen)) + seen)
        status = 0
    except MemoryError:
        status = OUT_OF_MEMORY
    finally:
        os._exit(status)


def _send(out: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]


def _close_files(out: int) -> None:
    """Only `out` and the null device stay open: a notebook's sockets and a file's buffers are the parent's."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, out)
    os.closerange(out + 1, 65536)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)  # an event loop of the parent listens at the other end
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def _limit(seconds: float | int, memory: int) -> None:
    import resource

    limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limits["RLIMIT_CPU"] = int(usage.ru_utime + usage.ru_stime + seconds) + 2  # should the parent die before it kills
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits["RLIMIT_AS"] = pages * resource.getpagesize() + memory
    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError):
            hard = resource.getrlimit(getattr(resource, name))[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(getattr(resource, name), (value, value))


def _disarm(task: Task) -> None:
    """Put traps in place of everything that computes this task's right answer, and forget its source."""
    functions = [task.reference, task.cases, task.compare, task.canonical, *(m.answer for m in task.mistakes)]
    traps.set_traps(ANSWERS, None, [function for function in functions if function is not None])
    for name in [name for name in linecache.cache if "tasks" in name or "solutions" in name]:
        del linecache.cache[name]


def _audit(event: str, args: tuple) -> None:
    if event == "open":
        path, _, flags = args
        if isinstance(path, int):
            return
        path = os.path.realpath(os.fsdecode(path))
        if path.startswith(_HIDDEN):
            traps.hit(os.path.basename(path))
        writes = isinstance(flags, int) and flags & _WRITES
        if (writes and path != os.devnull) or (path.startswith("/proc/") and path.endswith("/mem")):
            raise PermissionError(f"an answer may not write files (it tried {path})")
    elif event in _DENIED:
        raise PermissionError(f"an answer may not use {event}")
    elif event == "os.kill" and args[0] != os.getpid():
        raise PermissionError("an answer may not signal other processes")
    elif event == "ctypes.dlsym" and args[1] in _DENIED_SYMBOLS:
        raise PermissionError(f"an answer may not call {args[1]}")
