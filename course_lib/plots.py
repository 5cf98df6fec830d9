"""Pictures: arrays in, Axes out, one style, one palette by role.

A colour means the same thing in every lecture: what comes from the data is blue, what a model says is vermilion,
what lives in latent space is green. The palette is Okabe and Ito's, which colour-blind readers can tell apart
(Okabe and Ito, 2008, "Color Universal Design"). Matplotlib is imported when a function is called, not before.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Callable

import numpy as np
import torch

from course_lib import checks

COLORS = {
    "data": "#0072B2",
    "model": "#D55E00",
    "latent": "#009E73",
    "truth": "#000000",
    "accent": "#CC79A7",
    "outlier": "#E69F00",
    "muted": "#8C8C8C",
}

# Sizes are chosen for the last row of a lecture room: 13 pt at 90 dots per inch is about a 25th of a figure's height.
STYLE = {
    "figure.figsize": (7.0, 4.2),
    "figure.dpi": 90,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.labelsize": 13,
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "legend.fontsize": 13,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 1.2,
    "axes.facecolor": "white",
    "axes.grid": False,
    "lines.linewidth": 2.5,
    "lines.markersize": 7,
    "image.cmap": "cividis",
    "image.interpolation": "nearest",
}

Number = float | int
Bounds = tuple[tuple[Number, Number], tuple[Number, Number]]


def use_style() -> None:
    """Make every later figure follow the course's style: big type, thick lines, opaque white, roles as colours."""
    import matplotlib

    cycle = matplotlib.cycler(color=[COLORS[role] for role in COLORS if role != "truth"])
    matplotlib.rcParams.update({**STYLE, "axes.prop_cycle": cycle})


def color(role: str) -> str:
    """The hexadecimal colour of a role such as "data" or "model".

    Raises:
        ValueError: if the palette has no such role; the message suggests the nearest one.
    """
    return COLORS[checks.one_of(role, "role", COLORS)]


def colormap(role: str):
    """A colour map from white to the colour of a role: lightness alone orders the values, and points stay visible."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(f"white-{role}", ["white", color(role)])


def show(fig, alt: str, *, colors: int | None = 256) -> None:
    """Display a figure as an image with alternative text, and close the figure.

    The text is written into `<img alt="...">`, which survives JupyterLab and the export to HTML; alternative text
    given as display metadata does not.

    Args:
        fig: a Matplotlib figure.
        alt: what the picture shows, in one or two sentences, for a reader who cannot see it.
        colors: distinct colours kept, which divides the size by three; None keeps all, for colour photographs.

    Raises:
        ValueError: if `alt` is empty or not a string.
    """
    from IPython.display import display
    from matplotlib import pyplot as plt

    markup = figure_html(fig, alt, colors=colors)
    plt.close(fig)
    display({"text/html": markup, "text/plain": f"[figure: {alt.strip()}]"}, raw=True)


def figure_html(fig, alt: str, *, colors: int | None = 256) -> str:
    """The markup that `show` displays: an `<img>` with its picture inside and its alternative text."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt must be a sentence that says what the figure shows, got {alt!r}")
    code = base64.b64encode(png(fig, compress=9, colors=colors)).decode()
    text = html.escape(" ".join(alt.split()), quote=True)
    return f'<img alt="{text}" src="data:image/png;base64,{code}"/>'


