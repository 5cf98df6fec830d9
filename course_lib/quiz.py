"""Checkpoint quizzes: plain data, a static form that reads without a kernel, and a small control over it.

A quiz is `data/quizzes/NAME.json`, a list of questions. Each is an object with

    question  string; `$...$` is typeset
    options   list of 2 to 6 strings
    answer    index of the right option, from 0
    why       string: why that option is right
    why_not   optional list of strings, one per option ("" for the right one): what is wrong with that choice

The static form shows the question and its options, and hides the answer in `<details>`. With a kernel each question
also gets a row of letters that answers back. Nothing is recorded: a checkpoint is for the reader.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable

from course_lib import checks, paths

LETTERS = "abcdef"
FIELDS = {"question", "options", "answer", "why", "why_not"}


def quiz(name: str) -> None:
    """Show the quiz of a lecture, such as `quiz("01_density_estimation")`.

    Raises:
        ValueError: if there is no such quiz, or its file is malformed; the message says where.
    """
    from IPython.display import display

    from course_lib.widgets import has_kernel

    live = has_kernel()
    for number, question in enumerate(load(name), start=1):
        plain = f"[question {number}: {question['question']}]"
        display({"text/html": static_form(question, number), "text/plain": plain}, raw=True)
        control = _control(question) if live else None
        if control is not None:
            display(control)


def load(name: str) -> list[dict]:
    """The questions of a quiz, checked against the format above."""
    folder = paths.data_dir() / "quizzes"
    checks.one_of(name, "quiz name", sorted(path.stem for path in folder.glob("*.json")))
    path = folder / f"{name}.json"
    try:
        questions = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name} is not JSON: {error.msg} at line {error.lineno}") from None
    return validate(questions, path.name)


def validate(questions, source: str) -> list[dict]:
    """Return `questions` if they follow the format, else raise a ValueError that names the question and the field."""
    if not isinstance(questions, list) or not questions:
        raise ValueError(f"{source} must be a list of at least one question")
    for number, question in enumerate(questions, start=1):
        problem = _problem(question)
        if problem:
            raise ValueError(f"{source}, question {number}: {problem}")
    return questions


def _problem(question) -> str | None:
    if not isinstance(question, dict):
        return f"must be an object, got {type(question).__name__}"
    if unknown := set(question) - FIELDS:
        return f"unknown field {sorted(unknown)[0]!r}; the fields are {', '.join(sorted(FIELDS))}"
    for field in ("question", "why"):
        if not isinstance(question.get(field), str) or not question[field].strip():
            return f"{field!r} must be a sentence, got {question.get(field)!r}"
    options = question.get("options")
    if not _strings(options) or not 2 <= len(options) <= len(LETTERS) or len(set(options)) < len(options):
        return f"'options' must be 2 to {len(LETTERS)} different strings, got {options!r}"
    answer = question.get("answer")
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(options):
        return f"'answer' must be an index from 0 to {len(options) - 1}, got {answer!r}"
    why_not = question.get("why_not")
    if why_not is not None and (not _strings(why_not) or len(why_not) != len(options)):
        return f"'why_not' must be a list of {len(options)} strings, one per option, got {why_not!r}"
    return None


def _strings(value) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def static_form(question: dict, number: int) -> str:
    """The question as HTML that needs no kernel and no script: its options as a lettered list, its answer hidden."""
    # Letters as text: JupyterLab's style sheet numbers every list, whatever its type says.
    options = "<br/>".join(f"{LETTERS[i]}) {html.escape(option)}" for i, option in enumerate(question["options"]))
    answer = question["answer"]
    right = f"<b>{LETTERS[answer]}) {html.escape(question['options'][answer])}</b>"
    return (f'<p><b>Question {number}.</b> {html.escape(question["question"])}</p><p>{options}</p>'
            f"<details><summary>Answer and why</summary><p>{right}<br/>{html.escape(question['why'])}</p></details>"
            )  # fmt: skip


def respond(question: dict, choice: int) -> str:
    """The HTML that answers a choice: right and why, or what is wrong with it, the right answer not given away."""
    choice = checks.count(choice, "choice", at_least=0, at_most=len(question["options"]) - 1)
    if choice == question["answer"]:
        return f"<b>{LETTERS[choice]}) is right.</b> {html.escape(question['why'])}"
    reason = (question.get("why_not") or [""] * len(question["options"]))[choice]
    return f"<b>Not {LETTERS[choice]}).</b> {html.escape(reason) or 'Think again, or open the answer above.'}"


def _control(question: dict, respond: Callable[[dict, int], str] = respond):
    """A row of letters and the sentence that answers the one pressed; None where ipywidgets is not installed."""
    try:
        import ipywidgets
    except ImportError:
        return None
    message = ipywidgets.HTMLMath()
    letters = [ipywidgets.Button(description=f"{LETTERS[i]})", layout={"width": "3.5em"})
               for i in range(len(question["options"]))]  # fmt: skip

    def press(choice: int) -> Callable:
        def answer(_button) -> None:
            message.value = respond(question, choice)

        return answer

    for i, button in enumerate(letters):
        button.on_click(press(i))
    return ipywidgets.VBox([ipywidgets.HBox(letters), message])
