"""The grader's end of a worker: starts it as locked up as this machine can, sends code and inputs, receives bytes.

With bubblewrap the worker has no network, sees python and the course (without tasks and solutions) read-only and
nothing else of the machine. Without it, it is a separate process with fewer rights. Either way every answer runs in a
child of its own, with limits on memory, time, processes and output. Nothing received is unpickled or trusted.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import course_lib
from course_lib.grading.submission import Cell

_FRAME_HEAD, _MAX_HEADER, _MAX_BLOB = 8, 2**20, 160 * 2**20
_NOBODY = 65534
# Importing torch makes many objects and hardly any garbage, and a collector in a child would copy every page it reads.
_START = "import gc; gc.disable(); from course_lib.grading import worker; worker.main()"
START_SECONDS = 120.0


class SandboxError(RuntimeError):
    """No worker could be started on this machine; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What became of one task of a submission: a status, or `observed` with the bytes for the judge."""

    status: str
    message: str = ""
    trace: str = ""
    output: str = ""
    seconds: float = 0.0
    stage: str = ""
    observed: bytes = b""


class Sandbox:
    """One worker process and the limits that its answers run under.

    Args:
        request: gives the encoded request of a task (`judge.request`); asked for and sent once per worker.
        timeout: seconds an answer may take, and seconds what it needs may take to load.
        memory: MB an answer may take beyond what torch itself does.
        output: bytes kept of what a task prints.
        hide: folders no answer may see, whether or not they lie inside what is shown.
        bubblewrap: whether to use it where it is installed.
    """

    def __init__(self, request: Callable[[str], bytes], *, timeout: float = 10.0, memory: int = 2048,
                 output: int = 4000, hide: tuple[Path, ...] = (), bubblewrap: bool = True):  # fmt: skip
        self.request, self.timeout = request, timeout
        self._sent: set[str] = set()
        self._killed = False
        self.config = {"timeout": timeout, "memory": memory, "output": output}
        self.hide = [folder for folder in (*_answers(), *hide) if folder.is_dir()]
        self.bubblewrap = bubblewrap
        self.process: subprocess.Popen | None = None
        self.weaker: str | None = None
        self._mode: int | None = None
        self._buffer = bytearray()

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def start(self) -> None:
        """Start the worker in the strictest way that works here.

        Raises:
            SandboxError: if none works.
        """
        if not hasattr(os, "fork"):
            raise SandboxError("grading a folder needs Linux or macOS; on Windows run it inside WSL")
        problems = []
        modes = _modes(self.bubblewrap)
        for number, (wrapped, uid) in enumerate(modes):
            if self._mode is not None and number != self._mode:
                continue
            try:
                self._launch(wrapped, uid)
            except (OSError, SandboxError) as error:
                self.close()
                problems.append(f"{'with' if wrapped else 'without'} bubblewrap: {error}")
                continue
            self._mode = number
            return
        raise SandboxError("no worker process could be started; " + "; ".join(problems))

    def _launch(self, wrapped: bool, uid: int | None) -> None:
        config = {**self.config, "uid": uid, "sealed": wrapped, "nested": True}
        config["hide"] = [str(folder) for folder in self.hide] if not wrapped else []
        self._errors = tempfile.TemporaryFile()
        worker = [sys.executable, "-s", "-P", "-c", _START, json.dumps(config)]
        command = [*_bubblewrap(self.hide, keep_root=uid is not None), *worker] if wrapped else worker
        self._buffer.clear()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=_environment(),
            cwd="/", bufsize=0, start_new_session=True, close_fds=True,
        )  # fmt: skip
        os.set_blocking(self.process.stdout.fileno(), False)
        header, _ = self._receive(time.monotonic() + START_SECONDS)
        if header.get("op") != "ready":
            raise SandboxError("the worker said something unexpected")
        self.weaker = _weaker(wrapped, header.get("nested") is True)
        if self.weaker and not wrapped and uid is not None and (folder := _private()):
            self.weaker = self.weaker.removesuffix(".") + (
                f"; and since root gives way to an ordinary user, who cannot open {folder}, an answer that imports a "
                "module of Python's which is not loaded yet finds it missing."
            )
        self._sent.clear()

    def run(self, cells: tuple[Cell, ...], tasks: list[str]) -> dict[str, Outcome]:
        """Run every task of one submission; a worker that is lost on the way costs the task it was lost in."""
        code = json.dumps([[cell.source, cell.grade_id, cell.number] for cell in cells]).encode()
        outcomes: dict[str, Outcome] = {}
        while remaining := [task for task in tasks if task not in outcomes]:
            if self._killed:
                raise SandboxError("grading was stopped")
            if self.process is None:
                self.start()
            current = remaining[0]
            try:
                for task in remaining:
                    if task not in self._sent:
                        self._send({"op": "task", "task": task}, self.request(task))
                        self._sent.add(task)
                self._send({"op": "grade", "tasks": remaining}, code)
                for current in remaining:
                    header, blob = self._receive(time.monotonic() + 2 * self.timeout + 40)
                    if header.get("task") != current:
                        raise SandboxError("the worker answered out of order")
                    outcomes[current] = _outcome(header, blob)
            except (OSError, SandboxError) as error:
                self.close()
                if current not in outcomes:
                    outcomes[current] = Outcome("crashed", f"the sandbox was lost while it ran: {error}")
        return outcomes

    def kill(self) -> None:
        """End the worker at once, from any thread; whoever waits for it gets a SandboxError."""
        self._killed = True
        if (process := self.process) is not None:
            process.kill()

    def close(self) -> None:
        """End the worker and everything below it."""
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(0.5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        self._errors.close()

    def _send(self, header: dict, blob: bytes) -> None:
        text = json.dumps(header).encode()
        data = memoryview(len(text).to_bytes(4, "little") + len(blob).to_bytes(4, "little") + text + blob)
        while data:
            data = data[self.process.stdin.write(data) :]

    def _receive(self, deadline: float) -> tuple[dict, bytes]:
        """The next frame, checked; raises SandboxError if none comes in time or it is none of ours."""
        size = int.from_bytes(self._take(4, deadline), "little")
        blob = int.from_bytes(self._take(4, deadline), "little")
        if size > _MAX_HEADER or blob > _MAX_BLOB:
            raise SandboxError("the worker sent a message beyond measure")
        try:
            header = json.loads(self._take(size, deadline))
        except (ValueError, RecursionError):
            raise SandboxError("the worker sent a malformed message") from None
        if not isinstance(header, dict):
            raise SandboxError("the worker sent a malformed message")
        return header, self._take(blob, deadline)

    def _take(self, size: int, deadline: float) -> bytes:
        fd = self.process.stdout.fileno()
        while len(self._buffer) < size:
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([fd], [], [], wait)[0]:
                raise SandboxError("the worker did not answer in time")
            data = os.read(fd, 2**20)
            if not data:
                raise SandboxError("the worker ended" + self._last_words())
            self._buffer += data
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _last_words(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            self._errors.seek(0)
            lines = self._errors.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
            return f": {lines[-1][:300]}" if lines else ""
        return ""


def _outcome(header: dict, blob: bytes) -> Outcome:
    text = {key: str(header.get(key, ""))[:8000] for key in ("status", "message", "trace", "output", "stage")}
    seconds = header.get("seconds")
    return Outcome(**text, seconds=seconds if isinstance(seconds, float) else 0.0, observed=blob)


def _modes(bubblewrap: bool) -> list[tuple[bool, int | None]]:
    """(inside bubblewrap, user to become) from strict to weak. The limit on processes binds everyone but root."""
    root = os.geteuid() == 0
    modes: list[tuple[bool, int | None]] = []
    if bubblewrap and sys.platform == "linux" and shutil.which("bwrap"):
        modes += [(True, _NOBODY), (True, None)] if root else [(True, None)]
    return [*modes, (False, _NOBODY if root else None)]


def _weaker(wrapped: bool, nested: bool) -> str | None:
    """One sentence on what this machine's isolation lacks, or None if it lacks nothing."""
    if wrapped and nested:
        return None
    if wrapped:
        return (
            "This machine allows no namespaces inside bubblewrap: submissions share one scratch folder and "
            "process list, so that a hostile one could disturb the next."
        )
    if nested:
        return (
            "bubblewrap is not in use: answers have no network and cannot write outside their scratch folder, "
            "but they can read the files of this machine that everyone may read."
        )
    return (
        "bubblewrap is not in use: answers run in a separate process with limits on memory, time and output, "
        "but they can reach the network, read this machine's files and write where its user may."
    )


