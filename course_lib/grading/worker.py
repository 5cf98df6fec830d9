"""The process in which submissions run: torch is loaded once, then every answer gets a child of its own.

`python -m course_lib.grading.worker CONFIG` reads requests on its standard input and answers on its standard output.
It holds inputs and code, never an expected answer. For each task of a submission it forks a child in new namespaces
(where the kernel allows), which defines the function, calls it and sends back what it saw; the child and everything it
started are gone before the next one begins.

Frames both ways are `length of header, length of blob (two little-endian uint32) | header (JSON) | blob`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import struct
import sys
import time
import traceback
import types

import torch

from course_lib.grading import isolation, probe, processes, slicing

FRAME = struct.Struct("<II")
MAX_HEADER = 2**20
MAX_BLOB = 160 * 2**20
SCRATCH = 64 * 2**20
PROCESSES = 32
LOADED = b"L"


def main() -> None:
    """Serve requests until standard input ends."""
    config = json.loads(sys.argv[1])
    requests_fd, answers_fd = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    torch.set_num_threads(1)
    if config["uid"] is not None:
        isolation.drop_user(config["uid"])
    isolation.guard_self()
    _warm_up()
    nested = config["nested"] and _can_nest(config)
    gc.collect()
    gc.freeze()  # so that a child's collector does not touch, and so copy, every page
    worker = Worker({**config, "nested": nested}, answers_fd)
    with os.fdopen(answers_fd, "wb", buffering=0) as answers, os.fdopen(requests_fd, "rb") as requests:
        write_frame(answers, {"op": "ready", "nested": nested})
        while (frame := read_frame(requests)) is not None:
            header, blob = frame
            if header["op"] == "task":
                worker.requests[header["task"]] = blob
            else:
                cells = json.loads(blob)
                for task in header["tasks"]:
                    write_frame(answers, {"op": "begin", "task": task})
                    result, observed = worker.run(cells, task)
                    write_frame(answers, {"op": "result", "task": task, **result}, observed)


def _warm_up() -> None:
    """Let torch set up now what it sets up at its first operation: children then need not, and /proc is still there."""
    x = torch.eye(3, dtype=torch.float64).requires_grad_()
    (torch.linalg.cholesky(x @ x.T).logsumexp(0).sum() + torch.rand(3).double().sum()).backward()


def write_frame(file, header: dict, blob: bytes = b"") -> None:
    """Write one frame; `file` is an unbuffered binary file."""
    text = json.dumps(header).encode()
    data = memoryview(FRAME.pack(len(text), len(blob)) + text + blob)
    while data:
        data = data[file.write(data) :]


def read_frame(file) -> tuple[dict, bytes] | None:
    """Read one frame from a trusted sender, or None at the end."""
    head = file.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    size, blob = FRAME.unpack(head)
    return json.loads(file.read(size)), file.read(blob)


def _can_nest(config: dict) -> bool:
    """Whether a child of this process may enter namespaces of its own."""
    child = os.fork()
    if child == 0:
        try:
            _enter(config)
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _enter(config: dict) -> None:
    isolation.new_namespaces(
        hide=config["hide"], network=not config["sealed"], read_only=not config["sealed"], scratch=SCRATCH
    )


class Worker:
    """Runs one task of one submission at a time, each in a fresh child.

    Args:
        config: `nested` (give each child namespaces), `sealed` (already inside bubblewrap), `hide` (folders to cover),
            `timeout` (seconds), `memory` (MB), `output` (bytes of output kept).
        answers_fd: the worker's own channel, closed in every child.
    """

    def __init__(self, config: dict, answers_fd: int):
        self.config, self.answers_fd = config, answers_fd
        self.requests: dict[str, bytes] = {}
        self.memory = config["memory"] * 2**20
        self.own_memory = processes.private_memory("self")

    def run(self, cells: list, task: str) -> tuple[dict, bytes]:
        """What became of `task`: a status with a message and the output, and what the probe observed."""
        started = time.monotonic()
        result_r, result_w = os.pipe()
        output_r, output_w = os.pipe()
        control_r, control_w = os.pipe()
        child = os.fork()
        if child == 0:
            self._first_child(cells, task, result_w, output_w, control_w)
        for fd in (result_w, output_w, control_w):
            os.close(fd)
        watch = _Watch(self, child, result_r, output_r, control_r)
        try:
            header, blob = watch.wait()
        finally:
            processes.end_descendants(child)
            watch.drain()
            for fd in (result_r, output_r, control_r):
                os.close(fd)
        header["output"] = watch.output.decode("utf-8", "replace")
        header["seconds"] = round(time.monotonic() - started, 4)
        return header, blob

    def _first_child(self, cells: list, task: str, result: int, output: int, control: int) -> None:
        """Fork away from the worker: into new namespaces, then into the process that runs the answer."""
        try:
            address_space = isolation.address_space()
            if self.config["nested"]:
                _enter(self.config)
                if (inner := os.fork()) != 0:
                    os._exit(0)
                isolation.drop_capabilities()
            else:
                os.setsid()
            signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
            signal.alarm(int(3 * self.config["timeout"]) + 30)  # should the worker itself be gone
            inner = os.fork()
            if inner == 0:
                signal.alarm(0)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                self._answer(cells, task, result, output, address_space)
            for fd in (result, output):
                os.close(fd)
            while True:
                pid, status = os.wait()
                if pid == inner:
                    os.write(control, struct.pack("<i", status))
                    os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(70)

    def _answer(self, cells: list, task: str, result: int, output: int, address_space: int | None) -> None:
        """Become the student's process: give up what is left, define the function, call it, send what was seen."""
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(result, 3)
        os.closerange(4, 4096)
        config = self.config
        isolation.limit(
            memory=address_space and address_space + self.memory,
            seconds=2 * config["timeout"] + 2,
            file_size=SCRATCH,
            processes=PROCESSES if config["nested"] else None,
        )
        if config["nested"]:
            isolation.filter_system_calls()
        gc.disable()
        sys.stdout = sys.__stdout__ = open(1, "w", buffering=1, errors="replace", closefd=False)
        sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="replace", closefd=False)
        file, dumps, exit_now = os.fdopen(3, "wb", buffering=0, closefd=False), json.dumps, os._exit
        header, blob = define_and_observe(cells, task, self.requests[task], lambda: file.write(LOADED))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                stream.flush()
        text = dumps(header).encode()
        data = memoryview(FRAME.pack(len(text), len(blob)) + text + blob)
        while data:
            data = data[file.write(data) :]
        exit_now(0)


