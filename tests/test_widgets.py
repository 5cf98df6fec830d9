"""Live controls: the picture is the drawing function's, the filmstrip is drawn by the same one, errors are said."""

import io
import statistics
import time

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from course_lib import plots, widgets
from course_lib.widgets import Live


def draw(ax, height=1, kind="line", shown=True):
    ax.plot([0, 1], [0, height], color=plots.color("model"))
    ax.set_ylim(0, 10)
    ax.set_title(kind if shown else "")


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("L")).astype(int)


def make(**kwargs):
    settings = {"static": [{"height": 2}, {"height": 5}], "height": (1, 9, 1, 3), **kwargs}
    return Live(kwargs.pop("draw", draw), **{k: v for k, v in settings.items() if k != "draw"})


def find(box, kind):
    return [child for child in box.children if isinstance(child, kind)]


def test_moving_the_slider_redraws_the_picture():
    """Catches a control that is not connected, or a picture drawn with the values before the last ones."""
    live = make()
    box = live.widget()
    (slider,) = find(box, ipywidgets.IntSlider)
    (picture,) = find(box, ipywidgets.Image)
    assert bytes(picture.value) == make().render(height=3)
    slider.value = 8
    assert bytes(picture.value) == live.render(height=8) != make().render(height=3)


def test_picture_does_not_depend_on_the_way_there():
    """Catches artists or added axes of earlier positions that stay in the persistent figure."""

    def crowded(ax, height):
        draw(ax, height)
        ax.twinx().plot([0, 1], [height, 0])

    direct, moved = make(draw=crowded), make(draw=crowded)
    direct.render(height=1)
    for height in (1, 9, 4, 7):
        moved.render(height=height)
    assert np.array_equal(pixels(direct.render(height=7)), pixels(moved.render(height=7)))
    assert len(moved._figure.axes) == 2


def style_ticks(ax, height):
    """Draws differently at each height what lives on the ticks: their style, the grid, the scale, the labels."""
    ax.plot([1, 10, 100], [0, height, 2])
    if height == 2:
        ax.set_xscale("log")
    if height == 3:
        ax.grid(True)
    if height == 4:
        ax.tick_params(labelsize=7, length=12, colors="red")
    if height == 5:
        ax.set_xticks([1, 50, 100], ["one", "fifty", "hundred"])
    if height == 6:
        ax.set_xticks([])
    if height == 7:
        ax.minorticks_on()


@pytest.mark.parametrize("last", range(1, 9))
def test_ticks_kept_from_an_earlier_position_do_not_show(last):
    """Catches tick objects reused with the grid, size, colour, scale or text that an earlier position gave them."""
    direct, moved = make(draw=style_ticks), make(draw=style_ticks)
    direct.render(height=1)
    for height in (1, *range(2, 9), *range(8, 1, -1)):
        moved.render(height=height)
    assert np.array_equal(pixels(direct.render(height=last)), pixels(moved.render(height=last)))


def test_the_frame_stays_where_it_is():
    """Catches axes that jump while a slider moves, which hides the change that the reader looks for."""

    def growing(ax, height):
        ax.plot([0, 1], [0, 10.0**height])

    live = make(draw=growing)
    live.render(height=1)
    before = live._panels.get_position().bounds
    live.render(height=9)
    assert live._panels.get_position().bounds == before


def test_the_same_position_is_not_drawn_twice():
    """Catches a redraw for events that change nothing."""
    calls = []
    live = make(draw=lambda ax, height: calls.append(height))
    live.render(height=4)
    live.render(height=4)
    assert calls == [4]


def test_filmstrip_is_drawn_by_the_same_function_at_the_static_values():
    """Catches a filmstrip that forgets its values: each panel must hold the curve of its own title."""
    fig = make().filmstrip()
    panels = fig.subfigs
    assert [panel.get_suptitle() for panel in panels] == ["height = 2", "height = 5"]
    assert [panel.axes[0].lines[0].get_ydata()[1] for panel in panels] == [2, 5]


def test_filmstrip_names_only_what_varies():
    """Catches titles that repeat what is the same in each panel."""
    fig = make(kind=["line", "dots"], static=[{"height": 2, "kind": "dots"}, {"height": 5, "kind": "dots"}]).filmstrip()
    assert [panel.get_suptitle() for panel in fig.subfigs] == ["height = 2", "height = 5"]


def test_several_axes_go_to_the_drawing_function_as_an_array():
    """Catches `axes=(1, 2)` ignored in the live picture or in the filmstrip."""

    def both(axes, height):
        left, right = axes
        draw(left, height)
        draw(right, 10 - height)

    live = make(draw=both, axes=(1, 2))
    live.render(height=2)
    assert len(live.filmstrip().subfigs[0].axes) == 2


def test_controls_are_of_the_right_kind():
    """Catches a list of numbers shown as a menu, whole numbers as decimals, a check box as a slider."""
    live = make(noise=(0.0, 1.0, 0.05), width=[0.01, 0.1, 1.0], kind=["line", "dots"], shown=True,
                draw=lambda ax, **values: None)  # fmt: skip
    kinds = [type(child).__name__ for child in live.widget().children]
    assert kinds == ["IntSlider", "FloatSlider", "SelectionSlider", "Dropdown", "Checkbox", "Image", "HTML"]
    assert all(child.description for child in live.widget().children[:5])
    assert live.widget().children[1].readout_format == ".2f"