def _private() -> Path | None:
    """A folder that only its owner may enter, on the way to Python and its packages; None if everyone may."""
    ways = [Path(sysconfig.get_path("stdlib")).resolve(), *(Path(p).resolve() for p in _libraries())]
    folders = (folder for way in ways for folder in (*reversed(way.parents), way))
    return next((folder for folder in folders if not folder.stat().st_mode & stat.S_IXOTH), None)


def _answers() -> list[Path]:
    """The folders of this course that hold answers, in a checkout or an installed package."""
    package = Path(course_lib.__file__).resolve().parent
    root = package.parent
    folders = [package / "grading" / "tasks"]
    if (root / "pyproject.toml").is_file():
        folders += [root / name for name in ("solutions", "tests", "exercises", ".git")]
    return folders


def _environment() -> dict[str, str]:
    """A small environment: nothing of the instructor's leaks in, one thread, no caches written."""
    keep = {key: os.environ[key] for key in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ") if key in os.environ}
    package = Path(course_lib.__file__).resolve().parent
    search, scratch = [str(package.parent), *_libraries()], _scratch()
    return keep | {
        "PATH": "/usr/bin:/bin", "HOME": scratch, "TMPDIR": scratch, "USER": "student", "LOGNAME": "student",
        "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join(search), "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        "COURSE_CACHE": f"{scratch}/course", "PYTHONSAFEPATH": "1", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip


def _libraries() -> list[str]:
    """Folders of installed packages on this process's path: what torch and numpy are imported from."""
    return [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages") and os.path.isdir(p)]


def _shown() -> set[Path]:
    """What an answer needs of this machine: Python, its packages, the course and its data, the system's libraries."""
    package = Path(course_lib.__file__).resolve().parent
    shown = {Path("/usr"), Path(sys.prefix), Path(sys.base_prefix), Path(sysconfig.get_path("stdlib")), package}
    shown |= {Path(p) for p in _libraries()} | {Path(p).resolve() for p in _libraries()}
    shown |= {Path(sys.executable).parent, Path(os.path.realpath(sys.executable)).parent, package.parent / "data"}
    shown |= {Path(p) for p in ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/nix/store")}
    shown |= {Path(p) for p in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if p}
    return {path for path in shown if path.exists() and path != Path("/")}


def _scratch() -> str:
    """The folder that is empty and writable for each answer: /tmp, unless Python or the course itself lie in it."""
    shown = _shown()
    free = (name for name in ("/tmp", "/var/tmp") if not any(path.is_relative_to(name) for path in shown))
    return next(free, "/tmp")


def _bubblewrap(hide: list[Path], *, keep_root: bool) -> list[str]:
    """The bubblewrap command line up to the program to run.

    Args:
        hide: folders covered by an empty one wherever they would be visible.
        keep_root: start as root with the right to change user and nothing else, for the worker to become nobody; else
            as the present user in a user namespace.
    """
    shown = _shown()
    command = ["bwrap", "--die-with-parent", "--new-session", "--unshare-ipc", "--unshare-pid", "--unshare-net"]
    command += ["--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"]
    if keep_root:
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user"]
    for name in ("/lib", "/lib64", "/lib32", "/bin", "/sbin"):
        if os.path.islink(name):
            command += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            command += ["--ro-bind", name, name]
    if keep_root:  # bubblewrap makes the folders on the way readable by their owner alone, and nobody is not that
        for parent in sorted({parent for path in shown for parent in path.parents} - {Path("/")}):
            if not any(parent.is_relative_to(path) for path in shown):
                command += ["--perms", "0755", "--dir", str(parent)]
    for path in sorted(shown):
        if not any(path != top and path.is_relative_to(top) for top in shown):
            command += ["--ro-bind", str(path), str(path)]
    command += ["--ro-bind-try", "/sys/devices/system/cpu", "/sys/devices/system/cpu"]
    command += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", "--tmpfs", _scratch()]
    for folder in hide:
        full = folder.resolve()
        if any(full.is_relative_to(top) for top in shown) and full != Path("/"):
            command += ["--tmpfs", str(full), "--remount-ro", str(full)]
    return [*command, "--chdir", "/"]
