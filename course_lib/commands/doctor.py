"""`course doctor`: what is installed, which device, what will be slow or missing, and the command that mends it."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from course_lib import paths
from course_lib.commands import DONE, FAILED

LECTURE_MB = 2048  # what a lecture may use
# One step of the training that `training_step_ms` times, on the machine the lecture times were taken on: a virtual
# machine with two x86 server cores, one of them used.
REFERENCE_STEP_MS = 0.82


class Finding(NamedTuple):
    """One line of the report: what was looked at, what was found, and the command that mends it.

    A `problem` stops lectures from working; anything else only says what to expect.
    """

    name: str
    value: str
    mend: str = ""
    problem: bool = False


def configure(parser: argparse.ArgumentParser) -> None:
    """`course doctor` takes no arguments."""


def run(_args: argparse.Namespace) -> int:
    findings = []
    for finding in examine():
        mark = "!" if finding.problem else " "
        print(f"{mark} {finding.name:13}  {finding.value}", flush=True)
        findings.append(finding)
    mends = [finding for finding in findings if finding.mend]
    if mends:
        print("\nTo mend it:")
    for finding in mends:
        print(f"{'!' if finding.problem else ' '} {finding.name:13}  {finding.mend}")
    problems = sum(finding.problem for finding in findings)
    print(f"\n{problems} problem{'s' * (problems != 1)} to mend, marked !" if problems else "\nReady for the lectures.")
    return FAILED if problems else DONE


def examine() -> Iterator[Finding]:
    """All findings, in the order of the report. What cannot be examined is itself a finding."""
    parts = (python, device, memory, disk, jupyter, bundled_data, downloads, slow, homework)
    for part in parts:
        try:
            yield from part()
        except Exception as error:
            yield Finding(part.__name__, f"{type(error).__name__}: {error}", install_command(), problem=True)


def installed(package: str) -> str:
    """The version of an installed package, or ""."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def install_command() -> str:
    """The command that installs what the lectures need, in this environment."""
    root = paths.repo_dir()
    if root is None:
        return f'"{sys.executable}" -m pip install "course-lib[lab]"'
    if Path(sys.prefix) == root / ".venv" and os.name == "posix":
        return f'make -C "{root}" lab'
    return f'cd "{root}" && "{sys.executable}" -m pip install -c constraints.txt -e ".[lab]"'


def python() -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()}  ({sys.executable})")


def device() -> Iterator[Finding]:
    """torch, and what it can compute on."""
    import torch

    yield Finding("torch", torch.__version__)
    cuda = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    mend = ""
    if not cuda and shutil.which("nvidia-smi"):
        release = torch.__version__.split("+")[0]
        pip = f'"{sys.executable}" -m pip install --force-reinstall torch=={release}'
        mend = f"this torch cannot use the NVIDIA card: {pip}"
        if os.name == "nt":
            mend += " --index-url https://download.pytorch.org/whl/cu126"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"CPU: {cores} core{'s' * (cores != 1)}, torch uses {torch.get_num_threads()} (lectures use 1)",
             f"CUDA: {', '.join(cuda) or 'none'}",
             f"MPS: {'yes' if torch.backends.mps.is_available() else 'none'}"]  # fmt: skip
    yield Finding("device", "; ".join(parts), mend)


def free_memory_mb() -> float | None:
    """Memory that a new process can have, in MiB: what the machine has free, or what a container's limit leaves."""
    try:
        import psutil

        free = psutil.virtual_memory().available
    except ImportError:
        return None
    try:
        group = Path("/sys/fs/cgroup")
        free = min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no such limit
        pass
    return free / 2**20


def memory() -> Iterator[Finding]:
    free = free_memory_mb()
    if free is None:
        yield Finding("memory", "unknown, psutil is not installed", install_command())
        return
    short = free < LECTURE_MB
    mend = "close other programs, and in JupyterLab: Kernel, Shut Down All Kernels" if short else ""
    yield Finding("memory", f"{free:.0f} MB free (a lecture may need {LECTURE_MB} MB)", mend, short)


def disk() -> Iterator[Finding]:
    """The folder of downloads and progress: can it be written, and is there room."""
    cache = paths.cache_dir()
    place = next((folder for folder in (cache, *cache.parents) if folder.exists()), None)
    mend = "choose another folder: set the variable COURSE_CACHE to it"
    if place is None or not place.is_dir() or not os.access(place, os.W_OK):
        yield Finding("cache", f"{cache} cannot be written", mend, problem=True)
        return
    free = shutil.disk_usage(place).free / 2**20
    yield Finding("cache", f"{cache}, {free:.0f} MB free", mend if free < 200 else "", problem=free < 200)


