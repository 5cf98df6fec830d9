"""Live pictures: a plain drawing function, controls over it, and a filmstrip for the page without a kernel.

`live(draw, ...)` redraws one persistent figure into one image when a control moves. That costs a few tens of
milliseconds; a new figure per move, or an `Output` area, costs more. The filmstrip is drawn by the same function, so
the page and the live picture cannot disagree. Everything used here exists in ipywidgets 7.7 and 8.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from course_lib import checks, plots

# Set to 1 in the notebook tests: `live` then also draws the ends of every control, and an error there stops the cell.
CHECK_CONTROLS = "COURSE_CHECK_CONTROLS"


def live(draw: Callable, *, alt: str, static: Sequence[Mapping[str, Any]], figsize=(6.0, 4.0), axes=None,
         **controls) -> None:  # fmt: skip
    """Show `draw` under live controls, and below it a filmstrip of the same function at the `static` values.

    Args:
        draw: `draw(ax, **values)` draws on cleared Axes; with `axes`, on an array of them as `plt.subplots` gives it.
        alt: what the filmstrip shows, in a sentence or two.
        static: the values of each panel of the filmstrip; a control left out keeps its start.
        figsize: inches (width, height) of the live picture; small ones answer faster.
        axes: (rows, columns) if `draw` needs more than one Axes.
        **controls: `name=(min, max, step)` or `(min, max, step, start)` is a slider, a list of numbers a slider over
            those numbers, a list of strings a drop-down menu, a bool a check box.

    Raises:
        ValueError: if a control or a static value is malformed; the message names it.
    """
    shown = Live(draw, static=static, figsize=figsize, axes=axes, **controls)
    if os.environ.get(CHECK_CONTROLS) == "1":
        shown.check_ends()
    if has_kernel():
        box = shown.widget()
        if box is not None:
            from IPython.display import display

            display(box)
    plots.show(shown.filmstrip(), alt=alt)


def has_kernel() -> bool:
    """Whether this runs in a Jupyter kernel, where a control can reach a page."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


