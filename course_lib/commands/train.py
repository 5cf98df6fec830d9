"""`course train NAME`: make a reference model from its recipe; without a name, list them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from course_lib.commands import DONE, FAILED, UsageError, suggest


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="the model (default: list them all)")
    parser.add_argument("--data", metavar="NAME", help="other data than the recipe's: faces, digits or mnist")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the fastest)")
    parser.add_argument("--steps", type=int, metavar="N", help="another number of steps than the recipe's")
    parser.add_argument("--seed", type=int, metavar="N", help="another seed than the recipe's")
    parser.add_argument("--resume", action="store_true", help="go on from where ctrl-C stopped it")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write here (default: the course's data for its own "
                        "recipes, the user's cache for changed ones)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from course_lib import zoo

    if args.name is None:
        return _list(zoo)
    if args.name not in zoo.RECIPES:
        raise UsageError(f"there is no model {args.name!r}{suggest(args.name, zoo.RECIPES)}; "
                         "course train lists them")  # fmt: skip
    try:
        recipe = zoo.recipe(args.name, data=args.data, steps=args.steps, seed=args.seed)
    except ValueError as error:
        raise UsageError(str(error)) from None
    import torch

    torch.set_num_threads(1)  # the same sums in the same order on every run
    again = f"go on with: {recipe.command} --resume"
    try:
        made = zoo.make(recipe, device=_device(args.device), resume=args.resume, folder=args.out)
    except (ValueError, RuntimeError) as error:
        print(f"course: {error}", file=sys.stderr)
        return FAILED
    if made.path is None:
        print(f"stopped after step {made.stopped_at}; {again}")
        return FAILED
    for run in made.card["runs"]:
        figures = ", ".join(f"{name} {value:g}" for name, value in run["figures"].items())
        print(f"seed {run['seed']}: {run['seconds']:g} s; {figures or 'nothing measured'}")
    print(f"wrote {made.path}")
    return DONE


def _device(name: str | None):
    """The device called `name` if torch can use it here."""
    import torch

    if name is None:
        return None
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        has = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
        raise UsageError(f"--device {name} cannot be used here; there is {', '.join(has)}") from None
    return device


def _list(zoo) -> int:
    width = max(map(len, zoo.RECIPES))
    for name, recipe in zoo.RECIPES.items():
        try:
            seconds = sum(run["seconds"] for run in zoo.card(name)["runs"])
            state = f"{seconds:6.0f} s on the CPU of its card"
        except ValueError:
            state = "no card yet"
        print(f"{name:{width}}  {recipe.data:6}  {recipe.training['steps']:6} steps  {state:28}  {recipe.about}")
    return DONE
