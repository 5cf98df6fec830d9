"""A stand-in for Colab: its published versions, without the course; lecture 01 must run there, first cell and all.

Colab has Python 3.13 and torch 2.11; this environment has the Python and the torch of the one that runs the tests,
because what breaks notebooks on Colab is the old IPython, ipykernel and ipywidgets.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LECTURES = ["01_density_estimation"]
# Colab, August 2026. Packages not named here come with these.
COLAB = [
    "ipykernel==6.17.1",
    "ipython==7.34.0",
    "ipywidgets==7.7.1",
    "matplotlib==3.10.0",
    "numpy==2.1.3",
    "scikit-learn==1.6.1",
    "psutil",
    "safetensors",
    "setuptools",
]
TORCH_NEEDS = ["filelock", "fsspec", "jinja2", "networkx", "sympy", "typing-extensions"]


def freeze(python: Path) -> set[str]:
    lines = subprocess.check_output([python, "-m", "pip", "freeze", "--all"], text=True).splitlines()
    return {line for line in lines if not line.startswith(("#", "course-lib", "course_lib", "-e"))}


@pytest.fixture(scope="module")
def colab(tmp_path_factory) -> Path:
    """The python of a fresh environment with Colab's versions, torch, and no course."""
    home = tmp_path_factory.mktemp("colab")
    subprocess.run([sys.executable, "-m", "venv", home / "env"], check=True)
    python = home / "env/bin/python"
    done = subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *COLAB, *TORCH_NEEDS],
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        reason = f"Colab's versions cannot be installed here: {done.stderr.strip().splitlines()[-1:]}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    # torch is large and the same: linked, not installed a second time.
    [site] = (home / "env/lib").glob("python*/site-packages")
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if path.name in ("torch", "torchgen", "functorch") or path.name.startswith("torch-"):
            (site / path.name).symlink_to(path)
    outside = subprocess.run([python, "-c", "import torch, course_lib"], cwd=home, capture_output=True, text=True)
    assert "No module named 'course_lib'" in outside.stderr, "the stand-in must have torch and must not have the course"
    return python


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="lays the environment out as on Linux")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("lecture", LECTURES)
def test_lecture_runs_on_colab(lecture, colab, tmp_path, monkeypatch, record_property):
    """Catches a first cell that does not install, a wheel without its data, an API that Colab's versions lack, and an
    install that replaces what Colab has."""
    import nbformat
    from nbclient import NotebookClient

    source = tmp_path / "source"
    for name in ("course_lib", "data"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    spec = tmp_path / "jupyter/kernels/colab"
    spec.mkdir(parents=True)
    argv = [str(colab), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Colab", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-stand-in")
    monkeypatch.setenv("COURSE_SOURCE", str(source))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    elsewhere = tmp_path / "content"
    elsewhere.mkdir()

    before = freeze(colab)
    notebook = nbformat.read(ROOT / f"notebooks/{lecture}.ipynb", as_version=4)
    report = (
        "import course_lib, IPython, ipywidgets as w\nprint(course_lib.__file__, IPython.__version__, w.__version__)"
    )
    probe = nbformat.v4.new_code_cell(report)
    notebook.cells.append(probe)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="colab", resources={"metadata": {"path": str(elsewhere)}}
    )
    client.execute()  # raises on the first error of any cell
    file, *versions = probe.outputs[-1].text.split()
    assert Path(file).is_relative_to(colab.parents[1]), f"the course came from {file}, not from its first cell"
    assert versions == ["7.34.0", "7.7.1"]
    assert freeze(colab) == before
    record_property("show", f"{lecture} ran with {', '.join(COLAB[:6])}; {len(before)} packages, none replaced")
