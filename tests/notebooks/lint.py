"""What every committed notebook must be, as rules: each returns the sentences that say what is wrong and where."""

import ast
import re
from collections.abc import Iterator

from course_lib.notebook import COLAB_CELL, WIDGET_VIEW

MAX_BYTES = 1_000_000
MAX_BYTES_TOGETHER = 12_000_000
MAX_LINES = 20
MAX_IMPORT_LINES = 6
SLIDE_TYPES = {"slide", "subslide", "fragment", "notes", "skip"}
TAGS = {"colab", "core", "hide-input", "remove-input"}
IMAGES = {"image/png", "image/jpeg", "image/svg+xml", "image/gif"}
ROOTS = "home|root|Users|tmp|work|usr|var|opt|mnt|srv|private|content"
ABSOLUTE_PATH = re.compile(rf"(?<![\w:/.~>])/(?:{ROOTS})/\w|(?<!\w)[A-Z]:\\\w")
REPOSITORY = re.compile(r"git\+https://github\.com/[\w.-]+/[\w.-]+")


def any_notebook(notebook) -> list[str]:
    """Rules for lectures, solutions and exercises alike."""
    found = [*ids(notebook), *kernel(notebook), *widgets(notebook), *errors(notebook)]
    return [*found, *absolute_paths(notebook), *alt_text(notebook)]


def lecture(notebook, name: str, size: int) -> list[str]:
    """All rules for a lecture; `name` is its file name without the ending, `size` its bytes."""
    found = [
        *any_notebook(notebook),
        *executed(notebook),
        *slides(notebook),
        *lengths(notebook),
        *opening(notebook, name),
    ]
    found += [*tags(notebook), *parts(notebook, name), *stderr(notebook)]
    if size > MAX_BYTES:
        found.append(f"is {size:,} bytes, at most {MAX_BYTES:,} are allowed: fewer or smaller figures")
    return found


