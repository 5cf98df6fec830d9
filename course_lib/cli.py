"""`course …`: finds the command, reads its arguments, and turns what happened into an exit status.

Exit status: 0 done, 1 something asked for could not be done (and is listed), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import NoReturn

from course_lib.commands import FAILED, WRONG_USAGE, UsageError, suggest

# Name → one line for `course --help`. The module course_lib.commands.<name> is imported only when the command is used.
COMMANDS = {
    "lab": "JupyterLab, opened on a lecture (default: 00)",
    "doctor": "what is installed, which device, what will be slow or missing and how to mend it",
    "run": "execute lectures headless; seconds and peak memory per lecture",
    "train": "make a reference model from its recipe; --resume goes on after ctrl-C",
    "build": "exercises/ from solutions/; --check only compares",
    "grade": "grade notebooks, or folders of submissions, in a sandbox; marks, feedback and a table",
    "export": "an exercise for another grader: Gradescope or nbgrader",
}


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one sentence with a suggestion."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{self.prog}: {message}\n{self.format_usage()}")


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["--version"]:
        from course_lib import __version__

        print(f"course {__version__}")
        return 0
    if argv[:1] in ([], ["-h"], ["--help"], ["help"]):
        print(_overview(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else WRONG_USAGE
    name, rest = argv[0], argv[1:]
    try:
        if name not in COMMANDS:
            kind = "option" if name.startswith("-") else "command"
            raise UsageError(f"there is no {kind} {name!r}{suggest(name, COMMANDS)}; see course --help")
        return _run(name, rest)
    except UsageError as error:
        print(f"course: {error}", file=sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt:
        print("\ncourse: stopped", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # the reader, such as `head`, has gone: say no more, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run(name: str, argv: list[str]) -> int:
    module = importlib.import_module(f"course_lib.commands.{name}")
    parser = _Parser(prog=f"course {name}", description=COMMANDS[name], allow_abbrev=False)
    module.configure(parser)
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        options = [option for action in parser._actions for option in action.option_strings]
        raise UsageError(f"{name} has no option {unknown[0]!r}{suggest(unknown[0].split('=')[0], options)}; "
                         f"see course {name} --help")  # fmt: skip
    return module.run(args)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {line}" for name, line in COMMANDS.items()]
    return "\n".join(["usage: course COMMAND [arguments]", "", *lines, "", "course COMMAND --help tells more."])


if __name__ == "__main__":
    sys.exit(main())
