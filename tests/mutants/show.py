"""Wrong versions of what notebooks show: pictures, live controls, quizzes, the headless run."""

from tests.mutants.mutant import Mutant

PLOTS, WIDGETS, QUIZ, NOTEBOOK = (f"course_lib/{name}.py" for name in ("plots", "widgets", "quiz", "notebook"))

MUTANTS = [
    Mutant(
        "a density map upside down",
        PLOTS,
        'origin="lower"',
        'origin="upper"',
        "tests/test_plots.py",
    ),
    Mutant(
        "contours of log p in place of -log p",
        PLOTS,
        "values = -_on_grid(",
        "values = _on_grid(",
        "tests/test_plots.py",
    ),
    Mutant(
        "the grid runs over y first",
        PLOTS,
        "xs.repeat(len(ys)), ys.repeat_interleave(len(xs))",
        "xs.repeat_interleave(len(ys)), ys.repeat(len(xs))",
        "tests/test_plots.py",
    ),
    Mutant(
        "the image grid fills column by column",
        PLOTS,
        "(i // columns) * (height + gap), (i % columns) * (width + gap)",
        "(i % rows) * (height + gap), (i // rows) * (width + gap)",
        "tests/test_plots.py",
    ),
    Mutant(
        "alternative text is not escaped",
        PLOTS,
        'html.escape(" ".join(alt.split()), quote=True)',
        '" ".join(alt.split())',
        "tests/test_plots.py",
    ),
    Mutant(
        "every position shows the first picture",
        WIDGETS,
        "self._drawn is not None and self._drawn[0] == values",
        "self._drawn is not None",
        "tests/test_widgets.py",
    ),
    Mutant(
        "each panel of the filmstrip has the first values",
        WIDGETS,
        "self.draw(panels, **values)",
        "self.draw(panels, **self.static[0])",
        "tests/test_widgets.py",
    ),
    Mutant(
        "ticks keep the style of an earlier position",
        WIDGETS,
        "if style == plain:",
        "if True:",
        "tests/test_widgets.py",
    ),
    Mutant(
        "quiz indices count from 1",
        QUIZ,
        'if choice == question["answer"]:',
        'if choice + 1 == question["answer"]:',
        "tests/test_quiz.py",
    ),
    Mutant(
        "the widget views stay and all else goes",
        NOTEBOOK,
        'if WIDGET_VIEW not in output.get("data", {})',
        'if WIDGET_VIEW in output.get("data", {})',
        "tests/test_notebook.py",
    ),
    Mutant(
        "peak memory forgets the kernel's children",
        NOTEBOOK,
        "[kernel, *kernel.children(recursive=True)]",
        "[kernel]",
        "tests/test_notebook.py",
    ),
    Mutant(
        "the seed of a lecture is ignored",
        NOTEBOOK,
        'torch.manual_seed(checks.count(seed, "seed", at_least=0))',
        "torch.manual_seed(0)",
        "tests/test_notebook.py",
    ),
]
