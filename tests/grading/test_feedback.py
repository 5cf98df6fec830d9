"""`check` is the notebook's face: points for machines, sentences for people, and never a traceback of ours."""

import html.parser
import json
import re

import pytest
import torch

from course_lib.grading import TASKS, check, engine, feedback


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def monte_carlo_kl(log_p, log_q):
    return (log_p - log_q).mean()


def named(function, name="monte_carlo_kl"):
    function.__name__ = name
    return function


def test_repr_is_the_points_as_a_float():
    """Catches a repr that nbgrader would read as full marks, such as "1/2", or that is not the points."""
    task = TASKS["monte_carlo_kl"]
    assert repr(check(monte_carlo_kl)) == repr(float(task.points)) and float(check(monte_carlo_kl)) == task.points
    assert repr(check(named(lambda log_p, log_q: (log_q - log_p).mean()))) == "0.0"
    assert repr(check(named(lambda log_p, log_q: 1 / 0))) == "0.0"


class Balanced(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_escaped_and_balanced():
    """Catches an error message that is taken for markup."""

    def answer(log_p, log_q):
        raise ValueError("<script>alert(1)</script> & <b>")

    page = check(named(answer))._repr_html_()
    parser = Balanced()
    parser.feed(page)
    assert not parser.open and parser.seen <= {"div", "pre", "em", "code"} and "&lt;script&gt;" in page


def test_feedback_says_what_is_wrong_in_a_few_numbers():
    """Catches feedback without the sentence of the mistake, or with a counter-example of many numbers."""
    text = str(check(named(lambda log_p, log_q: (log_q - log_p).mean()), seed=1))
    mistake = next(m for m in TASKS["monte_carlo_kl"].mistakes if m.name == "swapped")
    assert mistake.sentence in text and "expected" in text and "got" in text
    assert len(re.findall(r"-?\d+\.\d+", text)) <= 18


def test_a_traceback_is_the_students_own_lines():
    """Catches lines of ours or of torch in what a student reads."""

    def answer(log_p, log_q):
        total = log_p - log_q
        return total.mean(5)

    text = str(check(named(answer)))
    assert "return total.mean(5)" in text and "probe.py" not in text and "Traceback" not in text


@pytest.mark.parametrize("thing", [3, None, "monte_carlo_kl", torch.ones(2), named(lambda: 0, "no_such_task"), check])
def test_what_cannot_be_checked_says_so(thing):
    """Catches an exception for something that is no task's function."""
    result = check(thing)
    assert repr(result) == "0.0" and result.result.stage == "callable" and len(str(result)) > 30


def test_a_failure_on_our_side_is_no_traceback(monkeypatch):
    """Catches an internal error that a student sees as an exception."""
    monkeypatch.setattr(engine, "grade", lambda *args, **kwargs: 1 / 0)
    result = check(monte_carlo_kl)
    assert "not your fault" in str(result) and repr(result) == "0.0"


def test_an_unwritten_answer_is_not_called_an_error():
    """Catches a stub that gets points or a scolding."""

    def answer(log_p, log_q):
        raise NotImplementedError()

    result = check(named(answer))
    assert result.result.status == "missing" and "not written yet" in str(result) and repr(result) == "0.0"


def test_progress_is_kept_and_can_be_deleted(cache):
    """Catches points that are lost when a solved task is tried again, and a record that cannot be deleted."""
    assert feedback.progress() == {}
    check(named(lambda log_p, log_q: 0))
    assert feedback.progress()["monte_carlo_kl"]["earned"] == 0
    check(monte_carlo_kl)
    check(named(lambda log_p, log_q: 0))
    found = feedback.progress()["monte_carlo_kl"]
    assert found["earned"] == TASKS["monte_carlo_kl"].points and found["tries"] == 3
    assert found["exercise"] == "ex02_maximum_likelihood" and [p.name for p in cache.iterdir()] == ["progress.json"]
    assert feedback.forget() and not feedback.forget() and feedback.progress() == {}


@pytest.mark.parametrize("text", ["", "{", "[1]", json.dumps({"monte_carlo_kl": 3}), "\x00"])
def test_a_damaged_record_is_no_obstacle(cache, text):
    """Catches a check that fails because of a broken file."""
    cache.mkdir()
    (cache / "progress.json").write_text(text)
    assert repr(check(monte_carlo_kl)) != "0.0" and feedback.progress()["monte_carlo_kl"]["tries"] == 1


def test_a_place_that_cannot_be_written_is_no_obstacle(monkeypatch, tmp_path):
    """Catches a check that fails on a read-only home."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file" / "below"))
    assert repr(check(monte_carlo_kl)) != "0.0" and feedback.progress() == {}


def test_text_is_printed_where_no_html_is_shown(capfd, monkeypatch):
    """Catches a terminal that shows only a number, a notebook that shows the verdict twice, and anything on stderr."""
    check(monte_carlo_kl)
    out, err = capfd.readouterr()
    assert out.startswith("Passed") and err == ""
    monkeypatch.setattr(feedback, "_shows_html", lambda: True)
    check(monte_carlo_kl)
    assert capfd.readouterr().out == ""
