"""The first process of a submission's namespaces: it forks a child for every answer and watches over it.

It parses the student's notebook but never runs it. A child that loops, grows, crashes or floods its output ends its
own task alone; everything a child started is killed before the next one begins.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import sys
import time
import traceback
import types

from course_lib.grading import isolation, probe, processes, slicing

FRAME = struct.Struct("<II")
MAX_HEADER, MAX_BLOB = 2**20, 80 * 2**20
SCRATCH = 64 * 2**20
PROCESSES = 32
PARSED, DONE, LOADED = b"P", b"D", b"L"


def enter_namespaces(config: dict) -> None:
    """Leave the worker's namespaces for new ones."""
    sealed = config["sealed"]
    isolation.new_namespaces(hide=config["hide"], network=not sealed, read_only=not sealed, scratch=SCRATCH)


def become(config: dict, cells: list, requests: dict[str, bytes], answers, control: int) -> None:
    """Turn a fresh fork of the worker into the supervisor of one submission; never returns.

    Args:
        config: `nested` (enter namespaces), `sealed` (already inside bubblewrap), `hide` (folders to cover),
            `timeout` (seconds), `memory` (MB), `output` (bytes of output kept).
        answers: the worker's channel to the grader.
        control: a pipe to the worker: `PARSED`, then `DONE` after each task.
    """
    try:
        table = processes.Table()
        if config["nested"]:
            enter_namespaces(config)
            if os.fork() != 0:
                os._exit(0)
            isolation.drop_capabilities()
        else:
            os.setsid()
            isolation.guard_self()
        table.start()
        supervisor = Supervisor(config, slicing.Notebook(cells), table)
        os.write(control, PARSED)
        for task, request in requests.items():
            signal.alarm(int(3 * config["timeout"]) + 60)  # should the worker be gone
            header, blob = supervisor.run(task, request)
            text = json.dumps({"task": task, **header}).encode()
            data = memoryview(FRAME.pack(len(text), len(blob)) + text + blob)
            while data:
                data = data[answers.write(data) :]
            os.write(control, DONE)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)


class Supervisor:
    """Runs one answer at a time, each in a child of this process."""

    def __init__(self, config: dict, notebook: slicing.Notebook, table: processes.Table):
        self.config, self.notebook, self.table = config, notebook, table
        self.memory = config["memory"] * 2**20
        self.address_space = table.address_space()
        slicing.show_sources(notebook)
        self.wake_r, self.wake_w = os.pipe()
        for fd in (self.wake_r, self.wake_w):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake_w, warn_on_full_buffer=False)

    def run(self, task: str, request: bytes) -> tuple[dict, bytes]:
        """What became of `task`: a status with a message and the output, and what the probe observed."""
        started = time.monotonic()
        part = self.notebook.slice(task)
        if part.problem:
            return {"status": "missing" if part.missing else "error", "message": part.problem}, b""
        result_r, result_w = os.pipe()
        output_r, output_w = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                self._answer(part, task, request, result_w, output_w)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(70)
        os.close(result_w)
        os.close(output_w)
        watch = Watch(self, child, result_r, output_r)
        try:
            header, blob = watch.wait()
        finally:
            self.table.end_all(child, everyone=self.config["nested"])
            watch.drain()
            os.close(result_r)
            os.close(output_r)
        header["output"] = watch.output.decode("utf-8", "replace")
        header["seconds"] = round(time.monotonic() - started, 4)
        return header, blob

    def _answer(self, part: slicing.Slice, task: str, request: bytes, result: int, output: int) -> None:
        """Become the student's process: give up what is left, define the function, call it, send what was seen."""
        signal.alarm(0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGALRM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(result, 3)
        os.closerange(4, 4096)
        nested = self.config["nested"]
        isolation.limit(
            memory=self.address_space and self.address_space + self.memory, seconds=2 * self.config["timeout"] + 2,
            file_size=SCRATCH, processes=PROCESSES if nested else None,
        )  # fmt: skip
        if nested:
            isolation.filter_system_calls()
        sys.stdout = sys.__stdout__ = open(1, "w", buffering=1, errors="replace", closefd=False)
        sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="replace", closefd=False)
        file, dumps, exit_now = os.fdopen(3, "wb", buffering=0, closefd=False), json.dumps, os._exit
        header, blob = define_and_observe(part, task, request, lambda: file.write(LOADED))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                stream.flush()
        text = dumps(header).encode()
        data = memoryview(FRAME.pack(len(text), len(blob)) + text + blob)
        while data:
            data = data[file.write(data) :]
        exit_now(0)


