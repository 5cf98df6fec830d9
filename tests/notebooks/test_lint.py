"""Every committed notebook keeps the rules of lint.py, and every rule of lint.py notices a notebook that breaks it."""

import copy

import nbformat
import pytest
from nbformat import v4

from course_lib import paths
from course_lib.notebook import COLAB_CELL, WIDGET_VIEW, read
from tests.notebooks import lint

ROOT = paths.repo_dir()
LECTURES = sorted((ROOT / "notebooks").glob("*.ipynb"))
HOMEWORK = sorted([*(ROOT / "solutions").glob("*.ipynb"), *(ROOT / "exercises").glob("*.ipynb")])


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_lecture_keeps_the_rules(path):
    """Catches a lecture committed unexecuted, with an error, too large, without alt text, or out of shape."""
    problems = lint.lecture(read(path), path.stem, path.stat().st_size)
    assert not problems, f"{path.name}:\n" + "\n".join(problems)


@pytest.mark.parametrize("path", HOMEWORK, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_homework_keeps_the_common_rules(path):
    """Catches widget state, errors, double ids, absolute paths and images without text in homework notebooks."""
    problems = lint.any_notebook(read(path))
    assert not problems, f"{path.name}:\n" + "\n".join(problems)


def test_there_are_lectures_to_check():
    """Catches a lint that passes because it looks in the wrong folder."""
    assert LECTURES, "no notebooks in notebooks/"


def test_lectures_together_stay_small():
    """Catches a repository that grows beyond what a phone on a train downloads."""
    total = sum(path.stat().st_size for path in LECTURES)
    assert total <= lint.MAX_BYTES_TOGETHER, f"the lectures have {total:,} bytes together"


def good_lecture():
    cells = [
        v4.new_markdown_cell("# 01 · Density estimation\n\n**Where is the data?**"),
        v4.new_code_cell(COLAB_CELL, metadata={"tags": ["colab"]}),
        v4.new_code_cell("import course_lib\ncourse_lib.notebook.setup()"),
        v4.new_code_cell(
            "def kde(x): ...", metadata={"tags": ["core", "twin:course_lib.models.densities.kde_log_prob"]}
        ),
        v4.new_code_cell("widgets.live(draw)\nquiz('01_density_estimation')"),
        v4.new_markdown_cell("Next: `ex01_density_estimation`, see https://example.org/home/page"),
    ]
    cells[4].outputs = [
        v4.new_output("display_data", {"text/html": '<img alt="a curve" src="data:image/png;base64,/tmp/abc"/>'}),
        v4.new_output("stream", name="stdout", text="0.5 nats"),
    ]
    notebook = v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for i, cell in enumerate(c for c in cells if c.cell_type == "code"):
        cell.execution_count = i + 1
    for cell in cells:
        cell.metadata["slideshow"] = {"slide_type": "slide"}
    nbformat.validate(notebook)
    return notebook


def test_a_good_lecture_passes():
    """Catches a rule that no notebook can keep (a base64 picture or an address is not an absolute path)."""
    assert lint.lecture(good_lecture(), "01_density_estimation", 1000) == []


def output(data):
    return v4.new_output("display_data", data)


def picture(markup):
    return lambda nb: nb.cells[4].outputs[0].data.update({"text/html": markup})


BREAKS = {
    "unexecuted": (lambda nb: nb.cells[3].update(execution_count=None), "not executed in order"),
    "out of order": (lambda nb: nb.cells[3].update(execution_count=9), "not executed in order"),
    "double id": (lambda nb: nb.cells[3].update(id=nb.cells[2].id), "used twice"),
    "widget state": (lambda nb: nb.metadata.update(widgets={}), "widget state"),
    "widget view": (lambda nb: nb.cells[4].outputs.append(output({WIDGET_VIEW: {}})), "widget's view"),
    "error": (lambda nb: nb.cells[4].outputs.append(v4.new_output("error", ename="E", evalue="no")), "ended in E"),
    "stderr": (lambda nb: nb.cells[4].outputs.append(v4.new_output("stream", name="stderr", text="w")), "stderr"),
    "path in source": (lambda nb: nb.cells[4].update(source="open('/home/me/x')"), "absolute path"),
    "path in output": (lambda nb: nb.cells[4].outputs[1].update(text="File /tmp/x.py"), "absolute path"),
    "Windows path": (lambda nb: nb.cells[4].outputs[1].update(text=r"C:\Users"), "absolute path"),
    "slide type": (lambda nb: nb.cells[5].metadata.pop("slideshow"), "slide type None"),
    "long cell": (lambda nb: nb.cells[3].update(source="a = 1\n" * 21), "21 lines"),
    "bare image": (lambda nb: nb.cells[4].outputs.append(output({"image/png": "AA"})), "bare image/png"),
    "empty alt": (picture('<img alt="" src="data:,"/>'), "without alternative text"),
    "linked image": (picture('<img alt="a" src="a.png"/>'), "not in the notebook itself"),
    "Markdown image": (lambda nb: nb.cells[5].update(source="ex01_x ![](a.png)"), "without alternative text"),
    "no question": (lambda nb: nb.cells[0].update(source="# 01 · T\n\nText."), "question"),
    "wrong number": (lambda nb: nb.cells[0].update(source="# 02 · T\n\nWhy?"), "must begin with '# 01"),
    "Colab cell": (lambda nb: nb.cells[1].update(source=COLAB_CELL + "\nprint()"), "COLAB_CELL"),
    "Colab tag": (lambda nb: nb.cells[1].metadata.pop("tags"), "tagged 'colab'"),
    "many imports": (lambda nb: nb.cells[2].update(source="import os\n" * 6 + "setup()"), "it has 7"),
    "unknown tag": (lambda nb: nb.cells[2].metadata.update(tags=["cor"]), "'cor'"),
    "no kernel": (lambda nb: nb.metadata.pop("kernelspec"), "names no kernel"),
    "core without twin": (lambda nb: nb.cells[3].metadata.update(tags=["core"]), "one tag 'twin:"),
    "twin without core": (lambda nb: nb.cells[3].metadata.update(tags=["twin:a.b"]), "one tag 'twin:"),
    "other quiz": (lambda nb: nb.cells[4].update(source="live(f)\nquiz('02_x')"), "its own quiz"),
    "no control": (lambda nb: nb.cells[4].update(source="quiz('01_density_estimation')"), "no live control"),
    "no exercise": (lambda nb: nb.cells[5].update(source="The end."), "no exercises"),
    "old format": (lambda nb: nb.update(nbformat_minor=4), "knows no cell ids"),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_lint_notices(name):
    """Catches a rule that cannot fail: a good lecture broken in one way must be refused, and for that reason."""
    change, sentence = BREAKS[name]
    notebook = copy.deepcopy(good_lecture())
    change(notebook)
    problems = lint.lecture(notebook, "01_density_estimation", 1000)
    assert any(sentence in problem for problem in problems), problems


def test_lint_notices_a_large_file():
    """Catches a size rule that cannot fail."""
    assert any("bytes" in problem for problem in lint.lecture(good_lecture(), "01_density_estimation", 1_000_001))