def jupyter() -> Iterator[Finding]:
    """JupyterLab and the packages behind the live controls."""
    for name, packages in {"JupyterLab": ["jupyterlab"], "widgets": ["ipywidgets", "jupyterlab_widgets"],
                           "notebooks": ["ipykernel", "nbclient", "nbformat"],
                           "figures": ["matplotlib", "numpy"]}.items():  # fmt: skip
        versions = {package: installed(package) for package in packages}
        missing = [package for package, version in versions.items() if not version]
        if missing:
            yield Finding(name, f"missing: {', '.join(missing)}", install_command(), problem=True)
            continue
        text = ", ".join(f"{package} {version}" for package, version in versions.items())
        # ipywidgets 8 speaks with jupyterlab_widgets 3, and 7 with 1: mixed, controls stay blank.
        pair = (versions.get("ipywidgets", "")[:2], versions.get("jupyterlab_widgets", "")[:2])
        mixed = name == "widgets" and pair not in {("8.", "3."), ("7.", "1.")}
        yield Finding(name, text + (", which do not fit together: controls will stay blank" if mixed else ""),
                      install_command() if mixed else "", problem=mixed)  # fmt: skip


def bundled_data() -> Iterator[Finding]:
    """The data sets that need no network."""
    from course_lib import manifest

    version = installed("scikit-learn")
    value = f"present, with the photographs, in scikit-learn {version}" if version else "missing with scikit-learn"
    yield Finding("digits", value, "" if version else install_command(), problem=not version)
    wrong = manifest.damaged()
    many = len(manifest.bundled(paths.data_dir()))
    mend = "git checkout -- data" if paths.repo_dir() else install_command()
    yield Finding(
        "data",
        "; ".join(wrong) or f"{many} bundled files, as in their manifest",
        mend if wrong else "",
        problem=bool(wrong),
    )


def downloads() -> Iterator[Finding]:
    """The data sets that need a download: while one is absent, lectures fall back to the digits."""
    from course_lib.datasets.downloads import SOURCES, available

    for name, source in SOURCES.items():
        if available(name):
            yield Finding(source.title, "present")
            continue
        code = f"from course_lib import datasets; datasets.{name}('train'); datasets.{name}('test')"
        yield Finding(source.title, "needs a download; until then the digits take its place",
                      f'"{sys.executable}" -c "{code}"')  # fmt: skip


def training_step_ms(steps: int = 60) -> float:
    """Milliseconds of a training step of a small network (2-128-128-1, batch 256, one thread), the best of five."""
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(2, 128), torch.nn.ReLU(), torch.nn.Linear(128, 128), torch.nn.ReLU(),
                              torch.nn.Linear(128, 1))  # fmt: skip
    optimiser = torch.optim.Adam(net.parameters())
    x = torch.linspace(-1, 1, 512).reshape(256, 2)
    threads, best = torch.get_num_threads(), float("inf")
    torch.set_num_threads(1)
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(steps):
            optimiser.zero_grad()
            net(x).square().mean().backward()
            optimiser.step()
        best = min(best, (time.perf_counter() - start) / steps * 1000)
    torch.set_num_threads(threads)
    return best


def slow() -> Iterator[Finding]:
    """What will take long here."""
    import torch

    step = training_step_ms()
    ratio = step / REFERENCE_STEP_MS
    pace = "about as long as the README says" if 0.7 < ratio < 1.5 else f"about {ratio:.1f} times what the README says"
    yield Finding("speed", f"a small training step takes {step:.2f} ms: lectures should take {pace}",
                  "close other programs: something may be using the processor" if ratio > 3 else "")  # fmt: skip
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        yield Finding("slow here", "training on full-size images (no GPU); the lectures are sized for a CPU")


def homework() -> Iterator[Finding]:
    """How far the exercises have come, as the notebooks' `check` recorded it."""
    from course_lib.grading import TASKS, feedback

    record = feedback.progress()
    for exercise in sorted({task.exercise for task in TASKS.values()}):
        names = [name for name, task in TASKS.items() if task.exercise == exercise]
        solved = sum(record.get(name, {}).get("earned", 0) >= TASKS[name].points for name in names)
        yield Finding("homework", f"{exercise}: {solved} of {len(names)} tasks solved")
