"""What an exported autograder runs inside Gradescope's container: one submission in, results.json out.

`python -m course_lib.grading.gradescope EXERCISE SUBMISSION_FOLDER RESULTS_FILE`
"""

from __future__ import annotations

import sys
from pathlib import Path

from course_lib.grading import cohort, report, submission
from course_lib.grading.cohort import Graded


def grade_submission(exercise: str, folder: Path, results: Path, **settings) -> Graded:
    """Grade the notebook of `exercise` in `folder` and write Gradescope's results.json.

    Args:
        settings: of `cohort.Settings`; the seed is fresh unless given.
    """
    settings = cohort.Settings(**{"seed": cohort.new_seed(), "hide": (str(folder), str(results.parent)), **settings})
    graded = _grade(exercise, folder, settings)
    report.write(results, report.results_json(graded))
    return graded


def _grade(exercise: str, folder: Path, settings: cohort.Settings) -> Graded:
    found = submission.find([folder])
    if not found:
        return Graded("submission", reason=f"no notebook was handed in; submit {exercise}.ipynb")
    grader = cohort.Grader(settings)
    reasons = {}
    # Students hand in more than one file: first the one whose name says that it is the exercise.
    for item in sorted(found, key=lambda item: (exercise not in item.name, item.name)):
        try:
            if item.problem:
                raise submission.Unreadable(item.problem)
            cells = submission.read(item.path)
            submission.exercise_of(cells, {exercise: grader.exercises[exercise]}, item.path.name)
        except submission.Unreadable as error:
            reasons[item.name] = str(error)
            continue
        with cohort.new_sandbox(grader) as sandbox:
            if sandbox.weaker:
                print(f"note: {sandbox.weaker}")
            return grader.grade_cells(item.name, cells, sandbox, exercise)
    return Graded("submission", reason="; ".join(f"{report.one_line(name)}: {why}" for name, why in reasons.items()))


def main(argv: list[str]) -> int:
    exercise, folder, results = argv
    graded = grade_submission(exercise, Path(folder), Path(results))
    print(report.table([graded]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
