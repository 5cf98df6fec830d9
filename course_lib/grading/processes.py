"""The descendants of this process, as the kernel lists them: how much they use, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import time

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def descendants() -> list[int]:
    """Every living descendant of this process; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    try:
        entries = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for name in entries:
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
            # The command's name may hold anything, so the fields are counted from its closing bracket.
            children.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    result, front = [], [os.getpid()]
    while front:
        front = [child for pid in front for child in children.get(pid, ())]
        result += front
    return result


def private_memory(pid: int | str) -> int:
    """Bytes of resident memory of a process that are no file's; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm") as file:
        fields = file.read().split()
        return (int(fields[1]) - int(fields[2])) * _PAGE
    return 0


def descendants_use(inherited: int) -> tuple[int, int]:
    """How many descendants there are, and the bytes of memory each has beyond what it was forked with, summed."""
    found = descendants()
    return len(found), sum(max(0, private_memory(pid) - inherited) for pid in found)


def end_descendants(group: int, patience: float = 5.0) -> None:
    """Kill and reap every descendant; where the kernel does not list them, at least the process group `group`.

    This process is the parent of orphans (`isolation.guard_self`), so none escapes by being forked twice; the first
    process of a pid namespace takes all others of that namespace with it.
    """
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)
    until = time.monotonic() + patience
    while time.monotonic() < until:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        found = descendants()
        if not found:
            return
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.0005)
