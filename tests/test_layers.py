"""The floors of the house: nothing imports upwards, nothing in a circle, and importing costs next to nothing."""

import ast
import graphlib
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "course_lib"

# From the ground up. A name stands for the module or for the whole package of that name.
FLOORS = [
    {"_typing", "checks", "manifest", "paths"},
    {"gaussian"},
    {"datasets", "nets"},
    {"models"},
    {"disentanglement", "games", "inverse", "latent", "metrics", "samplers"},
    {"checkpoint", "progress", "steps"},
    {"training"},
    {"zoo"},
    {"grading", "notebook", "plots", "quiz", "widgets"},
    {"commands"},
    {"cli"},
]
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}
# Loaded only where they are used, never by `import` at the top of a file.
HEAVY = {"IPython", "ipywidgets", "matplotlib", "nbclient", "nbformat", "scipy", "sklearn"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, top_only: bool = False) -> set[str]:
    """The dotted names a file imports, also inside functions (or only at its top)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write it out"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def course_imports(path: Path, **kw) -> set[str]:
    """The course's own modules among the imports of a file."""
    known = {dotted(module) for module in MODULES}
    named = {name if name in known else name.rpartition(".")[0] for name in imports(path, **kw)}
    return (named & known) - {"course_lib"}


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_floor_imports_a_higher_one(path):
    """Catches maths that leans on plots, training that leans on grading, and a module that stands on no floor."""
    own = dotted(path).split(".")[1:]
    if not own:
        return  # course_lib/__init__ offers every floor, lazily
    assert own[0] in HEIGHT, f"{own[0]} stands on no floor: add it to FLOORS"
    higher = {name for name in course_imports(path) if HEIGHT[name.split(".")[1]] > HEIGHT[own[0]]}
    assert not higher, f"{dotted(path)} imports upwards: {sorted(higher)}"


def test_no_circle():
    """Catches two modules that import each other at their top; a package and its own parts may."""
    graph = {dotted(path): course_imports(path, top_only=True) for path in MODULES}
    graph = {name: {other for other in others if not name.startswith(other + ".")} for name, others in graph.items()}
    tuple(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_heavy_packages_are_imported_where_they_are_used(path):
    """Catches `import matplotlib` at the top of a library file: every import of the course would then pay for it."""
    top = {name.split(".")[0] for name in imports(path, top_only=True)}
    assert not top & HEAVY


def test_packages_are_all_installed():
    """Catches a new folder of course_lib that the wheel leaves out (Colab has only the wheel)."""
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {dotted(path.parent / "__init__.py") for path in MODULES} | {"course_lib._data"} == set(listed)


@pytest.mark.slow
@pytest.mark.alone
def test_import_costs_next_to_nothing_beyond_torch(record_property):
    """Catches an import of the course, or of any part of its library, that adds a tenth to `import torch`."""
    modules = (dotted(path) for path in MODULES)
    parts = [name for name in modules if "." in name and HEIGHT[name.split(".")[1]] <= HEIGHT["zoo"]]
    variants = {
        "torch": "import torch",
        "torch, course_lib": "import torch, course_lib",
        "torch, course_lib and its library": f"import torch, {', '.join(parts)}",
    }
    clock = "import time; a = time.perf_counter(); {}; b = time.perf_counter() - a; import sys; print(b)"
    seconds = {name: [] for name in variants}
    for _ in range(7):  # interleaved: what slows the machine slows all of them
        for name, code in variants.items():
            command = [sys.executable, "-c", clock.format(code)]
            seconds[name].append(float(subprocess.check_output(command, cwd=ROOT, text=True)))
    # The best of several: noise only ever adds.
    ratios = {name: min(times) / min(seconds["torch"]) for name, times in seconds.items()}
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    lines = [f"import {name}: {medians[name]:.2f} s median, {ratios[name]:.3f} of torch" for name in variants]
    record_property("show", "\n".join(lines))
    assert max(ratios.values()) <= 1.10, ratios


def test_help_needs_no_torch():
    """Catches a `course --help` that takes seconds because something imports torch on the way."""
    code = "import sys; from course_lib.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0
