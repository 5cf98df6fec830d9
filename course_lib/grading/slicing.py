"""Takes from a notebook just what one function needs: its definition, and the imports, helpers and constants it uses.

This is how training loops, plots and experiments are left out: a statement is kept only if it binds a name that the
function uses, directly or through what it uses. It runs where the student's code runs, never in the grader itself.
"""

from __future__ import annotations
import __future__

import ast
import dis
import linecache
import re
import types
from collections.abc import Iterable
from dataclasses import dataclass, field

_MAGIC = re.compile(r"^(\s*)(?:(\w+)\s*=\s*)?[%!?]|^(\s*)(?:[\w.]+)\?{1,2}\s*$")
_TIMED = ("%%time", "%%timeit", "%%capture", "%%prun", "%%memit")
_TRAINING = {"train", "train_game"}
_STEPPING = {"backward", "step", "zero_grad"}
_BLOCKS = (ast.For, ast.While, ast.With, ast.If, ast.Try, ast.AsyncFor, ast.AsyncWith, ast.Match)


@dataclass
class Statement:
    """A top-level statement of a cell, with the names it binds, changes in place and uses."""

    cell: int
    node: ast.stmt
    binds: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    star: bool = False


@dataclass(frozen=True)
class Slice:
    """What to run for one function: (cell number, code) in notebook order; or why there is nothing to run."""

    steps: tuple[tuple[int, types.CodeType], ...] = ()
    problem: str | None = None
    missing: bool = False


class Notebook:
    """The parsed cells of one submission; `slice(name)` picks what a function needs.

    Args:
        cells: (source, grade_id or None, cell number) of each code cell.
    """

    def __init__(self, cells: Iterable[tuple[str, str | None, int]]):
        self.sources: dict[int, str] = {}
        self.broken: dict[int, tuple[str, str | None, str]] = {}
        self.statements: list[Statement] = []
        self.marked: dict[str, int] = {}
        for source, grade_id, number in cells:
            if grade_id:
                self.marked.setdefault(grade_id, number)
            try:
                source, tree = parse(source)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                self.broken[number] = (source, grade_id, _syntax_sentence(number, error))
                continue
            self.sources[number] = source
            for node in tree.body:
                try:
                    self.statements.append(_statement(number, node))
                except (SyntaxError, ValueError, RecursionError) as error:
                    self.broken[number] = (source, grade_id, _syntax_sentence(number, error))
        imports = [s for s in self.statements if isinstance(s.node, (ast.Import, ast.ImportFrom))]
        self.imported = {name for s in imports for name in s.binds}
        future = any(isinstance(s.node, ast.ImportFrom) and s.node.module == "__future__" for s in imports)
        self.flags = __future__.annotations.compiler_flag if future and "annotations" in self.imported else 0

    def slice(self, name: str) -> Slice:
        """What defines `name`: the cell that its metadata marks, else the last one that is not a stub."""
        answers = [s for s in self.statements if name in s.binds]
        written = [s for s in answers if not _is_stub(s.node)]
        if not written:
            for source, grade_id, sentence in self.broken.values():
                if grade_id == name or re.search(rf"^\s*(async\s+)?def\s+{re.escape(name)}\b", source, re.MULTILINE):
                    return Slice(problem=sentence)
            return Slice(problem=self._missing(name, bool(answers)), missing=True)
        chosen = self.marked.get(name)
        if chosen not in {s.cell for s in written}:
            chosen = written[-1].cell
        keep: set[int] = set()
        needed, grown = {name}, True
        while grown:
            grown = False
            for index, statement in enumerate(self.statements):
                if index in keep or not self._wanted(statement, needed, name, chosen):
                    continue
                keep.add(index)
                needed |= statement.uses
                grown = True
        steps = []
        for index in sorted(keep):
            statement = self.statements[index]
            steps.append((statement.cell, _compile(statement.cell, statement.node, self.flags)))
        return Slice(tuple(steps))

    def _wanted(self, statement: Statement, needed: set[str], name: str, chosen: int) -> bool:
        if name in statement.binds and statement.cell > chosen and statement.binds == {name}:
            return False  # a later redefinition is not the answer that was checked
        # torch.manual_seed(0) is no change of a table that a function reads: modules do not count as changed in place.
        touched = (statement.binds | (statement.changes - self.imported)) & needed
        return bool(touched or statement.star) and not _is_training(statement.node)

    def _missing(self, name: str, stub: bool) -> str:
        if stub:
            return f"{name} is not written yet: the cell still holds the stub it came with."
        number = self.marked.get(name)
        others = [s.node.name for s in self.statements if s.cell == number and isinstance(s.node, ast.FunctionDef)]
        if others:
            return f"Cell {number} is the one for {name} but defines {others[0]}: give the function its name back."
        return f"No function called {name} was found in the notebook: keep the name it came with."


