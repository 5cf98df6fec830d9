"""Bugs in the tasks of ex06 that the tests must notice."""

from tests.mutants.mutant import Mutant

EX06 = "course_lib/grading/tasks/ex06_latent_space.py"
RIGHT = "tests/grading/test_tasks.py::test_independent_right_answers_pass"
WRONG = "tests/grading/test_tasks.py::test_other_wrong_answers_are_refused"

MUTANTS = [
    Mutant("the reference arc begins at its end", EX06, "else _arc(z0, z1, t, angle)", "else _arc(z1, z0, t, angle)",
           (f"{RIGHT}[slerp-slerp_by_acos]",)),
    Mutant("the reference direction points the other way", EX06,
           "_direction_reference = _groups(lambda a, b: _unit(a.mean(0) - b.mean(0)))",
           "_direction_reference = _groups(lambda a, b: _unit(b.mean(0) - a.mean(0)))",
           (f"{RIGHT}[attribute_direction-direction_by_normalize]",)),
    Mutant("the length of the other is forgotten", EX06,
           "return _unit(direction - (direction @ other) / (other @ other) * other)",
           "return _unit(direction - (direction @ other) * other)", (f"{RIGHT}[project_out-project_by_matrix]",)),
    Mutant("the reference gap takes the worst latent", EX06, "rest=lambda top: top[1]):", "rest=lambda top: top[-1]):",
           (f"{RIGHT}[mutual_information_gap-gap_by_topk]",)),
    Mutant("the library may do the task", EX06, '(*ANSWERS, "course_lib.latent", "course_lib.disentanglement")',
           "ANSWERS", (f"{WRONG}[the latent library]",)),
]  # fmt: skip