def define_and_observe(cells: list, task: str, request: bytes, loaded) -> tuple[dict, bytes]:
    """Run what the function `task` needs of the notebook, then let the probe watch it on the cases in `request`."""
    notebook = slicing.Notebook(cells)
    part = notebook.slice(task)
    if part.problem:
        return {"status": "missing" if part.missing else "error", "message": part.problem}, b""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    slicing.show_sources(notebook)
    failed = None
    for number, code in part.steps:
        try:
            exec(code, module.__dict__)
        except BaseException as error:
            failed = (number, _sentence(error), _lines(error))
            if isinstance(error, MemoryError):
                break
    answer = module.__dict__.get(task)
    if answer is None:
        number, sentence, lines = failed or (0, "nothing was defined", "")
        status = "memory" if sentence.startswith("MemoryError") else "error"
        return {
            "status": status,
            "message": f"Cell {number}, which {task} needs, stopped: {sentence}",
            "trace": lines,
        }, b""
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


class _Watch:
    """Waits for a child's message within the limits of time, memory, processes and output."""

    def __init__(self, worker: Worker, child: int, result: int, output: int, control: int):
        self.worker, self.child = worker, child
        self.fds = {result: self._result, output: self._output, control: self._control}
        self.result_fd, self.output_fd = result, output
        self.received, self.output, self.status = bytearray(), bytearray(), None
        self.loaded = False
        for fd in self.fds:
            os.set_blocking(fd, False)

    def wait(self) -> tuple[dict, bytes]:
        """The child's message, or a status that says how it ended without one."""
        timeout = self.worker.config["timeout"]
        deadline, next_look = time.monotonic() + timeout, time.monotonic() + 0.1
        while True:
            now = time.monotonic()
            if now >= deadline:
                return self._ended("timeout")
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
                next_look = time.monotonic() + 0.1
                number, memory = processes.descendants_use(self.worker.own_memory)
                if memory > self.worker.memory:
                    return self._ended("memory")
                if number > 2 * PROCESSES:
                    return self._ended("crashed", "It started more processes than are allowed.")

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

    def _output(self, fd: int) -> None:
        data = self._read(fd)  # beyond the cap it is read and forgotten, so that a print never blocks
        self.output += data[: max(0, self.worker.config["output"] - len(self.output))]

    def _result(self, fd: int) -> None:
        for _ in range(64):
            data = self._read(fd)
            self.received += data
            if len(data) < 2**16:
                break

    def _control(self, fd: int) -> None:
        data = self._read(fd)
        if len(data) == 4:
            (self.status,) = struct.unpack("<i", data)
        elif self.status is None and fd not in self.fds:
            self.status = 70 << 8  # the first child was lost before the answer ended

    def _message(self) -> tuple[dict, bytes] | None:
        """The complete frame received so far; one that is none of ours ends the task."""
        if len(self.received) < FRAME.size:
            return None
        size, blob = FRAME.unpack_from(self.received)
        end = FRAME.size + size + blob
        garbled = {"status": "crashed", "message": "It wrote into the channel that carries its results."}, b""
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
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number == signal.SIGXCPU:
                return self._ended("timeout")
            name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
            if number == signal.SIGXFSZ:
                return self._ended("crashed", f"It wrote a file of more than {SCRATCH // 2**20} MB.")
            return self._ended("crashed", f"The process was ended by {name}.")
        code = os.WEXITSTATUS(status)
        return self._ended("crashed", f"It ended the Python process (exit status {code}) instead of returning.")

    def _ended(self, status: str, message: str = "") -> tuple[dict, bytes]:
        return {"status": status, "message": message, "stage": "call" if self.loaded else "define"}, b""


if __name__ == "__main__":
    main()
