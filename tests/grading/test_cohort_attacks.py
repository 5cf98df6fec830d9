"""Hostile notebooks among honest ones: none earns a point it did not work for, none costs another a point."""

# ruff: noqa: E501 (students' code in one line each)

import os

import pytest

from course_lib.grading import cohort, submission
from tests.grading.notebooks import RIGHT, cell, notebook, right, write

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading a folder needs Linux or macOS")
TASK = "log_ball_to_cube_ratio"
HEAD = f"def {TASK}(d):\n    "
ATTACKS = {
    "equal to everything": f"class E(float):\n    __eq__ = __le__ = __ge__ = lambda s, o: True\n    __sub__ = lambda s, o: 0.0\ndef {TASK}(d): return E(0)",
    "patched comparison": f"import torch, math\ntorch.allclose = torch.equal = lambda *a, **k: True\n{HEAD}torch.allclose = torch.isclose = lambda *a, **k: True; return 0.0",
    "reads the task": f"{HEAD}from course_lib.grading import TASKS; return TASKS['{TASK}'].reference(d)",
    "reads the solution file": f"import glob\n{HEAD}\n    for p in glob.glob('/**/{TASK}*', recursive=True) + glob.glob('/**/tasks/*.py', recursive=True):\n        raise SystemExit(p)\n    return 0.0",
    "walks the frames": f"import sys\n{HEAD}\n    f = sys._getframe()\n    while f:\n        for v in list(f.f_locals.values()):\n            if hasattr(v, 'reference'): return v.reference(d)\n        f = f.f_back\n    return 0.0",
    "walks the heap": f"import gc\n{HEAD}\n    for o in gc.get_objects():\n        try:\n            if getattr(o, 'name', '') == '{TASK}' and hasattr(o, 'reference'): return o.reference(d)\n        except Exception: pass\n    return 0.0",
    "forged message": f"import os, json, struct\n{HEAD}\n    h = json.dumps(dict(status='passed', message='', trace='')).encode()\n    for fd in range(3, 9):\n        try: os.write(fd, struct.pack('<II', len(h), 0) + h)\n        except OSError: pass\n    os._exit(0)",
    "empty observation": f"import os, json, struct\n{HEAD}\n    h = json.dumps(dict(status='observed', message='', trace='')).encode()\n    os.write(3, struct.pack('<II', len(h), 0) + h)\n    os._exit(0)",
    "endless message": f"import os, struct\n{HEAD}\n    os.write(3, struct.pack('<II', 2**20, 2**26))\n    while True: os.write(3, bytes(2**16))",
    "pickle": f"import os, pickle\n{HEAD}\n    os.write(3, pickle.dumps(print) * 100)\n    return 0.0",
    "patched probe": f"{HEAD}\n    from course_lib.grading import probe, codec, supervisor\n    probe.observe = codec.encode = lambda *a, **k: b''\n    supervisor.json.dumps = lambda *a: '{{}}'\n    return 0.0",
    "lazy object": f"class L:\n    def __float__(self): return 0.0\n    def __getattr__(self, n): return self\ndef {TASK}(d): return L()",
    "nan": f"{HEAD}return float('nan')",
    "constant": f"{HEAD}return -d * 0.24",
    "not callable": f"{TASK} = 3",
}  # fmt: skip
NUISANCES = {
    "exits at once": "import os\nos._exit(0)\nx = 1",
    "never ends": "while True: pass",
    "breaks torch": f"import torch\ntorch.set_default_dtype(torch.float64)\ntorch.Tensor.__add__ = None\n{HEAD}return torch.ones(2) + 1",
    "floods": f"{HEAD}\n    while True: print('z' * 10**6)",
    "kills everything": f"import os, signal\n{HEAD}\n    os.kill(-1, 9)\n    os.kill(1, 9)\n    os.kill(os.getppid(), 9)\n    return 0.0",
    "fills the disk": f"{HEAD}\n    for i in range(10**4): open(f'/tmp/{{i}}', 'wb').write(bytes(10**7))",
}  # fmt: skip


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """All of them in one batch, an honest notebook between any two, two at a time, few seconds each."""
    folder = tmp_path_factory.mktemp("cohort")
    for i, (name, source) in enumerate((ATTACKS | NUISANCES).items()):
        others = [cell(code, grade_id=task) for task, code in RIGHT.items() if task != TASK]
        write(folder / f"{i:02}a {name}.ipynb", notebook(source, *others))
        write(folder / f"{i:02}b honest.ipynb", right())
    found, settings = submission.find([folder]), cohort.Settings(seed=11, timeout=4.0, memory=500)
    graded = list(cohort.grade_here(found, settings, jobs=2, notice=lambda text: None))
    assert len(graded) == len(found)
    return {g.name: g for g in graded}


def status(graded, task=TASK):
    return next(result.status for result in graded.results if result.task == task)


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_earns_the_point(verdicts, name):
    """Catches a forged, leaked or copied pass."""
    graded = next(g for key, g in verdicts.items() if name in key)
    assert not graded.reason and status(graded) != "passed", graded


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ATTACKS, *NUISANCES])
def test_the_rest_of_the_notebook_still_counts(verdicts, name):
    """Catches one bad answer costing the right ones beside it."""
    graded = next(g for key, g in verdicts.items() if name in key)
    assert {status(graded, task) for task in RIGHT if task != TASK} == {"passed"}, graded


@pytest.mark.slow
def test_honest_neighbours_keep_every_point(verdicts):
    """Catches anything of a hostile submission reaching the next one on the same worker."""
    honest = [g for key, g in verdicts.items() if "honest" in key]
    assert len(honest) == len(ATTACKS) + len(NUISANCES)
    assert {(task, status(g, task)) for g in honest for task in RIGHT} == {(task, "passed") for task in RIGHT}
