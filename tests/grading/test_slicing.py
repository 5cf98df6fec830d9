"""Of a notebook just what a function needs is run: definitions, imports, cheap constants; no training, no magics."""

import pytest

from course_lib.grading.slicing import Notebook, parse


def run(name, *cells):
    """The function a slice defines, and the names that came to be on the way."""
    part = Notebook([(*c, i) if isinstance(c, tuple) else (c, None, i) for i, c in enumerate(cells, 1)]).slice(name)
    assert part.problem is None, part.problem
    scope = {"__name__": "__main__"}
    for _, code in part.steps:
        exec(code, scope)
    return scope[name], scope


def problem(name, *cells):
    part = Notebook([(*c, i) if isinstance(c, tuple) else (c, None, i) for i, c in enumerate(cells, 1)]).slice(name)
    return part.problem, part.missing


def test_only_what_is_used_runs():
    """Catches running the whole notebook: the other statements here raise or never end."""
    f, scope = run("f", "import math\nimport nowhere_to_be_found\n1 / 0", "C = math.e\nD = 1 / 0\nwhile True: pass",
                   "def helper(x):\n    return x * C", "def f(x):\n    D = 1\n    return helper(x) + D")  # fmt: skip
    assert f(0) == 1 and "D" not in scope


def test_tables_filled_in_place_are_kept():
    """Catches keeping an assignment but not the loop, the item or the method call that fills it."""
    f, _ = run("f", "t = {}\nfor i in range(3):\n    t[i] = i", "t['a'] = 5", "l = []\nl.append(4)\nn = 1\nn += 2",
               "def f(): return t[2] + t['a'] + l[0] + n")  # fmt: skip
    assert f() == 2 + 5 + 4 + 3


def test_training_does_not_run():
    """Catches a loop or a call that trains, though it binds a name that the function mentions."""
    f, scope = run(
        "f", "k = 1", "for k in range(10**9):\n    loss.backward()", "h = train(model)", "def f(): return k, h"
    )
    assert f.__globals__["k"] == 1 and "h" not in scope


def test_modules_are_not_changed_by_what_is_called_on_them():
    """Catches taking torch.manual_seed(0) for a change of torch, and so running every such line."""
    _, scope = run("f", "import json\njson.boom()", "def f(): return json.dumps(1)")
    assert scope["f"]() == "1"


def test_the_marked_cell_counts_and_a_later_scratch_version_does_not():
    """Catches grading a scratch redefinition at the end instead of the answer cell; a stub is no answer."""
    assert run("f", ("def f(): return 1", "f"), "def f(): return 2")[0]() == 1
    assert (
        run(
            "f",
            ("def f():\n    '''doc'''\n    # YOUR CODE HERE\n    raise NotImplementedError()", "f"),
            "def f(): return 2",
        )[0]()
        == 2
    )
    assert run("f", "def f(): return 1", "def f(): return 2")[0]() == 2
    assert run("f", "def f(): return 1\nimport functools\nf = functools.lru_cache(f)")[0]() == 1
    assert run("f", "f = lambda: 7")[0]() == 7


def test_what_is_missing_is_said():
    """Catches an empty answer being reported as wrong, and a renamed or broken one as absent without a hint."""
    assert problem("f", "def f(x):\n    raise NotImplementedError()") == (
        "f is not written yet: the cell still holds the stub it came with.", True)  # fmt: skip
    assert "defines g" in problem("f", ("def g(x): return x", "f"))[0]
    text, missing = problem("f", "x = 1", "def f(x:\n    return x")
    assert "Cell 2" in text and "line 1" in text and not missing
    assert problem("f", "x = 1")[1]


@pytest.mark.parametrize("source, name", [
    ("%matplotlib inline\ndef f(): return 1", "f"),
    ("def f():\n    %time x = 1\n    return 1", "f"),
    ("%%time\ndef f(): return 1", "f"),
    ("!pip install torch\nfiles = !ls\ndef f(): return 1", "f"),
    ("def f(): return 1\nf?\n?f\nf??", "f"),
    ("s = '''\n%not a magic\n'''\ndef f(): return (3\n    % 2) if '%not' in s else 0", "f"),
    ("s = '''\n%not a magic\n'''\n%time\ndef f(): return (3\n    % 2) if '%not' in s else 0", "f"),
    ("def f(): return 1\r\n", "f"),
])  # fmt: skip
def test_magics_are_tolerated(source, name):
    """Catches a magic losing the cell, and text or arithmetic that looks like a magic being changed."""
    assert run(name, source)[0]() == 1


def test_other_languages_are_left_out():
    """Catches parsing a %%bash cell as Python."""
    assert parse("%%bash\nrm -rf /")[1].body == []


def test_a_broken_cell_costs_only_its_own_functions():
    """Catches one syntax error making the whole notebook ungradable."""
    assert run("f", "def f(): return 1", "def g(:")[0]() == 1


def test_future_annotations_hold_for_later_cells():
    """Catches evaluating an annotation that the notebook postponed."""
    assert run("f", "from __future__ import annotations", "def f(x: Unknown = 1): return x")[0]() == 1


@pytest.mark.parametrize(
    "source", ["(" * 5000 + ")" * 5000, "-" * 100_000 + "1", "x = " + "1+" * 50_000 + "1", "\x00", "\ufeffx = 1"]
)
def test_hostile_sources_are_a_sentence(source):
    """Catches RecursionError, MemoryError or ValueError of the parser leaving the slicer."""
    assert run("f", "def f(): return 1", source)[0]() == 1
