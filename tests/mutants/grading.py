"""Wrong versions of the grading engine that its tests must notice."""

from tests.mutants.mutant import below

_mutant = below("course_lib/grading/", "tests/grading/")

MUTANTS = [
    _mutant(
        "gradients along ones",
        "probe.py",
        "(1 + 0.5 * torch.sin(1 + 2.3 * steps))",
        "torch.ones_like(steps)",
        "test_probe.py",
    ),
    _mutant(
        "the second call gets no arguments that require a gradient",
        "probe.py",
        "again[position] = again[position].requires_grad_()",
        "again[position] = again[position]",
        "test_judge.py",
    ),
    _mutant("arguments are not copied for a call", "probe.py", "return value.clone()", "return value", "test_probe.py"),
    _mutant(
        "the second result is not compared",
        "probe.py",
        'record["again"] = None if second == first else codec.decode(second)',
        'record["again"] = None',
        "test_probe.py",
    ),
    _mutant(
        "infinities agree with anything",
        "compare.py",
        "(near & got.isfinite() & want.isfinite())",
        "(near | want.isinf())",
        "test_judge.py",
    ),
    _mutant(
        "the tolerance has no upper side",
        "compare.py",
        "near = (got - want).abs() <=",
        "near = (got - want) <=",
        "test_judge.py",
    ),
    _mutant(
        "float64 is held to the tolerances of float32",
        "compare.py",
        "(task.rtol * 1e-2, task.atol * 1e-1)",
        "(task.rtol, task.atol)",
        "test_judge.py",
    ),
    _mutant(
        "rounding is forgiven without limit",
        "compare.py",
        "error.minimum(1e-2 * (1 + exact.abs()))",
        "100 * error",
        "test_judge.py",
    ),
    _mutant(
        "the dtype is not checked",
        "compare.py",
        "if got.dtype != want.dtype and not",
        "if got.dtype == want.dtype and not",
        "test_judge.py",
    ),
    _mutant(
        "an int is taken for a bool",
        "compare.py",
        "value is None or (isinstance(want, bool) and not isinstance(value, bool))",
        "value is None",
        "test_judge.py",
    ),
    _mutant(
        "a change of an argument is forgiven",
        "judge.py",
        'for at in record["mutated"][:1]:',
        'for at in record["mutated"][1:]:',
        "test_judge.py",
    ),
    _mutant(
        "a result without gradient passes",
        "judge.py",
        "if not wanted or all(not bool(g.any()) for g in wanted):",
        "if not grads or all(not bool(g.any()) for g in wanted):",
        "test_judge.py",
    ),
    _mutant(
        "only the first case is judged",
        "judge.py",
        "fault for i, case in enumerate(cases) for fault",
        "fault for i, case in enumerate(cases[:1]) for fault",
        "test_judge.py",
    ),
    _mutant(
        "a forbidden call is forgiven",
        "judge.py",
        'if seen["forbidden"]:',
        'if not seen["records"]:',
        "test_attacks.py",
    ),
    _mutant("an observation may lack records", "judge.py", 'len(seen["records"]) != wanted', "False", "test_judge.py"),
    _mutant(
        "a mistake explains an answer that differs from it",
        "diagnosis.py",
        "if change is None or not change(g, w, *limits[i]):",
        "if change is not None and not change(g, w, *limits[i]):",
        "test_judge.py",
    ),
    _mutant(
        "sources of the answers may be read", "child.py", "if path.startswith(_HIDDEN):", "if False:", "test_attacks.py"
    ),
    _mutant(
        "the reference is not disarmed",
        "child.py",
        "functions = [task.reference, task.cases,",
        "functions = [task.cases,",
        "test_attacks.py",
        "test_engine.py",
    ),
    _mutant(
        "patched comparisons are not undone",
        "pristine.py",
        "if found is not value:",
        "if found is value:",
        "test_attacks.py",
    ),
    _mutant(
        "points are lost by a later try",
        "feedback.py",
        'max(result.earned, before.get("earned", 0.0))',
        "result.earned",
        "test_feedback.py",
    ),
    _mutant(
        "feedback is not escaped",
        "feedback.py",
        "parts = html.escape(message).split",
        "parts = message.split",
        "test_feedback.py",
    ),
    _mutant(
        "a tensor may share bytes with another",
        "codec.py",
        "start != self.used or start + size > len(self.blobs)",
        "start + size > len(self.blobs)",
        "test_codec.py",
    ),
]
