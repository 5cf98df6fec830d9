"""Faces in words, by a small grammar, and back.

    a|an AGE SMILE face GLASSES, with SKIN and HAIR, POSE, on a BACKGROUND

Every phrase asserts that one factor lies in an interval; a caption may leave phrases out and then asserts less.
"""

from __future__ import annotations

import bisect
import re

from course_lib._typing import Float, Tensor
from course_lib.datasets.faces import FACTORS, RANGES, check_factors

# The words of each factor from its low end to its high end, and where one gives way to the next.
WORDS = {
    "pose": (("turned left", "looking ahead", "turned right"), (-0.3, 0.3)),
    "smile": (("frowning", "calm", "smiling"), (-0.3, 0.3)),
    "age": (("young", "middle-aged", "old"), (1 / 3, 2 / 3)),
    "glasses": (("without glasses", "with glasses"), (0.5,)),
    "hair": (("short hair", "medium hair", "long hair"), (1 / 3, 2 / 3)),
    "skin": (("light skin", "tan skin", "brown skin", "dark skin"), (0.25, 0.5, 0.75)),
    "background": (
        ("violet background", "blue background", "teal background", "green background", "yellow background"),
        (0.125, 0.375, 0.625, 0.875),
    ),
}
_FILLERS = {"a", "an", "face", "and", "on", "with", ""}


def caption(factors: Float[Tensor, "n 7"]) -> list[str]:
    """One sentence per face, which says all seven factors: "an old smiling face with glasses, ...".

    Raises:
        ValueError: a factor out of its range, by name.
    """
    sentences = []
    for row in check_factors(factors).tolist():
        word = {
            name: WORDS[name][0][bisect.bisect_right(WORDS[name][1], value)]
            for name, value in zip(FACTORS, row, strict=True)
        }
        article = "an" if word["age"][0] in "aeiou" else "a"
        sentences.append(
            f"{article} {word['age']} {word['smile']} face {word['glasses']}, with {word['skin']} and {word['hair']}, "
            f"{word['pose']}, on a {word['background']}"
        )
    return sentences


def parse(sentence: str) -> dict[str, tuple[float, float]]:
    """What a caption asserts: factor → the interval (low, high) in which it lies; left-out factors are absent.

    Raises:
        ValueError: a word outside the grammar, or two phrases about one factor.
    """
    rest, said = " ".join(sentence.lower().split()), {}
    for name, (words, cuts) in WORDS.items():
        edges = (RANGES[name][0], *cuts, RANGES[name][1])
        # "with glasses" must not be found in "without glasses", nor "tan skin" in other words: whole words only.
        # Whole words only: "with glasses" is not part of "without glasses".
        phrase = re.compile(rf"(?<![\w-])({'|'.join(words)})(?![\w-])")
        found = phrase.findall(rest)
        if len(found) > 1:
            twice = f"both {found[0]!r} and {found[1]!r}" if found[0] != found[1] else f"{found[0]!r} twice"
            raise ValueError(f"caption says {twice}; choose one")
        for word in found:
            i = words.index(word)
            said[name] = (edges[i], edges[i + 1])
        rest = phrase.sub(" ", rest)
    unknown = [word for word in re.split(r"[\s,.]+", rest) if word not in _FILLERS]
    if unknown:
        known = "; ".join(", ".join(words) for words, _ in WORDS.values())
        raise ValueError(f"caption has words outside the grammar: {', '.join(unknown)}; it knows {known}")
    return said
