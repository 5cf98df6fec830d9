"""What the grading tests share: the solutions as functions, and a verdict without a process of its own."""

import json
import math
from pathlib import Path

import torch

from course_lib.grading import TASKS, judge, probe

ROOT = Path(__file__).resolve().parents[2]
EXERCISES = (
    "ex01_density_estimation",
    "ex02_maximum_likelihood",
    "ex05_variational_inference_and_vae",
    "ex06_latent_space",
)


def sources(folder: str = "solutions") -> dict[str, str]:
    """The source of every answer cell of a folder's notebooks, by task."""
    found = {}
    for exercise in EXERCISES:
        for cell in json.loads((ROOT / folder / f"{exercise}.ipynb").read_text(encoding="utf-8"))["cells"]:
            meta = cell["metadata"].get("nbgrader", {})
            if meta.get("solution"):
                found[meta["grade_id"]] = "".join(cell["source"])
    return found


def functions(cells: dict[str, str]) -> dict:
    """The functions that answer cells define, in one namespace as in a notebook."""
    space = {"math": math, "torch": torch}
    for name, source in cells.items():
        exec(compile(source, f"<{name}>", "exec"), space)
    return {name: space[name] for name in cells}


def solutions() -> dict:
    return functions(sources())


def verdict(name: str, answer, seed: int, *, guard: bool = True):
    """The judge's result on one answer, run in this process: the engine's path without the fork."""
    task = TASKS[name]
    cases, request = judge.request(task, seed)
    return judge.judge(task, cases, probe.observe(answer, request, guard=guard))
