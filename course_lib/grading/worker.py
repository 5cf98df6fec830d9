"""The process in which submissions run: torch is loaded once, then every submission and every answer gets a fork of it.

`main`, with its configuration in `sys.argv[1]`, reads requests on standard input and answers on standard output.
It holds inputs and code, never an expected answer. Each submission gets new namespaces (where the kernel allows) with
a supervisor inside; they end, and everything with them, before the next submission begins.

Frames both ways are `length of header, length of blob (two little-endian uint32) | header (JSON) | blob`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import re
import select
import struct
import sys
import time

import torch

from course_lib.grading import codec, isolation, pages, probe, processes, supervisor

FRAME = struct.Struct("<II")
START_SECONDS = 20.0
GATHER_AFTER = 3  # submissions: gathering memory costs what it saves in about five
# What torch imports at the first call of some functions, for seconds: only a notebook that writes of them needs it.
DIFFERENTIATES = re.compile(r"(?<![a-z_])grad\(|grad_outputs|autograd|torch\.func")
ALGEBRA = "torch.fx.experimental.symbolic_shapes"


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
    example = {"args": (torch.ones(2, 2),), "grad": [0]}
    _warm_up(codec.encode({"signature": ["x"], "forbidden": [], "cases": [example]}))
    config["nested"] = config["nested"] and _can_nest(config)
    gc.disable()
    gc.freeze()
    tasks: dict[str, bytes] = {}
    graded = 0
    with os.fdopen(answers_fd, "wb", buffering=0) as answers, os.fdopen(requests_fd, "rb") as requests:
        write_frame(answers, {"op": "ready", "nested": config["nested"]})
        while (frame := read_frame(requests)) is not None:
            header, blob = frame
            if header["op"] == "task":
                tasks[header["task"]] = blob
                _warm_up(blob)
            else:
                cells = json.loads(blob)
                if ALGEBRA not in sys.modules and any(DIFFERENTIATES.search(source) for source, *_ in cells):
                    with contextlib.suppress(ImportError):
                        importlib.import_module(ALGEBRA)
                run(config, cells, {task: tasks[task] for task in header["tasks"]}, answers)
                graded += 1
                if graded == GATHER_AFTER:
                    pages.gather()
    os._exit(0)  # taking torch down tidily costs more than what it returns


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


def _warm_up(request: bytes) -> None:
    """Let torch import and set up now what it would at a first use: children then need not, each for itself."""

    def answer(*args):
        return sum(x.sum() for x in args if isinstance(x, torch.Tensor) and x.is_floating_point())

    with contextlib.suppress(Exception):
        probe.observe(answer, request)


def _can_nest(config: dict) -> bool:
    """Whether a child of this process may enter namespaces of its own."""
    child = os.fork()
    if child == 0:
        try:
            supervisor.enter_namespaces(config)
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def run(config: dict, cells: list, requests: dict[str, bytes], answers) -> None:
    """Run every task of one submission and answer each, in order, whatever becomes of its supervisor.

    Args:
        cells: [source, grade_id or None, number] of each code cell.
        requests: task → encoded inputs.
    """
    remaining = list(requests)
    while remaining:
        control_r, control_w = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(control_r)
            supervisor.become(config, cells, {task: requests[task] for task in remaining}, answers, control_w)
        os.close(control_w)
        parsed, done, late = _follow(control_r, len(remaining))
        processes.end_descendants(child)
        os.close(control_r)
        remaining = remaining[done:]
        # A supervisor that was lost costs the task it was at; one lost while it read the notebook costs the notebook.
        lost, remaining = (remaining[:1], remaining[1:]) if parsed else (remaining, [])
        for task in lost:
            status, message = ("timeout", "") if late else ("crashed", "the sandbox was lost")
            write_frame(answers, {"task": task, "status": status, "message": message, "stage": "define"})


def _follow(control: int, tasks: int) -> tuple[bool, int, bool]:
    """Wait for a supervisor: has it read the notebook, how many tasks has it answered, was it stopped for slowness?"""
    parsed, done, deadline = False, 0, time.monotonic() + START_SECONDS
    while done < tasks:
        if not parsed and not select.select([control], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False, 0, True
        data = os.read(control, 100)
        if not data:
            break
        parsed = True
        done += data.count(supervisor.DONE)
    return parsed, done, False
