"""Bugs in the tasks of ex01 and ex02 and in the build of exercises/ that the tests must notice."""

from tests.mutants.mutant import Mutant

EX01 = "course_lib/grading/tasks/ex01_density_estimation.py"
EX02 = "course_lib/grading/tasks/ex02_maximum_likelihood.py"
BUILD = "course_lib/grading/build.py"
RIGHT = "tests/grading/test_tasks.py::test_independent_right_answers_pass"
WRONG = "tests/grading/test_tasks.py::test_other_wrong_answers_are_refused"

MUTANTS = [
    Mutant("the reference histogram closes its bins on the right", EX01, "def _bin(v, edges, right=True):",
           "def _bin(v, edges, right=False):", (f"{RIGHT}[histogram_log_density-histogram_by_comparison]",)),
    Mutant("the reference kernel has no half", EX01,
           "log_kernel = -0.5 * _square_distances(x, x_train) / bandwidth**2\n"
           "    log_normaliser", "log_kernel = -_square_distances(x, x_train) / bandwidth**2\n    log_normaliser",
           (f"{RIGHT}[kde_log_density-kde_by_mixture]",)),
    Mutant("the reference ball has Gamma(d/2)", EX01, "math.lgamma(0.5 * d + 1) - d * math.log(2)",
           "math.lgamma(0.5 * d) - d * math.log(2)", (f"{RIGHT}[log_ball_to_cube_ratio-ball_by_recursion]",)),
    Mutant("the reference mask is not strict", EX01, "return log_p < _quantile(log_p_train, alpha)",
           "return log_p <= _quantile(log_p_train, alpha)", (f"{RIGHT}[outlier_mask-outliers_by_sorting]",)),
    Mutant("no gradient is asked of the kernel estimate", EX01,
           "def one(n, m, d, dtype, label, grad=(0, 1), tensor=False):",
           "def one(n, m, d, dtype, label, grad=(), tensor=False):",
           ("tests/grading/test_tasks.py::test_cases_cover_what_answers_differ_in[kde_log_density]",)),
    Mutant("the reference covariance is unbiased", EX02, "return mean, _scatter(x, mean) / len(x)",
           "return mean, _scatter(x, mean) / max(len(x) - 1, 1)", (f"{RIGHT}[gaussian_mle-mle_by_torch_cov]",)),
    Mutant("the M step is held loosely", EX02, "atol=5e-6,", "atol=5e-3,", (f"{WRONG}[a ridge of 1e-6]",)),
    Mutant("gradients off the simplex are compared", EX02, "grad=(0, 1), simplex=(1,))", "grad=(0, 1))",
           (f"{RIGHT}[gmm_m_step-m_step_normalised_first]",)),
    Mutant("the stub loses its indent", BUILD, "indent + stub for stub", "stub for stub",
           ("tests/grading/test_build.py::test_a_solution_becomes_the_stub_at_its_indent",)),
    Mutant("checksums do not cover the points", BUILD, "    if flags[0]:\n        parts.append",
           "    if False:\n        parts.append",
           ("tests/grading/test_build.py::test_the_checksum_follows_everything_nbgrader_signs",)),
    Mutant("a build overwrites answers", BUILD, "if old is not None and _answered(old):", "if False:",
           ("tests/grading/test_build.py::test_a_student_s_answers_are_not_lost",)),
    Mutant("--check passes a difference", BUILD, "    return 0 if all(ok for ok, _ in results) else 1", "    return 0",
           ("tests/grading/test_build.py::test_check_names_what_differs_and_changes_nothing",)),
]  # fmt: skip
