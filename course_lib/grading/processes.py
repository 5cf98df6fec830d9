"""The descendants of this process, as the kernel lists them: how much they use, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import time

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Table:
    """The kernel's list of processes, held open from before /proc is hidden; empty where there is none."""

    def __init__(self) -> None:
        try:
            self.folder = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            self.folder = None

    def start(self) -> None:
        """Note who this process is, in the numbers of the list, and what it has been forked with."""
        self.me = self._me()
        self.inherited = self.private_memory(self.me)

    def _me(self) -> int:
        try:
            return int(os.readlink("self", dir_fd=self.folder))
        except (OSError, ValueError, TypeError):
            return os.getpid()

    def _read(self, pid: int, name: str) -> bytes:
        if self.folder is None:
            raise FileNotFoundError(name)
        fd = os.open(f"{pid}/{name}", os.O_RDONLY, dir_fd=self.folder)
        try:
            return os.read(fd, 4096)
        finally:
            os.close(fd)

    def descendants(self) -> list[int]:
        """Every living descendant of this process, in the numbers of the list."""
        children: dict[int, list[int]] = {}
        for name in os.listdir(self.folder) if self.folder is not None else ():
            # A process may end while it is looked at. Its name may hold anything: count from the closing bracket.
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int(self._read(int(name), "stat").rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
        result, front = [], [self.me]
        while front:
            front = [child for pid in front for child in children.get(pid, ())]
            result += front
        return result

    def private_memory(self, pid: int) -> int:
        """Bytes of resident memory of a process that are no file's; 0 where the system does not say."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = self._read(pid, "statm").split()
            return (int(fields[1]) - int(fields[2])) * _PAGE
        return 0

    def address_space(self) -> int | None:
        """Bytes of address space this process has, or None where the system does not say."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(self._read(self.me, "statm").split()[0]) * _PAGE
        return None

    def use(self) -> tuple[int, int]:
        """How many descendants there are, and the bytes of memory each has beyond what it was forked with, summed."""
        found = self.descendants()
        return len(found), sum(max(0, self.private_memory(pid) - self.inherited) for pid in found)

    def end_all(self, group: int, *, everyone: bool) -> None:
        """Kill and reap every descendant.

        Args:
            group: the process group to end at least.
            everyone: this process is the first of a pid namespace, in which there is nobody else to spare.
        """
        if not everyone:
            end_descendants(group, table=self)
            return
        while True:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return


def end_descendants(child: int, *, table: Table | None = None, patience: float = 10.0) -> None:
    """Kill and reap every descendant; where the kernel does not list them, `child` and its group.

    This process is the parent of orphans (`isolation.guard_self`), so none escapes by being forked twice; the first
    process of a pid namespace takes all others of that namespace with it.
    """
    if table is None:
        table = Table()
        table.start()
        own = table.folder
    else:
        own = None
    try:
        until = time.monotonic() + patience
        while time.monotonic() < until:
            for end in (lambda: os.killpg(child, signal.SIGKILL), lambda: os.kill(child, signal.SIGKILL)):
                if table.folder is None:
                    with contextlib.suppress(OSError):
                        end()
            found = table.descendants()
            for pid in found:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.0005)
    finally:
        if own is not None:
            os.close(own)