def png(fig, *, compress: int = 1, colors: int | None = None) -> bytes:
    """The figure as an opaque white PNG with no date or version in it: the same figure gives the same bytes.

    Args:
        fig: a Matplotlib figure.
        compress: 0 (fastest) to 9 (smallest).
        colors: distinct colours kept (2 to 256), or None for all of them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    # Not savefig: it draws twice, once to find the layout, and a live picture cannot spare the time.
    canvas = fig.canvas if isinstance(fig.canvas, FigureCanvasAgg) else FigureCanvasAgg(fig)
    fig.patch.set(facecolor="white", alpha=1.0)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    if colors is not None:
        picture = picture.quantize(checks.count(colors, "colors", at_least=2, at_most=256))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=compress)
    return buffer.getvalue()


def grid(bounds: Bounds, resolution: int = 120) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """Points on a regular grid over a rectangle: (x values (r,), y values (r,), points (r*r, 2), x fastest)."""
    (x_min, x_max), (y_min, y_max) = _bounds(bounds)
    xs = torch.linspace(x_min, x_max, checks.count(resolution, "resolution", at_least=2))
    ys = torch.linspace(y_min, y_max, len(xs))
    points = torch.stack([xs.repeat(len(ys)), ys.repeat_interleave(len(xs))], dim=1)
    return xs.numpy(), ys.numpy(), points


def density(ax, log_prob_fn: Callable, bounds: Bounds, *, role: str = "model", resolution: int = 120, vmax=None,
            aspect: str = "equal"):  # fmt: skip
    """Fill the axes with a map of the density p(x) = exp log_prob_fn(x), white where it is zero.

    Args:
        ax: Matplotlib axes.
        log_prob_fn: maps points (n, 2) to log densities (n,) in nats.
        bounds: ((x_min, x_max), (y_min, y_max)) in data units.
        role: whose density it is: "data", "model", "latent", ...
        resolution: grid points a side.
        vmax: the density painted darkest; the largest on the grid by default. Share it to compare panels.
        aspect: "equal" for a plane of data, "auto" where the two axes have different units.

    Returns:
        The axes.
    """
    values = _on_grid(log_prob_fn, bounds, resolution)
    (x_min, x_max), (y_min, y_max) = bounds
    ax.imshow(np.exp(values), origin="lower", extent=(x_min, x_max, y_min, y_max), cmap=colormap(role), vmin=0,
              vmax=vmax, interpolation="bilinear")  # fmt: skip
    return _frame(ax, bounds, aspect)


def contours(ax, log_prob_fn: Callable, bounds: Bounds, *, role: str = "model", resolution: int = 120, levels=None,
             labels: bool = False, aspect: str = "equal"):  # fmt: skip
    """Draw contours of the negative log-density -log p(x): each line further out is less likely.

    Args:
        ax: Matplotlib axes.
        log_prob_fn: maps points (n, 2) to log densities (n,) in nats.
        bounds: ((x_min, x_max), (y_min, y_max)) in data units.
        role: whose density it is.
        resolution: grid points a side.
        levels: values of -log p in nats; by default 0.5, 1, 2, 4, ... 64 nats above the smallest on the grid.
        labels: write each line's value on it.
        aspect: "equal" for a plane of data, "auto" where the two axes have different units.

    Returns:
        The axes.
    """
    from matplotlib.colors import to_rgba

    values = -_on_grid(log_prob_fn, bounds, resolution)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        raise ValueError("log_prob_fn is infinite or NaN on the whole grid; check bounds, or the density itself")
    if levels is None:
        levels = finite.min() + 2.0 ** np.arange(-1, 7)
    levels = np.sort(np.asarray(levels, dtype=float))
    xs, ys, _ = grid(bounds, resolution)
    strengths = np.linspace(1.0, 0.35, len(levels))
    colors = [to_rgba(color(role), alpha) for alpha in strengths]
    # The contour finder needs numbers everywhere: where the density is zero, -log p is set just above all levels.
    filled = np.where(np.isfinite(values), values, max(levels[-1], finite.max()) + 1.0)
    lines = ax.contour(xs, ys, filled, levels=levels, colors=colors, linewidths=2)
    if labels:
        ax.clabel(lines, fmt="%.1f", fontsize=11)
    return _frame(ax, bounds, aspect)


def scatter(ax, x, *, role: str = "data", size: Number = 14, alpha: Number = 0.6, ring: bool = False, label=None):
    """Draw points (n, 2) in the colour of a role; with `ring`, as open circles that mark points drawn before."""
    points = _array(x, "x")
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"x must have shape (n, 2) to be drawn on a plane, got {points.shape}")
    if ring:
        ax.scatter(points[:, 0], points[:, 1], s=6 * size, facecolors="none", edgecolors=color(role), linewidths=2,
                   label=label)  # fmt: skip
    else:
        ax.scatter(points[:, 0], points[:, 1], s=size, color=color(role), alpha=alpha, linewidths=0, label=label)
    return ax


def curve(ax, x, y, *, role: str = "model", label: str | None = None, band=None, style: str = "-", marker=None):
    """Draw a line y against x with, if `band` is given, a shaded y ± band around it (say a standard error)."""
    xs, ys = _array(x, "x"), _array(y, "y")
    if xs.shape != ys.shape or xs.ndim != 1:
        raise ValueError(f"x and y must be one-dimensional and as long as each other, got {xs.shape} and {ys.shape}")
    ax.plot(xs, ys, style, color=color(role), label=label, marker=marker)
    if band is not None:
        spread = np.broadcast_to(_array(band, "band"), ys.shape)
        ax.fill_between(xs, ys - spread, ys + spread, color=color(role), alpha=0.2, linewidth=0)
    return ax


def image_grid(ax, images, *, columns: int | None = None, vmin: Number = 0.0, vmax: Number = 1.0, gap: int = 1):
    """Draw images side by side in one Axes, in reading order.

    Args:
        ax: Matplotlib axes.
        images: (n, h, w) or (n, 1, h, w) grey, or (n, 3, h, w) colour; values outside [vmin, vmax] are clipped.
        columns: images in a row; by default about the square root of n.
        vmin: the value shown as black.
        vmax: the value shown as white.
        gap: white pixels between images.

    Returns:
        The axes, without ticks.
    """
    stack = _array(images, "images")
    if stack.ndim == 3:
        stack = stack[:, None]
    if stack.ndim != 4 or stack.shape[1] not in (1, 3) or len(stack) == 0:
        raise ValueError(f"images must have shape (n, h, w), (n, 1, h, w) or (n, 3, h, w), n > 0, got {stack.shape}")
    n, channels, height, width = stack.shape
    columns = checks.count(math.ceil(math.sqrt(n)) if columns is None else columns, "columns")
    rows = math.ceil(n / columns)
    vmax = checks.number(vmax, "vmax", above=checks.number(vmin, "vmin"))
    stack = np.clip((stack - vmin) / (vmax - vmin), 0.0, 1.0)
    canvas = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, channels))
    for i, image in enumerate(stack):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    ax.imshow(canvas.repeat(3, axis=2) if channels == 1 else canvas)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def _on_grid(log_prob_fn: Callable, bounds: Bounds, resolution: int) -> np.ndarray:
    xs, ys, points = grid(bounds, resolution)
    with torch.no_grad():
        values = _array(log_prob_fn(points), "log_prob_fn(points)")
    if values.shape != (len(points),):
        raise ValueError(f"log_prob_fn must map points (n, 2) to (n,), got {values.shape} for n = {len(points)}")
    return values.reshape(len(ys), len(xs))


def _frame(ax, bounds: Bounds, aspect: str):
    ax.set_aspect(aspect)
    ax.set_xlim(*bounds[0])
    ax.set_ylim(*bounds[1])
    return ax


def _bounds(bounds) -> Bounds:
    try:
        (x_min, x_max), (y_min, y_max) = ((float(low), float(high)) for low, high in bounds)
    except (TypeError, ValueError):
        raise ValueError(f"bounds must be ((x_min, x_max), (y_min, y_max)), got {bounds!r}") from None
    if not (x_min < x_max and y_min < y_max and all(map(math.isfinite, (x_min, x_max, y_min, y_max)))):
        raise ValueError(f"bounds must be finite and increasing: ((x_min, x_max), (y_min, y_max)), got {bounds!r}")
    return (x_min, x_max), (y_min, y_max)


def _array(value, name: str) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().double().numpy()
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold numbers, got {type(value).__name__}") from None
