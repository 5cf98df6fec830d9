"""A headless run leaves a notebook fit to be read and compared, names what failed, and never leaves half a file."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
import torch
from nbformat import v4

from course_lib import notebook

LIVE = """
from course_lib import widgets
widgets.live(lambda ax, height: ax.plot([0, height]), alt="a line", static=[{"height": 2}], height=(1, 9, 1))
"""

NO_COURSE = "import importlib.util\nimportlib.util.find_spec = lambda name: None\n"


def write(path, *sources):
    cells = [v4.new_markdown_cell("# Title"), *(v4.new_code_cell(source) for source in sources)]
    nbformat.write(v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One notebook run twice: its source, the first result, and both reports."""
    folder = tmp_path_factory.mktemp("run")
    source = write(folder / "a.ipynb", "import os, time\nprint(1)\ntime.sleep(0.3)\nprint(2)", LIVE,
                   "x = bytearray(300 * 2**20)\nCHILD = 'import time; y = bytearray(256 * 2**20); time.sleep(0.3)'",
                   "import subprocess, sys\nsubprocess.run([sys.executable, '-c', CHILD])\ndel x")  # fmt: skip
    reports = [notebook.execute(source, out=folder / name) for name in ("1.ipynb", "2.ipynb")]
    return source, [folder / "1.ipynb", folder / "2.ipynb"], reports


def test_execute_runs_every_cell_in_order(run):
    """Catches cells skipped, and execution counts that do not start at 1."""
    cells = [cell for cell in notebook.read(run[1][0]).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4]


def test_execute_keeps_ids_and_source(run):
    """Catches new random ids, which make every execution a change of the whole file."""
    before, after = notebook.read(run[0]), notebook.read(run[1][0])
    assert [(c.id, c.source) for c in before.cells] == [(c.id, c.source) for c in after.cells]


def test_two_executions_write_the_same_file(run):
    """Catches timings, dates, cut streams and widget names in the written notebook."""
    first, second = run[1]
    assert first.read_bytes() == second.read_bytes()


def test_execute_strips_widgets_and_keeps_the_filmstrip(run):
    """Catches widget state or a blank widget view left behind, or the static picture thrown out with them."""
    result = notebook.read(run[1][0])
    text = run[1][0].read_text()
    assert "widgets" not in result.metadata and notebook.WIDGET_VIEW not in text and '"execution"' not in text
    (film,) = result.cells[2].outputs
    assert 'alt="a line"' in film.data["text/html"]


def test_execute_joins_pieces_of_a_stream(run):
    """Catches output cut where the clock happened to cut it."""
    (stream,) = notebook.read(run[1][0]).cells[1].outputs
    assert stream.text == "1\n2\n"


def test_report_counts_time_and_the_memory_of_children_too(run):
    """Catches seconds that miss the sleep, memory sampled once, in the wrong unit, or of the kernel alone."""
    for report in run[2]:
        assert 0.3 < report.seconds < 60
        # 300 MB in the kernel and 256 MB in its child at the same time, over a bare kernel's memory.
        assert 600 < report.peak_mb < 1500


def test_execute_leaves_the_source_alone_without_out(tmp_path):
    """Catches a run that writes where it was not asked to."""
    path = write(tmp_path / "a.ipynb", "1 + 1")
    before = path.read_bytes()
    notebook.execute(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.ipynb"]


def test_a_failing_cell_is_named_and_nothing_is_written(tmp_path):
    """Catches a failed run that replaces a good notebook, or that hides which cell failed."""
    path = write(tmp_path / "a.ipynb", "x = 1", "y = x / 0  # here", "z = 2")
    before = path.read_bytes()
    with pytest.raises(notebook.NotebookError, match=r"a.ipynb: cell 2 \('y = x / 0.*ZeroDivisionError"):
        notebook.execute(path, out=path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.ipynb"]


def test_a_hung_kernel_is_tried_again(tmp_path):
    """Catches a retry that never comes: the cell hangs the first time only."""
    source = "import os, time\nfirst = not os.path.exists('seen')\nopen('seen', 'w')\nif first: time.sleep(600)"
    path = write(tmp_path / "a.ipynb", source)
    notebook.execute(path, timeout=3, retries=1)


def test_a_dead_kernel_is_tried_again(tmp_path):
    """Catches a kernel's death that ends the run at once, or is waited for until the timeout."""
    source = "import os\nfirst = not os.path.exists('seen')\nopen('seen', 'w')\nif first: os._exit(1)"
    report = notebook.execute(write(tmp_path / "a.ipynb", source), timeout=120)
    assert report.seconds < 60


def test_a_loop_ends_with_a_sentence(tmp_path):
    """Catches a run that never ends, and an endless row of retries."""
    path = write(tmp_path / "a.ipynb", "x = 1", "while True: pass")
    with pytest.raises(notebook.NotebookError, match=r"cell 2 \('while True: pass'\) took longer than 2 s, 1 times"):
        notebook.execute(path, timeout=2, retries=0)


def test_the_kernel_gets_the_environment_asked_for(tmp_path):
    """Catches `env` dropped on the way: notebook tests set COURSE_CHECK_CONTROLS through it."""
    out = tmp_path / "b.ipynb"
    notebook.execute(
        write(tmp_path / "a.ipynb", "import os\nprint(os.environ['X_TRY'])"), out=out, env={"X_TRY": "yes"}
    )
    assert notebook.read(out).cells[1].outputs[0].text == "yes\n"


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"nbformat": 4}), "\x00\x01"])
def test_what_is_no_notebook_is_refused_by_name(tmp_path, content):
    """Catches a traceback of the notebook format for an empty, cut or foreign file."""
    path = tmp_path / "bad.ipynb"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"path must be a notebook, bad\.ipynb is not one"):
        notebook.execute(path)


def test_missing_file_is_refused_by_name(tmp_path):
    """Catches a bare FileNotFoundError."""
    with pytest.raises(ValueError, match="does not exist"):
        notebook.execute(tmp_path / "none.ipynb")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    """Catches a half-written notebook in place of a good one."""
    target = tmp_path / "a.ipynb"
    target.write_text("old")

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ValueError, match="No space left on device; nothing was written"):
        notebook._write_atomically("new", target)
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["a.ipynb"]


def test_setup_repeats_initial_weights_and_uses_one_thread():
    """Catches a lecture whose networks start elsewhere in each run."""
    weights = []
    for seed in (0, 0, 1):
        device = notebook.setup(seed)
        weights.append(torch.nn.Linear(3, 2).weight.detach().clone())
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.get_num_threads() == 1 and isinstance(device, torch.device)


def run_first_cell(before: str, **env) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if name != "COLAB_RELEASE_TAG"}
    code = before + notebook.COLAB_CELL
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**clean, **env}
    )


@pytest.mark.parametrize("before", ["", NO_COURSE], ids=["with the course", "without it"])
def test_first_cell_is_silent_outside_colab(before):
    """Catches a first cell that installs, prints or fails on a laptop."""
    done = run_first_cell(before)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_first_cell_installs_the_course_on_colab_and_nothing_else():
    """Catches a first cell that lets pip bring its own versions, or that does not install at all."""
    before = NO_COURSE + "import subprocess\nsubprocess.run = lambda command, check: print(*command[1:], check)\n"
    done = run_first_cell(before, COLAB_RELEASE_TAG="release-colab", COURSE_SOURCE="the-source")
    assert done.stdout.split() == ["-m", "pip", "install", "-q", "--no-deps", "the-source", "True"], done.stderr
