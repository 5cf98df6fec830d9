"""Checkpoint quizzes read without a kernel, answer back with one, and refuse a malformed file by name."""

import copy
import json

import ipywidgets
import pytest

from course_lib import paths, quiz

QUESTION = {
    "question": "Is $p < q$?",
    "options": ["yes", "no & never", "it depends"],
    "answer": 1,
    "why": "Because <b> is small.",
    "why_not": ["p is larger.", "", ""],
}
FILES = sorted((paths.data_dir() / "quizzes").glob("*.json"))


@pytest.fixture
def shown(monkeypatch):
    things = []
    monkeypatch.setattr("IPython.display.display", lambda thing, raw=False: things.append(thing))
    return things


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "quizzes").mkdir()
    (tmp_path / "quizzes" / "01_density_estimation.json").write_text(json.dumps([QUESTION, QUESTION]))
    monkeypatch.setattr(paths, "data_dir", lambda: tmp_path)
    return tmp_path / "quizzes"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_bundled_quiz_keeps_the_format(path):
    """Catches a quiz file that its lecture cannot show."""
    assert len(quiz.load(path.stem)) >= 3


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_right_answers_are_not_always_in_one_place(path):
    """Catches a quiz that can be passed without reading."""
    assert len({question["answer"] for question in quiz.load(path.stem)}) > 1


def test_static_form_hides_the_answer_and_shows_the_rest():
    """Catches an answer in plain sight, an answer that is the wrong option, and unescaped text."""
    open_part, hidden = quiz.static_form(QUESTION, 2).split("<details>")
    assert "Question 2." in open_part and "Is $p &lt; q$?" in open_part
    assert "a) yes<br/>b) no &amp; never<br/>c) it depends" in open_part
    assert "Because" not in open_part
    assert "<b>b) no &amp; never</b>" in hidden and "Because &lt;b&gt; is small." in hidden
    assert hidden.endswith("</details>")


def test_response_says_why_and_does_not_give_the_answer_away():
    """Catches a wrong choice praised, the right one refused, and a refusal that tells the right option."""
    assert "b) is right" in quiz.respond(QUESTION, 1) and "Because &lt;b&gt;" in quiz.respond(QUESTION, 1)
    assert "p is larger." in quiz.respond(QUESTION, 0)
    assert "Think again" in quiz.respond(QUESTION, 2)
    assert all("Because" not in quiz.respond(QUESTION, i) and "right" not in quiz.respond(QUESTION, i) for i in (0, 2))
    assert "Think again" in quiz.respond({**QUESTION, "why_not": None}, 0)


def test_each_button_answers_for_its_own_option(folder, shown, monkeypatch):
    """Catches buttons that all answer for the last option (a closure over the loop variable)."""
    monkeypatch.setattr("course_lib.widgets.has_kernel", lambda: True)
    quiz.quiz("01_density_estimation")
    assert [type(thing).__name__ for thing in shown] == ["dict", "VBox", "dict", "VBox"]
    row, message = shown[1].children
    assert isinstance(message, ipywidgets.HTMLMath)
    for i, button in enumerate(row.children):
        button.click()
        assert message.value == quiz.respond(QUESTION, i)


def test_without_a_kernel_the_static_form_is_there(folder, shown, monkeypatch):
    """Catches a quiz that is blank on a page."""
    monkeypatch.setattr("course_lib.widgets.has_kernel", lambda: False)
    quiz.quiz("01_density_estimation")
    assert ["text/html" in thing for thing in shown] == [True, True]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"question": ""}, "'question' must be a sentence"),
        ({"why": None}, "'why' must be a sentence"),
        ({"options": ["one"]}, "'options' must be 2 to 6"),
        ({"options": ["same", "same"]}, "different strings"),
        ({"answer": 3}, "index from 0 to 2, got 3"),
        ({"answer": -1}, "index from 0 to 2, got -1"),
        ({"answer": True}, "index from 0 to 2, got True"),
        ({"answer": "b"}, "index from 0 to 2, got 'b'"),
        ({"why_not": ["one"]}, "list of 3 strings"),
        ({"anwser": 1}, "unknown field 'anwser'"),
    ],
)
def test_malformed_question_is_named(change, sentence):
    """Catches a wrong field found only when a reader presses a button."""
    questions = [QUESTION, {**copy.deepcopy(QUESTION), **change}]
    with pytest.raises(ValueError, match=f"x.json, question 2: .*{sentence}"):
        quiz.validate(questions, "x.json")


def test_unknown_and_broken_files_are_named(folder):
    """Catches a bare FileNotFoundError or JSON traceback."""
    with pytest.raises(ValueError, match="did you mean '01_density_estimation'"):
        quiz.load("01_density_estimate")
    (folder / "02_broken.json").write_text('[{"question": ')
    with pytest.raises(ValueError, match=r"02_broken\.json is not JSON"):
        quiz.load("02_broken")
    (folder / "03_empty.json").write_text("[]")
    with pytest.raises(ValueError, match=r"03_empty\.json must be a list"):
        quiz.load("03_empty")
