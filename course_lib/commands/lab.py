"""`course lab [NN]`: JupyterLab, opened on a lecture."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys

from course_lib import paths
from course_lib.commands import FAILED, find_lecture


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "lecture", nargs="?", default="00", metavar="NN", help="number or name of a lecture (default: 00)"
    )
    parser.add_argument("jupyter", nargs="*", metavar="-- JUPYTERLAB ARGUMENTS",
                        help="all that follows -- goes to JupyterLab, e.g. course lab 01 -- --no-browser")  # fmt: skip


def command(lecture: str, extra: list[str]) -> list[str]:
    """The command line that opens JupyterLab in the checkout, on one lecture."""
    path = find_lecture(lecture)
    root = paths.repo_dir()
    line = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}",
            f"--LabApp.default_url=/lab/tree/{path.relative_to(root).as_posix()}"]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        line.append("--allow-root")  # JupyterLab refuses root otherwise, and in a container there is often no one else
    return [*line, *extra]


def run(args: argparse.Namespace) -> int:
    line = command(args.lecture, args.jupyter)
    if importlib.util.find_spec("jupyterlab") is None:
        print(f"course lab: JupyterLab is not installed for {sys.executable}. In the course's folder, run: make lab "
              "(or: pip install -c constraints.txt -e '.[lab]')", file=sys.stderr)  # fmt: skip
        return FAILED
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(line[0], line)  # JupyterLab takes this process's place: ctrl-C and signals reach it alone
    return subprocess.call(line)