def define_and_observe(part: slicing.Slice, task: str, request: bytes, loaded) -> tuple[dict, bytes]:
    """Run what the function `task` needs of the notebook, then let the probe watch it on the cases in `request`."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    failed = (0, "nothing was defined", "")
    for number, code in part.steps:
        try:
            exec(code, module.__dict__)
        except BaseException as error:
            failed = (number, _sentence(error), _lines(error))
            if isinstance(error, MemoryError):
                return {"status": "memory"}, b""
    answer = module.__dict__.get(task)
    if answer is None:
        number, sentence, lines = failed
        text = f"Cell {number}, which {task} needs, stopped: {sentence}"
        return {"status": "error", "message": text, "trace": lines}, b""
    loaded()
    return {"status": "observed"}, probe.observe(answer, request)


def _sentence(error: BaseException) -> str:
    try:
        text = str(error)[:500]
    except BaseException:
        text = "(its message cannot be shown)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _lines(error: BaseException) -> str:
    """The student's own lines of a traceback, the innermost last."""
    try:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("<cell ")]
        return "\n".join(f"{f.filename[1:-1]}, line {f.lineno}: {f.line}" for f in frames[-5:])[:2000]
    except BaseException:
        return ""


class Watch:
    """Waits for a child's message within the limits of time, memory, processes and output."""

    LOOK = 0.1

    def __init__(self, supervisor: Supervisor, child: int, result: int, output: int):
        self.supervisor, self.child, self.result_fd, self.output_fd = supervisor, child, result, output
        self.fds = {result: self._result, output: self._output, supervisor.wake_r: self._wake}
        self.received, self.output, self.status, self.loaded = bytearray(), bytearray(), None, False
        for fd in (result, output):
            os.set_blocking(fd, False)

    def wait(self) -> tuple[dict, bytes]:
        """The child's message, or a status that says how it ended without one."""
        timeout = self.supervisor.config["timeout"]
        deadline, next_look = time.monotonic() + timeout, time.monotonic() + self.LOOK
        while (now := time.monotonic()) < deadline:
            ready, _, _ = select.select(list(self.fds), [], [], max(0.0, min(deadline, next_look) - now))
            for fd in ready:
                self.fds[fd](fd)
            if not self.loaded and self.received[:1] == LOADED:
                self.loaded, deadline = True, time.monotonic() + timeout
                del self.received[:1]
            if (message := self._message()) is not None:
                return message
            if self.status is not None and self.result_fd not in ready:
                return self._by_status(self.status)
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + self.LOOK
                number, memory = self.supervisor.table.use()
                if memory > self.supervisor.memory:
                    return self._ended("memory")
                if number > 2 * PROCESSES:
                    return self._ended("crashed", "it started more processes than are allowed")
        return self._ended("timeout")

    def drain(self) -> None:
        """Take what is still in the output pipe."""
        while self.output_fd in self.fds and select.select([self.output_fd], [], [], 0)[0]:
            self._output(self.output_fd)

    def _read(self, fd: int) -> bytes:
        try:
            data = os.read(fd, 2**16)
        except BlockingIOError:
            return b""
        if not data:
            self.fds.pop(fd, None)
        return data

    def _wake(self, fd: int) -> None:
        self._read(fd)
        with contextlib.suppress(ChildProcessError):
            pid, status = os.waitpid(self.child, os.WNOHANG)
            if pid:
                self.status = status

    def _output(self, fd: int) -> None:
        data = self._read(fd)  # beyond the cap it is read and forgotten, so that a print never blocks
        self.output += data[: max(0, self.supervisor.config["output"] - len(self.output))]

    def _result(self, fd: int) -> None:
        for _ in range(64):
            data = self._read(fd)
            self.received += data
            if len(data) < 2**16:
                break

    def _message(self) -> tuple[dict, bytes] | None:
        """The complete frame received so far; one that is none of ours ends the task."""
        if len(self.received) < FRAME.size:
            return None
        size, blob = FRAME.unpack_from(self.received)
        end = FRAME.size + size + blob
        garbled = self._ended("crashed", "it wrote into the channel that carries its results")
        if size > MAX_HEADER or blob > MAX_BLOB:
            return garbled
        if len(self.received) < end:
            return None
        try:
            header = json.loads(self.received[FRAME.size : FRAME.size + size])
            clean = {key: str(header.get(key, ""))[:4000] for key in ("status", "message", "trace")}
        except (ValueError, RecursionError, AttributeError):
            return garbled
        if clean["status"] not in ("observed", "missing", "error", "memory"):
            return garbled
        return clean, bytes(self.received[FRAME.size + size : end])

    def _by_status(self, status: int) -> tuple[dict, bytes]:
        if not os.WIFSIGNALED(status):
            code = os.WEXITSTATUS(status)
            return self._ended("crashed", f"it ended Python with exit status {code} instead of returning")
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return self._ended("timeout")
        if number == signal.SIGXFSZ:
            return self._ended("crashed", f"it wrote a file of more than {SCRATCH // 2**20} MB")
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return self._ended("crashed", f"the process was ended by {name}")

    def _ended(self, status: str, message: str = "") -> tuple[dict, bytes]:
        return {"status": status, "message": message, "stage": "call" if self.loaded else "define"}, b""
