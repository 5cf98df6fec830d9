"""What an answer may not call while it is being graded: whoever calls it is noted and gets an error, not a value.

A function of the course is disarmed by replacing its code, so that every road to the object (an import, an alias, a
walk over `gc.get_objects()`) ends in the trap; anything else, such as `torch.cov`, by replacing the attribute.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path

#: Names of the traps that were called since they were set.
called: list[str] = []
_templates: dict[int, types.CodeType] = {}


class Forbidden(Exception):
    """The answer called something that does the whole task."""


def hit(name: str):
    called.append(name)
    raise Forbidden(f"{name} does the task for you; write it out yourself")


def set_traps(names: Iterable[str], answer: Callable | None = None, functions: Iterable = ()) -> Callable[[], None]:
    """Disarm everything `names` says, and `functions`; return what undoes it.

    Args:
        names: dotted names of modules (with all below them) or of single functions and classes.
        answer: the function to be graded, whose globals may hold an alias of a forbidden function.
        functions: function objects to disarm as well, wherever they live.
    """
    called.clear()
    names = tuple(names)
    undo: list[Callable[[], None]] = []
    modules = tuple(name for name in names if name in sys.modules or name.startswith("course_lib."))
    for path in _loaded(modules):
        for function in _functions_of(sys.modules[path]):
            _swap(function, f"{path}.{function.__qualname__}", undo)
    for function in functions:
        for inner in _unwrapped(function):
            _swap(inner, getattr(inner, "__qualname__", "the reference"), undo)
    for name in names:
        if name not in modules or name not in sys.modules:
            _hide(name, answer, undo)
    finder = _Finder(modules)
    sys.meta_path.insert(0, finder)
    undo.append(lambda: sys.meta_path.remove(finder) if finder in sys.meta_path else None)

    def restore() -> None:
        for step in reversed(undo):
            step()

    return restore


class _Finder:
    """Stands before the import system: a forbidden module that is not loaded yet cannot be loaded either."""

    def __init__(self, modules: tuple[str, ...]):
        self.modules = modules

    def find_spec(self, name, path=None, target=None):
        return hit(name) if _below(name, self.modules) else None


def _loaded(modules: tuple[str, ...]) -> list[str]:
    """The modules at and below `modules` that are loaded, without a walk over all that are.

    In a fresh fork every name that is looked at costs a page: two thousand of them cost more than an answer does.
    """
    ours = tuple(name for name in modules if name.startswith("course_lib."))
    others = [name for name in modules if name not in ours and name in sys.modules]
    loaded = [path for path in _course_modules() if path in sys.modules and _below(path, ours)]
    return loaded + [path for path in (list(sys.modules) if others else ()) if _below(path, tuple(others))]


@functools.cache
def _course_modules() -> tuple[str, ...]:
    """The names of all modules of the course, loaded or not."""
    package = Path(__file__).resolve().parent.parent
    files = (path.relative_to(package.parent).with_suffix("") for path in package.rglob("*.py"))
    return tuple(sorted(".".join(path.parts).removesuffix(".__init__") for path in files))


def _below(path: str, modules: tuple[str, ...]) -> bool:
    return path.startswith(modules) and any(path == module or path.startswith(module + ".") for module in modules)


def _functions_of(module) -> Iterable[types.FunctionType]:
    """The functions and methods that are defined in a module, not those it imports."""
    if not isinstance(module, types.ModuleType):
        return
    for value in list(vars(module).values()):
        if getattr(value, "__module__", None) != module.__name__:
            continue
        members = list(vars(value).values()) if isinstance(value, type) else [value]
        for member in members:
            member = getattr(member, "fget", None) or getattr(member, "__func__", member)
            yield from _unwrapped(member)


def _unwrapped(function) -> Iterable[types.FunctionType]:
    """The Python functions behind decorators and `functools.partial`, outermost first."""
    for _ in range(10):
        if isinstance(function, types.FunctionType):
            yield function
        function = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
        if function is None:
            return


def _swap(function: types.FunctionType, name: str, undo: list) -> None:
    code = function.__code__
    trap = _template(len(code.co_freevars)).replace(co_name=name, co_qualname=name)
    function.__code__ = trap
    undo.append(lambda: setattr(function, "__code__", code))


def _template(cells: int) -> types.CodeType:
    """Code of a function that reports its own name; it has as many free variables as the one it replaces."""
    if cells not in _templates:
        free = "".join(f"c{i}, " for i in range(cells))
        source = (
            f"def outer({free}):\n def trap(*args, **kwargs):\n  ({free or 'None'})\n"
            "  import sys; sys.modules['course_lib.grading.traps'].hit(sys._getframe().f_code.co_name)\n return trap"
        )
        scope: dict = {}
        exec(source, scope)
        _templates[cells] = scope["outer"](*range(cells)).__code__
    return _templates[cells]


def _hide(name: str, answer, undo: list) -> None:
    """Replace the attribute that `name` names, and its aliases in the answer's globals, by a trap."""
    path, _, attribute = name.rpartition(".")
    owner = sys.modules.get(path)
    if owner is None and path:  # a method: "torch.Tensor.cov"
        module, _, holder = path.rpartition(".")
        owner = getattr(sys.modules.get(module), holder, None)
    # A module may import what it is asked for, and that is just what must not happen.
    original = vars(owner).get(attribute) if isinstance(owner, types.ModuleType) else getattr(owner, attribute, None)
    if original is None:
        return

    def trap(*args, **kwargs):
        hit(name)

    had = attribute in vars(owner)
    setattr(owner, attribute, trap)
    undo.append(lambda: setattr(owner, attribute, original) if had else delattr(owner, attribute))
    scope = getattr(answer, "__globals__", None)
    if isinstance(scope, dict):
        for key in [key for key, value in scope.items() if value is original]:
            scope[key] = trap
            undo.append(lambda key=key: scope.__setitem__(key, original))
