"""The 10 to 20 lines that a lecture writes out do what the library does."""

import ast
import importlib
from pathlib import Path

import pytest
import torch

from course_lib import paths
from course_lib.notebook import read
from tests.notebooks.twins import CASES

LECTURES = sorted((paths.repo_dir() / "notebooks").glob("*.ipynb"))
TOLERANCE = 1e-5
DEFINITIONS = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


def twin_name(cell) -> str | None:
    """The dotted name after `twin:` among a cell's tags."""
    return next((tag[5:] for tag in cell.metadata.get("tags", []) if tag.startswith("twin:")), None)


def twin_cells(path: Path) -> list[str]:
    return [name for cell in read(path).cells if (name := twin_name(cell))]


TWINS = [(path, name) for path in LECTURES for name in twin_cells(path)]


def library_version(name: str):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def cell_version(notebook, name: str):
    """What the cell defines: only the imports cell and the core cells up to it are run, not the lecture."""
    namespace = {"__name__": "notebook"}
    exec(notebook.cells[2].source, namespace)
    for cell in notebook.cells:
        if "core" in cell.metadata.get("tags", []):
            exec(cell.source, namespace)
            if twin_name(cell) == name:
                return namespace[name.rpartition(".")[2]]
    raise KeyError(name)


def difference(a, b) -> str | None:
    """Where two results differ by more than the tolerance, or in kind or shape; None if they agree."""
    if isinstance(a, dict) and isinstance(b, dict):
        return (
            f"keys {sorted(a)} and {sorted(b)}"
            if a.keys() != b.keys()
            else difference([*a.values()], [b[k] for k in a])
        )
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        if len(a) != len(b):
            return f"{len(a)} values and {len(b)}"
        return next((f"[{i}]: {d}" for i, (x, y) in enumerate(zip(a, b, strict=True)) if (d := difference(x, y))), None)
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    if a.shape != b.shape:
        return f"shapes {tuple(a.shape)} and {tuple(b.shape)}"
    try:
        torch.testing.assert_close(a, b, rtol=TOLERANCE, atol=TOLERANCE, check_dtype=False, equal_nan=True)
    except AssertionError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("path", "name"), TWINS, ids=[f"{path.stem[:2]}-{name}" for path, name in TWINS])
def test_cell_and_library_agree(path, name):
    """Catches a formula taught one way and computed another way."""
    assert name in CASES, f"{name} is tagged in {path.name} but has no case in tests/notebooks/twins.py"
    case = CASES[name]
    found = difference(case(cell_version(read(path), name)), case(library_version(name)))
    assert found is None, f"{path.name}: the cell and {name} disagree: {found}"


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_core_cells_only_define(path):
    """Catches a core cell that also runs something, so that comparing it would run half the lecture."""
    for cell in read(path).cells:
        if "core" in cell.metadata.get("tags", []):
            statements = ast.parse(cell.source).body
            extra = [ast.unparse(s)[:60] for s in statements if not isinstance(s, DEFINITIONS)]
            assert not extra, (
                f"{path.name}: the core cell of {twin_name(cell)} also does {extra}; move it to another cell"
            )


@pytest.mark.parametrize("path", [p for p in LECTURES if p.stem[:2] != "00"], ids=lambda path: path.stem)
def test_lecture_writes_something_out(path):
    """Catches a lecture that only calls the library: every one but 00 writes its essential lines out."""
    assert twin_cells(path), f"{path.name} has no cell tagged core and twin:..."


@pytest.mark.parametrize("name", CASES)
def test_case_names_a_library_function_and_runs(name):
    """Catches a case left behind after a function was renamed, and a case with inputs that the library refuses."""
    assert difference(CASES[name](library_version(name)), CASES[name](library_version(name))) is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.zeros(3), torch.full((3,), 1e-3)),
        (torch.zeros(3), torch.zeros(3, 1)),
        ((1.0, 2.0), (1.0,)),
        ((1.0, torch.zeros(2)), (1.0, torch.ones(2))),
        ({"a": 1.0}, {"b": 1.0}),
        ({"a": 1.0}, {"a": 1.1}),
        (float("nan"), 0.0),
    ],
)
def test_comparison_notices(a, b):
    """Catches a comparison that passes whatever the two versions return."""
    assert difference(a, b) is not None
    assert difference(a, a) is None