class Live:
    """A drawing function with its controls: `render` is the whole logic, `widget` a thin cover over it."""

    def __init__(self, draw: Callable, *, static=(), figsize=(6.0, 4.0), axes=None, **controls) -> None:
        if not callable(draw):
            raise ValueError(f"draw must be a function draw(ax, **values), got {type(draw).__name__}")
        if not controls:
            raise ValueError("live needs at least one control, such as bandwidth=(0.1, 2.0, 0.1)")
        self.draw, self.figsize, self.axes = draw, figsize, axes
        self.controls = {name: _Control(name, spec) for name, spec in controls.items()}
        self.static = [self._complete(values, f"static[{i}]") for i, values in enumerate(static)]
        if not self.static:
            raise ValueError("static needs at least one set of values, such as [{'bandwidth': 0.1}], for the filmstrip")
        given = {name: value for name, value in dict(static[0]).items() if not self.controls[name].has_start}
        self.start = self._complete(given, "start")
        self._figure = None
        self._drawn: tuple[dict, bytes] | None = None

    def render(self, **values) -> bytes:
        """Draw at these values (a control left out keeps its start) and return the PNG. Errors of `draw` are raised."""
        values = self._complete(values, "values")
        if self._drawn is not None and self._drawn[0] == values:
            return self._drawn[1]
        if self._figure is None:
            self._figure, self._panels = self._new_figure()
            self._fresh = [_tick_styles(ax) for ax in np.ravel(self._panels)]
        # What an earlier draw added besides its Axes (a twin axis, an inset) goes; the Axes are cleared and stay.
        own = list(np.ravel(self._panels))
        for extra in [ax for ax in self._figure.axes if ax not in own]:
            extra.remove()
        for ax, fresh in zip(own, self._fresh, strict=True):
            _clear(ax, fresh)
        self.draw(self._panels, **values)
        picture = plots.png(self._figure)
        # The layout is found once: finding it takes time, and a frame that jumps as a slider moves hides the change.
        self._figure.set_layout_engine("none")
        self._drawn = (values, picture)
        return picture

    def check_ends(self) -> None:
        """Draw with each control at each of its ends, the others at their start; raise what `draw` raises."""
        for name, control in self.controls.items():
            for value in control.ends:
                self.render(**{**self.start, name: value})

    def filmstrip(self):
        """A figure of small multiples: one panel per set of static values, with those values as its title."""
        from matplotlib.figure import Figure

        plots.use_style()
        count = len(self.static)
        per_row = count if count <= 4 else (count + 1) // 2
        rows = -(-count // per_row)
        scale = min(0.75, 13.0 / (per_row * self.figsize[0]))
        width, height = self.figsize[0] * scale, self.figsize[1] * scale + 0.35
        fig = Figure(figsize=(width * per_row, height * rows), layout="constrained")
        cells = np.ravel(fig.subfigures(rows, per_row, squeeze=False))
        for cell, values in zip(cells, self.static, strict=False):
            panels = cell.subplots(*(self.axes or (1, 1)))
            self.draw(panels, **values)
            cell.suptitle(", ".join(f"{_words(name)} = {_brief(values[name])}" for name in self._varied()), fontsize=14)
        return fig

    def widget(self):
        """The controls and the live picture in a box, or None where ipywidgets is not installed."""
        try:
            import ipywidgets
        except ImportError:
            return None
        plots.use_style()
        value = self.render(**self.start)
        # As wide as it was drawn: a box would stretch it over the page, and blur it.
        size = {"width": f"{self._figure.bbox.width:.0f}px", "max_width": "100%"}
        picture = ipywidgets.Image(value=value, format="png", layout=size)
        message = ipywidgets.HTML()
        inputs = {name: control.widget(ipywidgets, self.start[name]) for name, control in self.controls.items()}

        def update(_change) -> None:
            # Drawn at once, not later: the page sends no new position before this one is answered, and then only the
            # latest. So a held key skips positions and never queues them.
            try:
                picture.value = self.render(**{name: control.value for name, control in inputs.items()})
                message.value = ""
            except Exception as error:
                message.value = _sentence(error)

        for control in inputs.values():
            control.observe(update, names="value")
        return ipywidgets.VBox([*inputs.values(), picture, message])

    def _new_figure(self):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        plots.use_style()
        # Not a pyplot figure: nothing else may close it, and a cell's end does not show it a second time.
        fig = Figure(figsize=self.figsize, layout="constrained")
        FigureCanvasAgg(fig)
        return fig, fig.subplots(*(self.axes or (1, 1)))

    def _complete(self, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        for name in values:
            checks.one_of(name, f"a name in {where}", self.controls)
        return {name: values.get(name, control.start) for name, control in self.controls.items()}

    def _varied(self) -> list[str]:
        """The controls whose value differs among the panels; all of them if none does."""
        varied = [name for name in self.controls if any(v[name] != self.static[0][name] for v in self.static)]
        return varied or list(self.controls)


def _clear(ax, fresh: list) -> None:
    """Clear the axes; keep their tick objects if the last drawing left the ticks' style as it was on fresh axes.

    Matplotlib's own `clear` makes all ticks anew, which can be half of a redraw's time, and yet keeps a changed style.
    """
    before = [
        (axis.majorTicks, axis.minorTicks, style) for axis, style in zip(_axes(ax), _tick_styles(ax), strict=True)
    ]
    ax.clear()
    for axis, (major, minor, style), plain in zip(_axes(ax), before, fresh, strict=True):
        if style == plain:
            axis.majorTicks, axis.minorTicks = major, minor
        else:
            for which, settings in plain.items():
                axis.set_tick_params(which=which, reset=True, **settings)


def _axes(ax) -> tuple:
    return ax.xaxis, ax.yaxis


def _tick_styles(ax) -> list[dict]:
    return [{which: axis.get_tick_params(which) for which in ("major", "minor")} for axis in _axes(ax)]


class _Control:
    """One control as data: what it may be set to, where it starts, and the ipywidget that shows it."""

    def __init__(self, name: str, spec) -> None:
        self.name = name
        self.has_start = False
        if isinstance(spec, bool):
            self.kind, self.start, self.ends = "check", spec, (True, False)
        elif isinstance(spec, list) and spec:
            self.options = spec
            self.kind = "menu" if any(isinstance(option, str) for option in spec) else "choice"
            self.start, self.ends = spec[0], (spec[0], spec[-1])
        elif isinstance(spec, tuple) and len(spec) in (3, 4):
            low, high = checks.number(spec[0], f"{name} min"), checks.number(spec[1], f"{name} max")
            if not low < high:
                raise ValueError(f"{name} must be (min, max, step) with min < max, got {spec!r}")
            checks.number(spec[2], f"{name} step", above=0.0)
            self.kind, self.has_start = "slider", len(spec) == 4
            self.low, self.high, self.step = spec[:3]
            self.start = spec[3] if self.has_start else self.low
            checks.number(self.start, f"{name} start", at_least=low, at_most=high)
            self.ends = (self.low, self.high)
        else:
            raise ValueError(
                f"{name} must be (min, max, step), (min, max, step, start), a list of choices or a bool, got {spec!r}"
            )

    def widget(self, ipywidgets, start):
        label = _words(self.name)
        common = {"description": label, "style": {"description_width": "initial"}}
        wide = {"layout": {"width": "28em"}, "continuous_update": True}
        if self.kind == "check":
            return ipywidgets.Checkbox(value=start, indent=False, **common)
        if self.kind == "menu":
            return ipywidgets.Dropdown(options=self.options, value=start, **common)
        if self.kind == "choice":
            options = [(_brief(option), option) for option in self.options]
            return ipywidgets.SelectionSlider(options=options, value=start, **common, **wide)
        limits = {"min": self.low, "max": self.high, "step": self.step, "value": start}
        if all(isinstance(number, int) for number in (self.low, self.high, self.step, start)):
            return ipywidgets.IntSlider(**limits, **common, **wide)
        # All figures of the step: 0.25 shown with one would read 0.3.
        decimals = max(0, -Decimal(str(self.step)).normalize().as_tuple().exponent)
        return ipywidgets.FloatSlider(**limits, readout_format=f".{decimals}f", **common, **wide)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _brief(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _sentence(error: Exception) -> str:
    """One line for the reader: what failed and where to look. The picture before it stays."""
    import html
    import traceback

    where = traceback.extract_tb(error.__traceback__)[-1]
    return (f"<b>This setting could not be drawn</b>, the picture is the last one that could: "
            f"{html.escape(type(error).__name__)}: {html.escape(str(error))} "
            f"({html.escape(where.name)}, line {where.lineno})")  # fmt: skip