def code_cells(notebook) -> Iterator[tuple[int, dict]]:
    return ((i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")


def outputs(notebook) -> Iterator[tuple[int, dict]]:
    return ((i, output) for i, cell in code_cells(notebook) for output in cell.outputs)


def output_text(output) -> str:
    """All that an output says, without the bytes of its pictures."""
    texts = [output.get("text", ""), "\n".join(output.get("traceback", []))]
    texts += [value for kind, value in output.get("data", {}).items() if isinstance(value, str) and kind not in IMAGES]
    return re.sub(r"base64,[A-Za-z0-9+/=\s]+", "base64,", "\n".join(texts))


def ids(notebook):
    seen = set()
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        yield f"has format {notebook.nbformat}.{notebook.nbformat_minor}, which knows no cell ids; 4.5 is the first"
    for i, cell in enumerate(notebook.cells):
        if not cell.get("id") or cell.id in seen:
            yield f"cell {i}: id {cell.get('id')!r} is missing or used twice"
        seen.add(cell.get("id"))


def kernel(notebook):
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "names no kernel 'python3', so JupyterLab asks the reader to choose one"


def widgets(notebook):
    if "widgets" in notebook.metadata:
        yield "keeps widget state, which a page without a network cannot show"
    for i, output in outputs(notebook):
        if WIDGET_VIEW in output.get("data", {}):
            yield f"cell {i}: keeps a widget's view, which is blank without a kernel"


def errors(notebook):
    for i, output in outputs(notebook):
        if output.output_type == "error":
            yield f"cell {i}: ended in {output.ename}: {output.evalue}"


def stderr(notebook):
    for i, output in outputs(notebook):
        if output.output_type == "stream" and output.name == "stderr":
            yield f"cell {i}: wrote to stderr: {output.text.strip()[:80]!r}"


def absolute_paths(notebook):
    for i, cell in enumerate(notebook.cells):
        texts = [cell.source, *(output_text(output) for output in cell.get("outputs", []))]
        for text in texts:
            if match := ABSOLUTE_PATH.search(text):
                yield f"cell {i}: has an absolute path: {text[match.start() : match.start() + 40]!r}"


def executed(notebook):
    counts = [cell.execution_count for _, cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"is not executed in order from top to bottom: its execution counts are {counts}"


def slides(notebook):
    for i, cell in enumerate(notebook.cells):
        kind = cell.metadata.get("slideshow", {}).get("slide_type")
        if kind not in SLIDE_TYPES:
            yield f"cell {i}: has slide type {kind!r}, one of {', '.join(sorted(SLIDE_TYPES))} is needed"


def lengths(notebook):
    for i, cell in code_cells(notebook):
        lines = len(cell.source.strip("\n").splitlines())
        if not 0 < lines <= MAX_LINES:
            yield f"cell {i}: has {lines} lines of code, 1 to {MAX_LINES} are allowed"


def alt_text(notebook):
    for i, output in outputs(notebook):
        for kind in IMAGES & set(output.get("data", {})):
            yield f"cell {i}: shows a bare {kind} without alternative text; use plots.show(fig, alt=...)"
        markup = output.get("data", {}).get("text/html", "")
        for image in re.findall(r"<img\b[^>]*>", markup):
            if not re.search(r'\balt="[^"]*\w[^"]*"', image):
                yield f"cell {i}: has an image without alternative text: {image[:60]!r}"
            if not re.search(r'\bsrc="data:', image):
                yield f"cell {i}: has an image that is not in the notebook itself: {image[:60]!r}"
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=)", cell.source):
            yield f"cell {i}: has an image without alternative text"


def opening(notebook, name: str):
    """Title and question, then the cell that installs the course on Colab, then a few imports."""
    if len(notebook.cells) < 4:
        yield "has fewer than four cells"
        return
    title, colab, imports = notebook.cells[:3]
    lines = [line.strip() for line in title.source.splitlines() if line.strip()]
    if title.cell_type != "markdown" or not lines or not re.match(rf"# {name[:2]} · \w", lines[0]):
        yield f"cell 0: must begin with '# {name[:2]} · Title'"
    if len(lines) < 2 or not lines[1].strip("*_ ").endswith("?"):
        yield "cell 0: the line after the title must be the lecture's question, with its question mark at the end"
    if colab.cell_type != "code" or REPOSITORY.sub("", colab.source.strip()) != REPOSITORY.sub("", COLAB_CELL):
        yield "cell 1: must be COLAB_CELL of course_lib/notebook.py, word for word"
    if "colab" not in colab.metadata.get("tags", []):
        yield "cell 1: must be tagged 'colab'"
    count = len(imports.source.strip().splitlines())
    if imports.cell_type != "code" or not count <= MAX_IMPORT_LINES or "setup(" not in imports.source:
        yield f"cell 2: must be the imports and notebook.setup(), in at most {MAX_IMPORT_LINES} lines; it has {count}"


def tags(notebook):
    for i, cell in enumerate(notebook.cells):
        given = cell.metadata.get("tags", [])
        twins = [tag for tag in given if tag.startswith("twin:")]
        for tag in set(given) - TAGS - set(twins):
            yield f"cell {i}: has the tag {tag!r}, which nothing knows"
        if len(twins) != (1 if "core" in given else 0):
            yield f"cell {i}: a core cell has one tag 'twin:course_lib.module.name', other cells none; it has {given}"


def parts(notebook, name: str):
    """What a lecture needs: its own quiz, a live control, the exercises to do next."""
    called: dict[str, list] = {}
    for i, cell in code_cells(notebook):
        try:
            tree = ast.parse(re.sub(r"(?m)^\s*[%!].*$", "pass", cell.source))
        except SyntaxError as error:
            yield f"cell {i}: is not Python: {error.msg}"
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called.setdefault(ast.unparse(node.func).split(".")[-1], []).append(node)
    quizzes = [arg.value for node in called.get("quiz", []) for arg in node.args if isinstance(arg, ast.Constant)]
    if quizzes != [name]:
        yield f"must end with its own quiz, quiz({name!r}); it calls {quizzes}"
    if "live" not in called:
        yield "has no live control, widgets.live(...)"
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    if not re.search(r"\bex\d\d_\w+", prose):
        yield "names no exercises to do next, such as ex01_density_estimation"