@pytest.mark.parametrize("step, figures", [(0.25, 2), (0.5, 1), (1.0, 0), (10.0, 0), (0.001, 3), (1e-5, 5)])
def test_readout_shows_where_the_slider_is(step, figures):
    """Catches 0.25 read as 0.3: the readout needs every figure of the step."""
    live = make(noise=(0.0, 20.0, step), draw=lambda ax, **values: None)
    (slider,) = find(live.widget(), ipywidgets.FloatSlider)
    assert slider.readout_format == f".{figures}f"


def test_start_is_the_given_one_else_the_first_panel():
    """Catches a live picture that starts at a position nobody chose."""
    assert make().start == {"height": 3}
    assert make(height=(1, 9, 1)).start == {"height": 2}
    assert make(static=[{"kind": "dots"}], kind=["line", "dots"]).start == {"height": 3, "kind": "dots"}


def fails_at_nine(ax, height):
    if height == 9:
        raise ValueError("nine <is> too much")
    draw(ax, height)


def test_an_error_is_said_in_a_sentence_and_goes_again():
    """Catches a control that dies silently, or one error that stays on the page for ever."""
    box = make(draw=fails_at_nine).widget()
    slider, picture, message = box.children
    before = bytes(picture.value)
    slider.value = 9
    assert "ValueError: nine &lt;is&gt; too much (fails_at_nine, line" in message.value
    assert bytes(picture.value) == before
    slider.value = 8
    assert message.value == ""
    assert bytes(picture.value) == make().render(height=8)


def test_an_error_is_raised_where_tests_can_see_it():
    """Catches an error that only a reader would meet: `render` and `check_ends` raise it."""
    with pytest.raises(ValueError, match="nine"):
        make(draw=fails_at_nine).render(height=9)
    with pytest.raises(ValueError, match="nine"):
        make(draw=fails_at_nine).check_ends()


def test_live_draws_the_ends_of_controls_when_notebooks_are_tested(monkeypatch):
    """Catches a lecture whose slider fails at its end, where a headless run never goes."""
    monkeypatch.setattr("course_lib.plots.show", lambda fig, alt: None)
    arguments = {"alt": "lines", "static": [{"height": 2}], "height": (1, 9, 1)}
    monkeypatch.setenv(widgets.CHECK_CONTROLS, "0")
    widgets.live(fails_at_nine, **arguments)
    monkeypatch.setenv(widgets.CHECK_CONTROLS, "1")
    with pytest.raises(ValueError, match="nine"):
        widgets.live(fails_at_nine, **arguments)


@pytest.mark.parametrize("kernel", [True, False])
def test_live_shows_the_filmstrip_always_and_the_control_in_a_kernel(monkeypatch, kernel):
    """Catches a page without a kernel that shows nothing, or a kernel that shows no control."""
    shown = []
    monkeypatch.setattr(widgets, "has_kernel", lambda: kernel)
    monkeypatch.setattr("IPython.display.display", lambda thing, raw=False: shown.append(thing))
    assert widgets.live(draw, alt="two lines", static=[{"height": 2}], height=(1, 9, 1)) is None
    assert [type(thing).__name__ for thing in shown] == (["VBox", "dict"] if kernel else ["dict"])
    assert 'alt="two lines"' in shown[-1]["text/html"]


def test_without_ipywidgets_the_filmstrip_is_there(monkeypatch):
    """Catches a lecture that stops where ipywidgets is missing."""
    shown = []
    monkeypatch.setitem(__import__("sys").modules, "ipywidgets", None)
    monkeypatch.setattr(widgets, "has_kernel", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda thing, raw=False: shown.append(thing))
    widgets.live(draw, alt="two lines", static=[{"height": 2}], height=(1, 9, 1))
    assert [type(thing).__name__ for thing in shown] == ["dict"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"draw": 3}, "draw must be a function"),
        ({"height": (1, 2)}, "height must be"),
        ({"height": (2, 1, 1)}, "min < max"),
        ({"height": (1, 9, 0)}, "height step must be greater than 0"),
        ({"height": (1, 9, 1, 20)}, "height start must be at most 9"),
        ({"height": []}, "height must be"),
        ({"static": []}, "static needs at least one"),
        ({"static": [{"hieght": 1}]}, r"static\[0\].*did you mean 'height'"),
    ],
)
def test_bad_arguments_are_named(change, sentence, no_shape_check):
    """Catches a traceback from inside ipywidgets where a sentence should name the control."""
    with pytest.raises(ValueError, match=sentence):
        make(**change)


def test_a_redraw_leaves_time_for_the_page():
    """Catches a redraw that eats the 100 ms from key to picture; the browser test measures the whole way.

    Processor time, so that other work on the machine does not decide.
    """

    def typical(ax, height):
        plots.density(ax, lambda x: -0.5 * (x**2).sum(1) / height, ((-3, 3), (-3, 3)))
        plots.scatter(ax, np.random.default_rng(0).normal(size=(500, 2)))

    live = make(draw=typical)
    live.render()
    times = []
    for height in (1, 2, 4, 5, 6, 7, 8, 9, 1, 2):
        start = time.process_time()
        live.render(height=height)
        times.append(1000 * (time.process_time() - start))
    print(f"redraw: median {statistics.median(times):.0f} ms")
    assert statistics.median(times) < 80
