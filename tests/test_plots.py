"""Pictures carry alternative text, are opaque and small, and refuse what they cannot draw with a sentence."""

import base64
import io
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from course_lib import plots

BOUNDS = ((-3, 3), (-2.0, 2.0))


def log_prob(x):
    return -0.5 * (x**2).sum(1) - np.log(2 * np.pi)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


@pytest.fixture
def ax():
    plots.use_style()
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


@pytest.fixture
def shown(monkeypatch):
    """What `display` is given."""
    bundles = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw=False: bundles.append(data))
    return bundles


def test_show_gives_an_image_with_its_alternative_text(ax, shown):
    """Catches alternative text lost, or cut short by a quotation mark or a tag inside it."""
    plots.curve(ax, [0, 1], [0, 1])
    plots.show(ax.figure, alt='Loss "falls" <fast>\n & stays')
    (bundle,) = shown
    match = re.fullmatch(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]+)"/>', bundle["text/html"])
    assert match[1] == "Loss &quot;falls&quot; &lt;fast&gt; &amp; stays"
    assert pixels(base64.b64decode(match[2])).shape[:2] == (378, 630)
    assert "Loss" in bundle["text/plain"]
    assert set(bundle) == {"text/html", "text/plain"}  # an image/png beside it would be shown without the text


def test_show_closes_the_figure(ax, shown):
    """Catches a figure that stays open: the cell would show it twice and memory would grow."""
    plots.show(ax.figure, alt="a curve")
    assert not plt.fignum_exists(ax.figure.number)


def test_alternative_text_survives_the_export_to_html(ax):
    """Catches a display format whose alternative text nbconvert drops."""
    nbconvert = pytest.importorskip("nbconvert")
    from nbformat import v4

    cell = v4.new_code_cell("1")
    markup = plots.figure_html(ax.figure, "Two moons")
    cell.outputs = [v4.new_output("display_data", {"text/html": markup, "text/plain": "x"})]
    body, _ = nbconvert.HTMLExporter().from_notebook_node(v4.new_notebook(cells=[cell]))
    assert 'alt="Two moons"' in body


@pytest.mark.parametrize("alt", ["", "  \n", None, 3])
def test_show_refuses_a_picture_without_words(ax, alt, no_shape_check):
    """Catches an empty or missing alternative text going through."""
    with pytest.raises(ValueError, match="alt must be a sentence"):
        plots.show(ax.figure, alt=alt)


def test_picture_is_opaque_white_whatever_the_style(ax):
    """Catches a transparent or dark picture, unreadable on the other kind of page."""
    ax.figure.patch.set(facecolor="black", alpha=0.0)
    image = pixels(plots.png(ax.figure))
    assert (image[..., 3] == 255).all()
    assert image[0, 0].tolist() == [255, 255, 255, 255]


def test_picture_is_the_same_bytes_each_time():
    """Catches a date or a version in the file: every execution would change the notebook."""
    plots.use_style()
    files = []
    for _ in range(2):
        fig, ax = plt.subplots()
        plots.density(ax, log_prob, BOUNDS)
        files.append(plots.png(fig, compress=9, colors=256))
        plt.close(fig)
    assert files[0] == files[1]
    assert not any(chunk in files[0] for chunk in (b"tEXt", b"iTXt", b"tIME"))


def test_a_busy_figure_stays_small(ax):
    """Catches full-colour maps that take a lecture over 1 MB; 60 KB is the plan for one figure."""
    plots.density(ax, log_prob, BOUNDS)
    plots.contours(ax, log_prob, BOUNDS, role="truth")
    plots.scatter(ax, torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)))
    assert len(plots.figure_html(ax.figure, "busy")) < 60_000 * 4 / 3


def test_style_reads_from_the_last_row(ax):
    """Catches type below 13 pt or thin lines."""
    sizes = [plt.rcParams[f"{key}.labelsize"] for key in ("axes", "xtick", "ytick")]
    assert min(plt.rcParams["font.size"], plt.rcParams["legend.fontsize"], *sizes) >= 13
    assert plt.rcParams["lines.linewidth"] >= 2 and 72 <= plt.rcParams["figure.dpi"] <= 100


def contrast(a: str, b: str) -> float:
    """Distance of two colours as a red-blind eye sees them (Viénot, Brettel and Mollon, 1999, matrix in linear RGB)."""
    red_blind = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])

    def seen(code: str) -> np.ndarray:
        return red_blind @ (np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255) ** 2.2

    return float(np.abs(seen(a) - seen(b)).max())


def test_roles_differ_for_colour_blind_readers():
    """Catches a palette in which data, model, latent and truth cannot be told apart without red."""
    roles = ["data", "model", "latent", "truth", "outlier"]
    pairs = [(a, b) for i, a in enumerate(roles) for b in roles[i + 1 :]]
    worst = min(pairs, key=lambda pair: contrast(plots.COLORS[pair[0]], plots.COLORS[pair[1]]))
    assert contrast(plots.COLORS[worst[0]], plots.COLORS[worst[1]]) > 0.05, worst
    assert contrast("#FF0000", "#1C5D00") < contrast("#0072B2", "#D55E00")  # the measure itself sees the difference


