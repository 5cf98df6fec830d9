"""Reports stay readable, small and harmless whatever a student wrote, printed or called the file."""

import csv
import html.parser
import io
import json

import pytest

from course_lib.grading import report
from course_lib.grading.cohort import Graded
from course_lib.grading.task import Result

NASTY = "<script>alert(1)</script>\x1b[31m\x00\u202e" + "é🦊" * 40_000


def graded(text="fine", count=7, name="a.ipynb", reason=""):
    results = tuple(
        Result(f"task_{i}", "passed" if i % 2 else "wrong", 2.0, text, None, text, text, text) for i in range(count)
    )
    return Graded(name, "ex01_x", reason, results, {f"task_{i}": text for i in range(count)}, 1.234)


def test_size_is_bounded_and_json_valid():
    """Catches reports that grow with what was printed, or are cut in the middle of a structure."""
    for count in (7, 60):
        text = report.results_json(graded(NASTY, count))
        assert len(text.encode()) <= report.MAX_JSON
        assert len(json.loads(text)["tests"]) == count
        assert len(report.feedback_html(graded(NASTY, count)).encode()) <= report.MAX_HTML


def test_gradescope_schema():
    """Catches fields that Gradescope does not know or a score that is not the sum of its tests."""
    data = json.loads(report.results_json(graded()))
    assert data["score"] == 6.0 == sum(test["score"] for test in data["tests"])
    allowed = {"score", "execution_time", "output", "visibility", "stdout_visibility", "tests", "extra_data"}
    assert set(data) <= allowed
    for test in data["tests"]:
        assert set(test) == {"name", "score", "max_score", "status", "output", "visibility"}
        assert test["status"] == ("passed" if test["score"] else "failed") and test["max_score"] == 2.0


def test_html_is_escaped_self_contained_and_light():
    """Catches a student's text becoming markup, and pages that need the network or a script."""
    page = report.feedback_html(graded(NASTY, name="<b>x</b>.ipynb"))
    tags = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append((tag, dict(attrs)))

    Parser().feed(page)
    names = {tag for tag, _ in tags}
    assert not names & {"script", "b-x", "img", "iframe", "link"} and "\x1b" not in page and "\u202e" not in page
    assert not any({"src", "href", "onclick"} & set(attrs) for _, attrs in tags)
    assert ("meta", {"name": "viewport", "content": "width=device-width,initial-scale=1"}) in tags
    assert "&lt;b&gt;x&lt;/b&gt;" in page


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_no_cell_is_a_formula(name):
    """Catches a file name that a spreadsheet would run."""
    text = report.grades_csv([graded(name=name + ".ipynb")], ["task_0"])
    cell = list(csv.reader(io.StringIO(text, newline="")))[1][0]
    assert cell == "'" + name + ".ipynb"


def test_csv_survives_odd_names():
    """Catches names with commas, quotes, newlines or undecodable bytes shifting columns or stopping the table."""
    names = ['a,"b\n.ipynb', "\udcff.ipynb", "é.ipynb"]
    text = report.grades_csv([graded(name=name) for name in names], [f"task_{i}" for i in range(7)])
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert all(len(row) == 12 for row in rows) and {'a,"b\n.ipynb', "\\xff.ipynb", "é.ipynb"} == {
        r[0] for r in rows[1:]
    }


def test_the_terminal_is_not_driven_by_a_name():
    """Catches escape sequences and newlines of a file name reaching the terminal."""
    text = report.table([graded(name="a\x1b[2J\nb.ipynb"), graded(reason="x")])
    assert "\x1b" not in text and "\\nb.ipynb" in text and "ungradable" in text


def test_the_table_says_what_the_class_found_hard():
    """Catches counts of the wrong thing."""
    line = next(line for line in report.table([graded(), graded(name="b")]).splitlines() if line.startswith("task_0"))
    assert "0/2" in line and "2 × wrong" in line


def test_the_table_is_straight_whatever_the_names():
    """Catches scores out of line below a name of wide or combining characters."""
    lines = report.table([Graded(name, reason="x") for name in ("安德.ipynb", "Zoe\u0308.ipynb", "plain.ipynb")]).split(
        "\n"
    )
    assert len({report.columns(line[: line.index("ungradable")]) for line in lines}) == 1
    assert report.columns("安德") == 4 and report.columns("Zoe\u0308") == 3
