"""Machine-made wrong versions of a function: one small change each, made on its syntax tree."""

import ast
import copy
from collections.abc import Iterator

_OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
              ast.FloorDiv: ast.Div, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.MatMult: ast.Mult}  # fmt: skip
_COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
}  # fmt: skip
_NAMES = {"mean": "sum", "sum": "mean", "logsumexp": "amax", "log": "exp", "exp": "log", "softmax": "log_softmax",
          "lgamma": "gamma", "max": "min", "min": "max", "sqrt": "square", "square": "sqrt", "quantile": "nanquantile",
          "solve_triangular": "solve", "cholesky": "inv", "slogdet": "det", "diagonal": "flatten"}  # fmt: skip


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """(what was changed, the changed source) for every single change of every kind, without duplicates."""
    tree = ast.parse(source)
    original = ast.unparse(tree)
    seen = {original}
    for index, node in enumerate(ast.walk(tree)):
        for kind, change in _changes(node):
            changed = copy.deepcopy(tree)
            target = next(n for i, n in enumerate(ast.walk(changed)) if i == index)
            after = change(target)
            if after is not target:
                _replace(changed, target, after)
            try:
                text = ast.unparse(ast.fix_missing_locations(changed))
                compile(text, "<mutant>", "exec")
            except (SyntaxError, ValueError):
                continue
            if text not in seen:
                seen.add(text)
                lines = zip(original.split("\n"), text.split("\n"), strict=False)
                before, now = next(pair for pair in lines if pair[0] != pair[1])
                yield f"{kind}: {before.strip()} → {now.strip()}", text


def _changes(node: ast.AST) -> Iterator[tuple]:
    """(kind, function from the node to what replaces it) for one node."""
    if isinstance(node, ast.BinOp):
        if type(node.op) in _OPERATORS:
            yield "operator", lambda n: _set(n, op=_OPERATORS[type(n.op)]())
        yield "dropped term", lambda n: n.left
        yield "dropped term", lambda n: n.right
        if not isinstance(node.op, ast.Add | ast.Mult | ast.BitAnd | ast.BitOr):
            yield "swapped operands", lambda n: _set(n, left=n.right, right=n.left)
    elif isinstance(node, ast.UnaryOp):
        yield "dropped sign", lambda n: n.operand
    elif isinstance(node, ast.Compare):
        for other in _COMPARISONS.get(type(node.ops[0]), ()):
            yield "comparison", lambda n, other=other: _set(n, ops=[other()])
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "constant", lambda n: _set(n, value=not n.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        values = {node.value + 1, node.value - 1, -node.value, 2 * node.value, 0}
        for value in sorted(values - {node.value}):
            yield "constant", lambda n, value=value: _set(n, value=value)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        if node.attr in _NAMES:
            yield "function", lambda n: _set(n, attr=_NAMES[n.attr])
        if node.attr == "T":
            yield "dropped transpose", lambda n: n.value
    elif isinstance(node, ast.Call):
        method = isinstance(node.func, ast.Attribute) and not (
            isinstance(node.func.value, ast.Name) and node.func.value.id in ("math", "torch")
        )
        if method and not ast.unparse(node.func).startswith("torch."):
            yield "dropped call", lambda n: n.func.value
        elif len(node.args) == 1:
            yield "dropped call", lambda n: n.args[0]
        if len(node.args) >= 2:
            yield "swapped arguments", lambda n: _set(n, args=[n.args[1], n.args[0], *n.args[2:]])
        for at in range(len(node.keywords)):
            yield "dropped keyword", lambda n, at=at: _set(n, keywords=n.keywords[:at] + n.keywords[at + 1 :])
        for at in range(len(node.args) if len(node.args) > 1 or method else 0):
            yield "dropped argument", lambda n, at=at: _set(n, args=n.args[:at] + n.args[at + 1 :])
    elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
        yield "swapped values", lambda n: _set(n, elts=[n.elts[1], n.elts[0], *n.elts[2:]])
    elif isinstance(node, ast.Assign | ast.AugAssign) or (
        isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
    ):
        yield "deleted statement", lambda n: ast.Pass()


def _set(node: ast.AST, **fields) -> ast.AST:
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list):
                value[:] = [new if item is old else item for item in value]