def cell_name(number: int) -> str:
    """The file name under which a cell's code is compiled, so that a traceback says where it stands."""
    return f"<cell {number}>"


def show_sources(notebook: Notebook) -> None:
    """Let tracebacks in this process show the lines of the notebook's cells."""
    for number, source in notebook.sources.items():
        lines = [line + "\n" for line in source.split("\n")]
        linecache.cache[cell_name(number)] = (len(source), None, lines, cell_name(number))


def parse(source: str) -> tuple[str, ast.Module]:
    """The cell with its magics turned into `pass`, same line numbers, and its syntax tree.

    Raises:
        SyntaxError: if it is not Python even so.
    """
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    first = next((line for line in source.split("\n") if line.strip()), "")
    if first.startswith("%%"):
        if not first.startswith(_TIMED):
            return "", ast.Module([], type_ignores=[])  # another language, or a file to write
        source = source.replace(first, "pass", 1)
    lines = source.split("\n")
    for _ in range(200):
        try:
            return "\n".join(lines), ast.parse("\n".join(lines))
        except SyntaxError as error:
            index = (error.lineno or 0) - 1
            # A line starting with % may continue an expression, so only a line that breaks the cell is replaced.
            if not 0 <= index < len(lines) or not _blank(lines, index):
                # The parser sometimes complains further down than the magic that confused it.
                if not any([_blank(lines, i) for i in range(len(lines))]):
                    raise
    raise SyntaxError("too many lines that are not Python")


def _blank(lines: list[str], index: int) -> bool:
    match = _MAGIC.match(lines[index])
    if not match:
        return False
    indent, target = match.group(1) or match.group(3) or "", match.group(2)
    lines[index] = f"{indent}{target} = None" if target else f"{indent}pass"
    return True


def _syntax_sentence(number: int, error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"Cell {number} is not valid Python: line {error.lineno}: {error.msg}."
    return f"Cell {number} cannot be read as Python: {type(error).__name__}."


def _statement(cell: int, node: ast.stmt) -> Statement:
    statement = Statement(cell, node)
    if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
        statement.star = True
        return statement
    _scan(_compile(cell, node), statement, top=True)
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)):
        for inner in ast.walk(node):
            statement.changes |= _changed(inner)
    return statement


def _compile(cell: int, node: ast.stmt, flags: int = 0) -> types.CodeType:
    return compile(ast.Module([node], type_ignores=[]), cell_name(cell), "exec", flags, dont_inherit=True)


def _scan(code: types.CodeType, statement: Statement, *, top: bool) -> None:
    """Collect names from bytecode: the compiler knows which are global, a syntax tree alone does not."""
    for instruction in dis.get_instructions(code):
        op, name = instruction.opname, instruction.argval
        if op in ("STORE_NAME", "STORE_GLOBAL", "DELETE_NAME", "DELETE_GLOBAL"):
            if top or op == "STORE_GLOBAL":
                statement.binds.add(name)
        elif op.startswith(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")) and isinstance(name, str):
            statement.uses.add(name)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _scan(constant, statement, top=False)


def _changed(node: ast.AST) -> set[str]:
    """Names changed in place by an assignment to an item or attribute, or by a method called for its effect."""
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        targets = [node.target]
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        targets = [node.value.func]
    else:
        return set()
    result = set()
    for target in targets:
        inner = target
        while isinstance(inner, (ast.Attribute, ast.Subscript)):
            inner = inner.value
        if inner is not target and isinstance(inner, ast.Name):
            result.add(inner.id)
    return result


def _is_stub(node: ast.stmt) -> bool:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    if not body:
        return True
    if len(body) > 1:
        return False
    last = body[0]
    raised = getattr(last, "exc", None)
    raised = raised.func if isinstance(raised, ast.Call) else raised
    return isinstance(last, ast.Pass) or (isinstance(raised, ast.Name) and raised.id == "NotImplementedError")


def _is_training(node: ast.stmt) -> bool:
    """Whether a statement trains something: it calls train(), or it is a block that steps an optimiser."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return False
    telling = _TRAINING | _STEPPING if isinstance(node, _BLOCKS) else _TRAINING
    calls = [inner.func for inner in ast.walk(node) if isinstance(inner, ast.Call)]
    return any((f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", None)) in telling for f in calls)
