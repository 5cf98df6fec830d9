"""What a mutant is: one deliberate bug in the library, and the tests that must notice it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A named wrong version of one file.

    Args:
        name: says the bug in words, e.g. "KDE forgets the bandwidth in its normaliser"; unique in the bank.
        file: the mutated file, from the root of the repository.
        old: source text that occurs exactly once in `file`.
        new: what replaces it.
        tests: test files (or node ids) of which at least one test must fail on the mutant.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __post_init__(self):
        tests = (self.tests,) if isinstance(self.tests, str) else tuple(self.tests)
        object.__setattr__(self, "tests", tests)
        if self.old == self.new:
            raise ValueError(f"mutant {self.name!r} changes nothing: old and new are the same text")
        if not tests:
            raise ValueError(f"mutant {self.name!r} names no test that must kill it")


def below(source: str, tests: str) -> Callable[..., Mutant]:
    """A maker `(name, file, old, new, *tests)` of mutants with files below `source` and tests below `tests`."""

    def made(name: str, file: str, old: str, new: str, *killers: str) -> Mutant:
        return Mutant(name, source + file, old, new, tuple(tests + killer for killer in killers))

    return made
