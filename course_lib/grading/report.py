"""What a graded submission looks like: a page for the student, Gradescope's results.json, a row of grades.csv, a table.

Everything a student wrote or printed is escaped, cut to size and free of control characters before it is shown.
"""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from course_lib.grading.cohort import Graded
from course_lib.grading.task import Result

MAX_JSON = 100_000
MAX_HTML = 500_000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")


def clean(text: str, limit: int) -> str:
    """`text` without terminal escapes and control characters, at most `limit` characters, saying what was left out."""
    text = _CONTROL.sub("\ufffd", _ESCAPES.sub("", str(text).replace("\r\n", "\n")))
    return text if len(text) <= limit else f"{text[:limit]}\n… ({len(text) - limit} more characters)"


def one_line(text: str, limit: int = 200) -> str:
    """`text` for a table: on one line, nothing a terminal would act on; names that are no text are escaped."""
    text = os.fsencode(text).decode("utf-8", "backslashreplace").replace("\n", "\\n").replace("\t", " ")
    text = _CONTROL.sub("\ufffd", text)
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[-limit // 2 :]}"


def number(value: float) -> str:
    return f"{value:.6g}"


def results_json(graded: Graded) -> str:
    """Gradescope's results.json, at most 100 KB of it whatever was printed."""
    for limit in (4000, 1500, 500, 150, 40):
        text = json.dumps(_results(graded, limit), ensure_ascii=False, indent=1)
        if len(text.encode()) <= MAX_JSON:
            break
    return text


def _results(graded: Graded, limit: int) -> dict:
    tests = [
        {
            "name": result.task,
            "score": result.earned,
            "max_score": result.points,
            "status": "passed" if result.passed else "failed",
            "output": _output(result, graded.outputs.get(result.task, ""), limit),
            "visibility": "visible",
        }
        for result in graded.results
    ]
    extra = {"submission": one_line(graded.name, 500), "exercise": graded.exercise, "status": graded.status}
    extra["tasks"] = {result.task: result.status for result in graded.results}
    extra["diagnoses"] = {result.task: result.diagnosis for result in graded.results if result.diagnosis}
    head = (
        f"Not graded: {graded.reason}"
        if graded.reason
        else f"{sum(r.passed for r in graded.results)} of {len(tests)} tasks passed."
    )
    return {
        "score": graded.score,
        "execution_time": round(graded.seconds, 2),
        "output": clean(head, 2000),
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
        "extra_data": extra,
    }


def _output(result: Result, printed: str, limit: int) -> str:
    parts = [result.message, result.example, result.trace, result.next_step]
    text = "\n\n".join(clean(part, limit) for part in parts if part)
    return f"{text}\n\nIt printed:\n{clean(printed, limit)}" if printed else text


_STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{margin:0 auto;max-width:46rem;padding:1.2rem 1rem 3rem;background:#fff;color:#1b1b1b;
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.05rem;margin:0;font-family:ui-monospace,Menlo,Consolas,monospace}
.who{color:#595959;margin:0 0 1rem}.bar{height:.7rem;border:1px solid #595959;border-radius:.35rem;overflow:hidden}
.bar div{height:100%;background:#0072b2}.total{margin:.4rem 0 1.6rem}.total b{font-size:1.3rem}
section{border:1px solid #c9c9c9;border-left:.45rem solid #d55e00;border-radius:.3rem;padding:.8rem 1rem;
margin:0 0 1rem;break-inside:avoid}section.passed{border-left-color:#0072b2}
header{display:flex;flex-wrap:wrap;gap:.2rem 1rem;justify-content:space-between;align-items:baseline}
.verdict{font-weight:600;color:#a34700;white-space:nowrap}.passed .verdict{color:#005a8c}p{margin:.5rem 0}
pre{background:#f5f5f5;padding:.6rem .7rem;margin:.5rem 0;overflow-x:auto;white-space:pre-wrap;border-radius:.2rem;
font:13px/1.45 ui-monospace,Menlo,Consolas,monospace}code{font:.92em ui-monospace,Menlo,Consolas,monospace}
summary{cursor:pointer;color:#595959}.next{color:#333}
@media print{body{max-width:none;padding:0;font-size:11pt}pre{font-size:9pt}section{border-color:#999 #999 #999 #d55e00}
section.passed{border-left-color:#0072b2}
details>summary{display:none}.bar div{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
_VERDICTS = {
    "passed": "passed", "wrong": "not yet", "error": "stopped with an error", "timeout": "took too long",
    "memory": "took too much memory", "crashed": "crashed", "missing": "not written yet",
}  # fmt: skip


def feedback_html(graded: Graded) -> str:
    """The student's page: one file without scripts or links, for a screen, a phone or paper; at most 500 KB."""
    for limit in (4000, 1000, 200):
        text = _page(graded, limit)
        if len(text.encode()) <= MAX_HTML:
            break
    return text


def _page(graded: Graded, limit: int) -> str:
    def safe(text: str) -> str:
        return html.escape(clean(text, limit))

    def prose(text: str) -> str:
        return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", safe(text))

    title = graded.exercise.replace("_", " ") or "Submission"
    share = 100 * graded.score / graded.max_score if graded.max_score else 0.0
    body = [f"<h1>{safe(title)}</h1>", f'<p class="who">{html.escape(one_line(graded.name, 300))}</p>']
    if graded.reason:
        body.append(f"<section><header><h2>Not graded</h2></header><p>{safe(graded.reason)}</p></section>")
    else:
        bar = f'<div style="width:{share:.1f}%"></div>'
        body.append(f'<div class="bar" role="img" aria-label="{share:.0f} per cent">{bar}</div>')
        body.append(f'<p class="total"><b>{number(graded.score)}</b> of {number(graded.max_score)} points</p>')
    for result in graded.results:
        printed = graded.outputs.get(result.task, "")
        verdict = f"{_VERDICTS[result.status]} · {number(result.earned)}/{number(result.points)}"
        body.append(f'<section class="{result.status}"><header><h2>{safe(result.task)}</h2>')
        body.append(f'<span class="verdict">{verdict}</span></header><p>{prose(result.message)}</p>')
        if result.example:
            body.append(f"<pre>{safe(result.example)}</pre>")
        if result.trace:
            body.append(f"<p>It stopped at</p><pre>{safe(result.trace)}</pre>")
        if result.next_step:
            body.append(f'<p class="next">→ {prose(result.next_step)}</p>')
        if printed:
            body.append(f"<details><summary>What it printed</summary><pre>{safe(printed)}</pre></details>")
        body.append("</section>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{safe(title)}: feedback</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def slim(graded: Graded) -> Graded:
    """What the table and grades.csv need of a submission: a cohort is kept in memory without its texts."""
    results = tuple(Result(r.task, r.status, r.points, "", r.diagnosis) for r in graded.results)
    return Graded(graded.name, graded.exercise, graded.reason, results, {}, graded.seconds)


def neutral(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def grades_csv(cohort: Iterable[Graded], tasks: list[str]) -> str:
    """grades.csv: one row per submission, by name; one column per task of the exercises that were handed in."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["submission", "exercise", "score", "max_score", "status", *tasks])
    for graded in sorted(cohort, key=lambda g: g.name):
        statuses = {result.task: result.status for result in graded.results}
        # A bare carriage return would end the row in some readers.
        name = os.fsencode(graded.name).decode("utf-8", "backslashreplace").replace("\r", "\\r")
        writer.writerow([neutral(name), graded.exercise, number(graded.score), number(graded.max_score), graded.status,
                         *(statuses.get(task, "") for task in tasks)])  # fmt: skip
    return buffer.getvalue()


def table(cohort: list[Graded]) -> str:
    """The terminal's summary: a line per submission, then what the class found hard."""
    lines = []
    width = max((columns(one_line(g.name, 48)) for g in cohort), default=10)
    for graded in sorted(cohort, key=lambda g: g.name):
        if graded.reason:
            lines.append(f"{_name(graded, width)}  ungradable")
            continue
        open_tasks = [f"{r.task} {r.diagnosis or r.status}" for r in graded.results if not r.passed]
        score = f"{number(graded.score)}/{number(graded.max_score)}"
        lines.append(f"{_name(graded, width)}  {score:>9}  {one_line('; '.join(open_tasks) or 'all passed', 240)}")
    return "\n".join(lines + _hard(cohort))


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: accents that combine take none, Chinese characters two."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _name(graded: Graded, width: int) -> str:
    name = one_line(graded.name, 48)
    return name + " " * (width - columns(name))


def _hard(cohort: list[Graded]) -> list[str]:
    results: dict[str, list[Result]] = {}
    for graded in cohort:
        for result in graded.results:
            results.setdefault(result.task, []).append(result)
    if len(cohort) < 2 or not results:
        return []
    lines = ["", f"{'task':38}  passed  most often"]
    for task, verdicts in results.items():
        common = Counter(v.diagnosis or v.status for v in verdicts if not v.passed).most_common(2)
        often = ", ".join(f"{count} × {what}" for what, count in common)
        lines.append(f"{task:38}  {sum(v.passed for v in verdicts):>3}/{len(verdicts):<3} {often}")
    return lines


def write(path: Path, text: str) -> None:
    """Write a file so that it is the old one or the new one, never half of either.

    Raises:
        OSError: if it cannot be written; nothing half-written remains.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def write_submission(out: Path, graded: Graded) -> str | None:
    """Write a submission's results.json and feedback.html; the sentence to report if that failed.

    A result that cannot be replaced is removed instead, since an old score must not pass for the new one.
    """
    folder = out / graded.name
    pages = {"results.json": results_json(graded), "feedback.html": feedback_html(graded)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            write(folder / name, text)
    except OSError as error:
        stale = [name for name in pages if not remove(folder / name)]
        what = f"; the old {' and '.join(stale)} could not be removed and is out of date" if stale else ""
        return f"its results could not be written ({error.strerror or error}){what}"
    return None


def remove(path: Path) -> bool:
    """Whether there is no such file any more."""
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        return True
    except OSError:
        return not path.exists()
    return True
