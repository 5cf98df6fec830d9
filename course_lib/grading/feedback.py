"""`check(fn)`: a verdict as a notebook shows it, and the record of what has been solved.

The HTML is for the student, the plain `repr` is the points as a float (what nbgrader reads as partial credit), and
where a front end shows no HTML the text is printed. `check` never raises and never shows a traceback of ours.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import sys
import tempfile
import time

from course_lib import paths
from course_lib.grading import TASKS, engine
from course_lib.grading.task import Result

_TITLES = {
    "passed": "Passed", "wrong": "Not yet", "error": "Not yet: it stops with an error", "timeout": "Not yet: too slow",
    "memory": "Not yet: too much memory", "crashed": "Not yet: it ended the process", "missing": "Not written yet",
}  # fmt: skip


class Feedback:
    """A verdict to look at: `_repr_html_` for notebooks, `str()` for terminals, `repr()` the points alone."""

    def __init__(self, result: Result):
        self.result = result

    def __repr__(self) -> str:
        return repr(float(self.result.earned))

    def __float__(self) -> float:
        return float(self.result.earned)

    def __str__(self) -> str:
        parts = [self._title(), self.result.message, self.result.trace, self.result.example, self.result.next_step]
        return "\n".join(part for part in parts if part)

    def _title(self) -> str:
        r = self.result
        title = _TITLES.get(r.status, r.status)
        return f"{title}: {r.task} ({r.earned:g} of {r.points:g} point{'s' if r.points != 1 else ''})"

    def _repr_html_(self) -> str:
        r = self.result
        colour = "#009E73" if r.passed else "#D55E00"
        mark = "✓" if r.passed else "✗"
        pre = "margin:.4em 0;padding:.4em .6em;background:#f4f4f4;color:#222;white-space:pre-wrap;font-size:.9em"
        rows = [f'<div style="font-weight:600;color:{colour}">{mark} {_text(self._title())}</div>']
        rows.append(f"<div>{_text(r.message)}</div>")
        rows += [f'<pre style="{pre}">{html.escape(part)}</pre>' for part in (r.trace, r.example) if part]
        if r.next_step:
            rows.append(f"<div><em>Next:</em> {_text(r.next_step)}</div>")
        style = f"border-left:4px solid {colour};padding:.4em .8em;margin:.3em 0;max-width:48em;line-height:1.45"
        return f'<div style="{style}" role="status">{"".join(rows)}</div>'


def _text(message: str) -> str:
    """Escaped text, with `code` between backticks set as code."""
    parts = html.escape(message).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 and i < len(parts) - 1 else part for i, part in enumerate(parts))


def check(answer, *, seed: int | None = None, timeout: float | int = 10.0) -> Feedback:
    """Check one exercise function against its task, which is found by the function's name.

    Args:
        answer: the function; `check(kde_log_density)`.
        seed: of the inputs; None draws fresh ones each time.
        timeout: seconds that the answer has for all its calls together.
    """
    feedback = Feedback(_result(answer, seed, timeout))
    with contextlib.suppress(Exception):
        _remember(feedback.result)
    if not _shows_html():
        print(feedback)
    return feedback


def _result(answer, seed: int | None, timeout: float | int) -> Result:
    name = getattr(answer, "__name__", None)
    try:
        if not isinstance(name, str):
            text = f"check() wants your function itself, as in `check(my_function)`; it got {type(answer).__name__}."
            return Result("check", "wrong", 0.0, text, stage="callable")
        if name not in TASKS:
            try:
                TASKS[name]
            except KeyError as error:
                step = "Keep the name that the exercise gives."
                return Result(
                    name, "wrong", 0.0, f"{error.args[0]}.".replace("'", "`"), next_step=step, stage="callable"
                )
        return engine.grade(name, answer, seed=seed, timeout=timeout)
    except Exception as error:  # whatever is wrong on our side must not look like the student's doing
        text = f"The check itself failed ({type(error).__name__}: {str(error)[:200]}); this is not your fault."
        return Result(
            str(name)[:80], "crashed", 0.0, text, next_step="Restart the kernel and run it again.", stage="check"
        )


def _shows_html() -> bool:
    """Whether the last value of a cell is shown as HTML: in a kernel of Jupyter or Colab."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def _file():
    return paths.cache_dir() / "progress.json"


def progress() -> dict[str, dict]:
    """What has been solved: task -> {"earned", "points", "tries", "exercise", "when"}; {} if nothing is recorded."""
    try:
        found = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}


def forget() -> bool:
    """Delete the record of progress; whether there was one."""
    with contextlib.suppress(FileNotFoundError):
        _file().unlink()
        return True
    return False


def _remember(result: Result) -> None:
    """Add a verdict to the record, by an atomic replacement; a task once solved stays solved."""
    if result.task not in TASKS:
        return
    record = progress()
    before = record.get(result.task, {})
    earned = max(result.earned, before.get("earned", 0.0))
    record[result.task] = {"earned": earned, "points": result.points, "tries": before.get("tries", 0) + 1,
                           "exercise": TASKS[result.task].exercise, "when": int(time.time())}  # fmt: skip
    _file().parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=_file().parent, prefix=".progress")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
        os.replace(name, _file())
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