def test_density_is_dark_where_it_is_high_and_the_right_way_up(ax):
    """Catches a map drawn upside down, transposed, or of log p in place of p."""
    plots.density(ax, lambda x: -0.5 * ((x[:, 0] - 2) ** 2 + (x[:, 1] - 1) ** 2), BOUNDS, resolution=60)
    image = ax.images[0]
    row, column = np.unravel_index(np.asarray(image.get_array()).argmax(), (60, 60))
    assert image.origin == "lower" and image.get_extent() == [-3.0, 3.0, -2.0, 2.0]
    assert (column + 0.5) / 60 * 6 - 3 == pytest.approx(2, abs=0.1)
    assert (row + 0.5) / 60 * 4 - 2 == pytest.approx(1, abs=0.1)
    assert np.asarray(image.get_array()).max() == pytest.approx(1.0, abs=0.02)


def test_contours_lie_where_minus_log_p_has_their_value(ax):
    """Catches contours of p, or of log p with the wrong sign: at -log p = c the radius is known for a Gaussian."""
    level = np.log(2 * np.pi) + 0.5 * 1.5**2
    plots.contours(ax, log_prob, BOUNDS, levels=[level], resolution=200)
    vertices = np.concatenate([path.vertices for path in ax.collections[0].get_paths()])
    assert len(vertices) > 50
    assert np.linalg.norm(vertices, axis=1) == pytest.approx(1.5, abs=0.01)


def test_contours_bear_a_density_that_is_zero_somewhere(ax):
    """Catches NaN lines at the edge of a bounded support."""
    plots.contours(ax, lambda x: torch.where(x[:, 0] > 0, log_prob(x), -torch.inf), BOUNDS)
    assert ax.collections
    with pytest.raises(ValueError, match="infinite or NaN on the whole grid"):
        plots.contours(ax, lambda x: torch.full((len(x),), -torch.inf), BOUNDS)


def test_grid_runs_over_x_first():
    """Catches x and y exchanged in the grid that densities are evaluated on."""
    xs, ys, points = plots.grid(BOUNDS, 5)
    assert torch.allclose(points.reshape(5, 5, 2)[1, 3], torch.tensor([xs[3], ys[1]]))
    assert (xs[0], xs[-1], ys[0], ys[-1]) == (-3, 3, -2, 2)


def test_image_grid_puts_images_in_reading_order(ax):
    """Catches rows and columns exchanged, and a grid that loses its last images."""
    images = torch.stack([torch.full((4, 6), value) for value in (0.1, 0.3, 0.5, 0.7, 0.9)])
    plots.image_grid(ax, images[:, None], columns=3, gap=1)
    canvas = np.asarray(ax.images[0].get_array())
    assert canvas.shape == (4 * 2 + 1, 6 * 3 + 2, 3)
    assert canvas[0, [0, 7, 14], 0] == pytest.approx([0.1, 0.3, 0.5])
    assert canvas[5, [0, 7], 0] == pytest.approx([0.7, 0.9])
    assert canvas[5, 14, 0] == 1.0


def test_image_grid_keeps_colours(ax):
    """Catches channels read as rows."""
    image = torch.zeros(1, 3, 4, 4)
    image[:, 0] = 1.0
    plots.image_grid(ax, image)
    assert np.asarray(ax.images[0].get_array())[2, 2].tolist() == [1.0, 0.0, 0.0]


def test_scatter_and_curve_take_tensors_with_gradients(ax):
    """Catches a figure that fails on what a model has just returned."""
    x = torch.randn(10, 2, requires_grad=True)
    plots.scatter(ax, x, role="outlier", ring=True)
    plots.curve(ax, x[:, 0], x[:, 1], band=0.1)
    assert len(ax.collections) == 2 and len(ax.lines) == 1


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda ax: plots.scatter(ax, torch.zeros(3)), r"x must have shape \(n, 2\)"),
        (lambda ax: plots.scatter(ax, torch.zeros(3, 2), role="modle"), "did you mean 'model'"),
        (lambda ax: plots.curve(ax, [0, 1], [0, 1, 2]), "as long as each other"),
        (lambda ax: plots.curve(ax, ["a"], [1]), "x must hold numbers"),
        (lambda ax: plots.density(ax, log_prob, ((0, 0), (0, 1))), "bounds must be finite and increasing"),
        (lambda ax: plots.density(ax, log_prob, (0, 1)), "bounds must be"),
        (lambda ax: plots.density(ax, log_prob, BOUNDS, resolution=1), "resolution must be at least 2"),
        (lambda ax: plots.density(ax, lambda x: x, BOUNDS), "log_prob_fn must map"),
        (lambda ax: plots.image_grid(ax, torch.zeros(2, 2, 4, 4)), "images must have shape"),
        (lambda ax: plots.image_grid(ax, torch.zeros(0, 4, 4)), "images must have shape"),
        (lambda ax: plots.image_grid(ax, torch.zeros(1, 4, 4), vmin=1.0), "vmax must be greater"),
    ],
)
def test_bad_arguments_are_named(ax, call, sentence, no_shape_check):
    """Catches a Matplotlib traceback where a sentence should say which argument is wrong."""
    with pytest.raises(ValueError, match=sentence):
        call(ax)


def test_import_does_not_bring_matplotlib():
    """Catches a plotting library loaded by those who only compute."""
    code = "import sys, course_lib.plots, course_lib.widgets, course_lib.quiz, course_lib.notebook; "
    code += (
        "sys.exit(' '.join(m for m in ('matplotlib', 'ipywidgets', 'IPython', 'nbclient') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
