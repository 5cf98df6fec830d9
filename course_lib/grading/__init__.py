"""Grading that explains: `check(fn)` in a notebook, `grade(name, fn)` in code, `TASKS` for what there is.

The side that runs an answer (`probe`) gets code and inputs and returns what it saw; the side that knows the right
answer (`judge`) computes it afterwards and says what is wrong. `engine` joins the two on one machine, `cohort` over
a folder of submissions in a sandbox. Importing this package loads none of it.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping

_LAZY = {"grade": "engine", "check": "feedback", "Result": "task", "Task": "task", "Case": "task", "Mistake": "task"}


class _Tasks(Mapping):
    """Every task by name, in the order of the exercises; the modules of `tasks` are read when it is first used."""

    def __init__(self) -> None:
        self._found: dict | None = None

    def _all(self) -> dict:
        if self._found is None:
            package = importlib.import_module("course_lib.grading.tasks")
            found: dict = {}
            for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
                if not info.name.startswith("ex"):
                    continue
                for task in importlib.import_module(f"{package.__name__}.{info.name}").TASKS:
                    if task.name in found:
                        raise ValueError(
                            f"two tasks are called {task.name}: in {found[task.name].exercise}, {task.exercise}"
                        )
                    found[task.name] = task
            self._found = found
        return self._found

    def __getitem__(self, name: str):
        try:
            return self._all()[name]
        except (KeyError, TypeError):
            near = difflib.get_close_matches(str(name), self._all(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the tasks are {', '.join(self._all())}"
            raise KeyError(f"there is no task called {name!r}{hint}") from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"TASKS({', '.join(self)})"


TASKS = _Tasks()


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
