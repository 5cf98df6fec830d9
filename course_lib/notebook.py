"""What a notebook needs around its lecture: the set-up of a session, and a headless run whose result can be kept."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from course_lib import checks

# The first code cell of every lecture, word for word. `find_spec("google.colab")` would raise outside Colab.
COLAB_CELL = """\
# On Colab this installs the course and leaves Colab's own packages alone; elsewhere it does nothing.
import importlib.util, os, subprocess, sys
if importlib.util.find_spec("course_lib") is None and ("google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ):
    source = os.environ.get("COURSE_SOURCE", "git+https://github.com/OWNER/REPO")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", source], check=True)
    importlib.invalidate_caches()"""  # noqa: E501

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class NotebookError(RuntimeError):
    """A notebook that did not run to its end; the message names it, the cell and the reason."""


class Report(NamedTuple):
    """What one run of a notebook cost."""

    seconds: float
    peak_mb: float


def setup(seed: int = 0) -> torch.device:
    """Prepare a lecture: the course's plot style, one thread, the device; say nothing and return the device.

    One thread, because networks as small as the course's are slower on two contended ones. The seed is for the
    initial weights of layers, which PyTorch draws from its global generator; all else takes `generator=`.
    """
    from course_lib import plots
    from course_lib.training import pick_device

    torch.set_num_threads(1)
    torch.manual_seed(checks.count(seed, "seed", at_least=0))
    plots.use_style()
    return pick_device()


def execute(
    path, *, out=None, timeout: float | int = 300.0, retries: int = 1, env: dict[str, str] | None = None
) -> Report:
    """Run a notebook from top to bottom in a fresh kernel and, if `out` is given, write the executed notebook there.

    What is written is made to be read and compared: cell ids stay, widget state and widget views go (a page without a
    kernel cannot show them), and so do timings and the exact Python version. The file is replaced at once, never
    half-written. A kernel that hangs or dies is started again; an error in a cell is not tried twice.

    Args:
        path: the notebook to run; it runs in its own folder.
        out: where to write the result; may be `path` itself.
        timeout: seconds that one cell may take.
        retries: how often to start again after a kernel that hangs or dies.
        env: environment variables for the kernel, besides this process's.

    Returns:
        Report(seconds, peak_mb): wall time, and the largest memory of the kernel and its children together, in MiB.

    Raises:
        ValueError: if `path` is no notebook.
        NotebookError: if a cell raises, or the kernel hangs or dies on every try.
    """
    import nbformat
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    path = Path(path)
    timeout = checks.number(timeout, "timeout", above=0.0)
    for attempt in range(checks.count(retries, "retries", at_least=0) + 1):
        notebook = read(path)
        try:
            report = _run(notebook, path.parent, timeout, env or {})
            break
        except CellExecutionError as error:
            raise NotebookError(f"{path.name}: {_failed_cell(notebook)} raised {error.ename}: {error.evalue}") from None
        except (CellTimeoutError, DeadKernelError, RuntimeError) as error:
            # nbclient reports a kernel that never came up as a plain RuntimeError.
            reason = f"took longer than {timeout:g} s" if isinstance(error, CellTimeoutError) else "lost its kernel"
            if attempt == retries:
                raise NotebookError(
                    f"{path.name}: {_failed_cell(notebook)} {reason}, {attempt + 1} times; see whether it loops "
                    "or runs out of memory, or give a longer timeout"
                ) from None
    clean(notebook)
    if out is not None:
        _write_atomically(nbformat.writes(notebook) + "\n", Path(out))
    return report


def read(path):
    """The notebook at `path`, or a ValueError that says what is wrong with the file."""
    import nbformat

    path = Path(path)
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except FileNotFoundError:
        raise ValueError(f"path must be a notebook, {path} does not exist") from None
    except OSError as error:
        raise ValueError(f"path must be a readable notebook, {path}: {error.strerror}") from None
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"path must be a notebook, {path.name} is not one: {reason[:200]}") from None
    return notebook


def clean(notebook) -> None:
    """Take out of an executed notebook, in place, what a reader has no use for or what changes from run to run."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            kept = [output for output in cell.outputs if WIDGET_VIEW not in output.get("data", {})]
            cell.outputs = _merge_streams(kept)


def _merge_streams(outputs: list) -> list:
    """Join neighbouring pieces of one stream: where they are cut depends on timing."""
    merged: list = []
    for output in outputs:
        before = merged[-1] if merged else None
        if before is not None and output.output_type == before.output_type == "stream" and output.name == before.name:
            before.text += output.text
        else:
            merged.append(output)
    return merged


def _run(notebook, folder: Path, timeout: float, env: dict[str, str]) -> Report:
    from nbclient import NotebookClient

    client = NotebookClient(notebook, timeout=timeout, startup_timeout=60, record_timing=False, kernel_name="python3",
                            extra_arguments=["--log-level=40"],  # errors only: its warnings are not the reader's
                            shutdown_kernel="immediate", resources={"metadata": {"path": str(folder)}})  # fmt: skip
    start = time.perf_counter()
    with _PeakMemory() as peak, client.setup_kernel(env={**os.environ, **env}):
        peak.watch(client.km.provisioner.pid)
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index, execution_count=None)
    return Report(seconds=time.perf_counter() - start, peak_mb=peak.mb)


class _PeakMemory:
    """The largest resident memory of a process and its children, sampled twenty times a second."""

    def __init__(self) -> None:
        self.mb = 0.0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        self._thread = threading.Thread(target=self._sample, args=(pid,), daemon=True)
        self._thread.start()

    def _sample(self, pid: int) -> None:
        import psutil

        while True:
            try:
                kernel = psutil.Process(pid)
                family = [kernel, *kernel.children(recursive=True)]
                self.mb = max(self.mb, sum(process.memory_info().rss for process in family) / 2**20)
            except psutil.Error:
                pass
            if self._done.wait(0.05):  # looked at once at least, however short the notebook
                return

    def __enter__(self):
        return self

    def __exit__(self, *_error) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()


def _failed_cell(notebook) -> str:
    """The last cell that was started, in words: its place among all cells, and its first line of code."""
    started = [i for i, cell in enumerate(notebook.cells)
               if cell.cell_type == "code" and (cell.execution_count is not None or cell.outputs)]  # fmt: skip
    if not started:
        return "the first cell"
    first_line = notebook.cells[started[-1]].source.strip().splitlines()[0]
    return f"cell {started[-1]} ({first_line[:60]!r})"


@contextmanager
def _replacing(target: Path):
    """A temporary file beside `target` that takes its place when the block ends well, and goes when it does not."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _write_atomically(text: str, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(target) as file:
            file.write(text)
    except OSError as error:
        raise ValueError(f"out must be a place to write to, {target}: {error.strerror}; nothing was written") from None
