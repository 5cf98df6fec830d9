"""Wrong versions of the cohort grader: what reads submissions, cuts out answers, writes reports and exports."""

from tests.mutants.mutant import below

_mutant = below("course_lib/grading/", "tests/grading/")

MUTANTS = [
    _mutant(
        "a link among the submissions is followed",
        "submission.py",
        "(path.stat() if link_ok else path.lstat())",
        "path.stat()",
        "test_submission.py::test_what_is_no_regular_file_is_named_not_opened",
    ),
    _mutant(
        "a check cell counts as the answer",
        "submission.py",
        'nbgrader.get("solution") is not True',
        'nbgrader.get("solution") is None',
        "test_submission.py::test_only_answer_cells_carry_a_task",
    ),
    _mutant(
        "a notebook of any size is read",
        "submission.py",
        "if info.st_size > MAX_BYTES:",
        "if info.st_size > 2**60:",
        "test_submission.py::test_a_huge_file_is_not_read",
    ),
    _mutant(
        "the exercise is the one with the fewest tasks",
        "submission.py",
        "best = max(scores",
        "best = min(scores",
        "test_submission.py::test_the_exercise_is_the_one_with_most_tasks",
    ),
    _mutant(
        "training loops run",
        "slicing.py",
        "and not _is_training(statement.node)",
        "",
        "test_slicing.py::test_training_does_not_run",
    ),
    _mutant(
        "the last version counts, not the one in the answer cell",
        "slicing.py",
        "chosen = self.marked.get(name)",
        "chosen = None",
        "test_slicing.py::test_the_marked_cell_counts_and_a_later_scratch_version_does_not",
    ),
    _mutant(
        "a magic makes its cell unreadable",
        "slicing.py",
        "match = _MAGIC.match(lines[index])",
        "match = None",
        "test_slicing.py::test_magics_are_tolerated",
    ),
    _mutant(
        "a name that is a formula reaches the spreadsheet",
        "report.py",
        'if text[:1] in ("=", "+",',
        'if text[:1] in ("+",',
        "test_report.py::test_no_cell_is_a_formula",
    ),
    _mutant(
        "what a student wrote is markup in the feedback",
        "report.py",
        "return html.escape(clean(text, limit))",
        "return clean(text, limit)",
        "test_report.py::test_html_is_escaped_self_contained_and_light",
    ),
    _mutant(
        "results.json grows with what was printed",
        "report.py",
        "if len(text.encode()) <= MAX_JSON:",
        "if text:",
        "test_report.py::test_size_is_bounded_and_json_valid",
    ),
    _mutant(
        "an old score outlives a regrade that could not be written",
        "report.py",
        "stale = [name for name in pages if not remove(folder / name)]",
        "stale = []",
        "test_cohort.py::test_a_result_that_cannot_be_replaced_is_removed_and_said",
    ),
    _mutant(
        "an ungradable submission is called graded",
        "cohort.py",
        'return "ungradable" if self.reason else "graded"',
        'return "graded"',
        "test_cohort.py::test_a_mixed_folder",
    ),
    _mutant(
        "the autograder carries the answers of all exercises",
        "export.py",
        "if is_task and not (inside.stem == exercise or",
        "if is_task and not (inside.stem or",
        "test_export.py::test_the_zip_holds_one_exercise_and_no_solutions",
    ),
    _mutant(
        "an instructor's configuration is overwritten",
        "export.py",
        "if not config.exists():",
        "if True:",
        "test_export.py::test_the_nbgrader_folder",
    ),
    _mutant(
        "a verdict imports torch's compiler",
        "pristine.py",
        "        if deterministic:\n            torch.use_deterministic_algorithms(False)",
        "        torch.use_deterministic_algorithms(False)",
        "test_start.py::test_a_verdict_imports_no_compiler",
    ),
    _mutant(
        "memory is thrown away instead of gathered",
        "pages.py",
        "_COLLAPSE = 25",
        "_COLLAPSE = 4",
        "test_start.py::test_gathering_memory_changes_none_of_it",
    ),
]
