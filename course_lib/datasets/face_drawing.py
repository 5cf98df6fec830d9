"""How a cartoon face is drawn: signed distances, and layers of paint from the back to the front.

Coordinates run from −1 to 1, x to the right, y downwards. A shape is the set where its signed distance d is negative;
a pixel of side p is covered to the share ½ − d/p, cut to [0, 1], which is exact for a straight edge along the grid.
Every shape is evaluated only in the window that it can reach, and what depends on x or y alone is worked out once per
column or row: that is where the speed comes from.
"""

from __future__ import annotations

import math

import torch

from course_lib._typing import Number, Tensor

TURN = 0.5  # angle of the head, in radians, at pose ±1
OUTLINE = (0.16, 0.11, 0.12)
WHITE = (0.99, 0.98, 0.96)
SKIN = ((0.99, 0.86, 0.76), (0.92, 0.71, 0.54), (0.71, 0.47, 0.32), (0.43, 0.27, 0.19))
HAIR = ((0.33, 0.17, 0.09), (0.87, 0.87, 0.90))
# Violet, blue, teal, green, yellow. Their luma rises in equal steps, so that the hue can be told in grey, too.
BACKGROUND = ((0.36, 0.28, 0.60), (0.30, 0.48, 0.78), (0.33, 0.70, 0.62), (0.62, 0.80, 0.40), (0.98, 0.82, 0.42))


def palette(t: Tensor, stops: tuple[tuple[float, ...], ...]) -> Tensor:
    """Colours (n, 3) at t (n,) in [0, 1], on straight lines between equally spaced stops."""
    table = t.new_tensor(stops)
    place = t * (len(stops) - 1)
    low = place.detach().floor().clamp(0, len(stops) - 2)
    return torch.lerp(table[low.long()], table[low.long() + 1], (place - low)[:, None])


class Canvas:
    """Pictures (n, channels, size, size), their pixels' coordinates, and `paint`.

    `mix` (channels, 3) turns RGB into the channels: painting is linear in the colour, so grey pictures are painted in
    grey at once, for a third of the work.
    """

    def __init__(self, n: int, size: int, mix: Tensor) -> None:
        self.mix, self.size, self.pixel = mix, size, 2 / size
        centres = (torch.arange(size, device=mix.device, dtype=mix.dtype) + 0.5) * self.pixel - 1
        self.columns, self.rows = centres, centres[:, None]
        self.image = mix.new_empty(n, len(mix), size, size)

    def window(self, left: Number, right: Number, top: Number, bottom: Number) -> tuple[slice, slice, Tensor, Tensor]:
        """Rows, columns, and the coordinates x (columns,) and y (rows, 1) of the pixels that the box touches."""
        spans = []
        for start, stop in ((top, bottom), (left, right)):
            first = math.floor((start + 1) / self.pixel - 0.5)
            last = math.ceil((stop + 1) / self.pixel + 0.5)
            spans.append(slice(max(first, 0), min(last, self.size)))
        return *spans, self.columns[spans[1]], self.rows[spans[0]]

    def cover(self, distance: Tensor, width: Number | None = None) -> Tensor:
        """Share of each pixel within the shape; within `width` / 2 of the curve at distance 0, if a width is given."""
        if width is None:
            return torch.rsub(distance, self.pixel / 2).mul(1 / self.pixel).clamp(0, 1)
        # A stroke thinner than a pixel covers at most the part width / pixel of it.
        reach = (self.pixel + width) / 2
        return (reach - distance.abs()).mul(1 / self.pixel).clamp(0, min(1.0, width / self.pixel))

    def paint(self, window: tuple, colour: Tensor | tuple[float, ...], share: Tensor) -> None:
        """Lay `colour` (n, 3) or (3,) over the window, as opaque as `share` ([n,] rows, columns) in [0, 1] says."""
        colour = (torch.as_tensor(colour).to(self.mix) @ self.mix.T)[..., None, None]
        share = share[:, None] if share.ndim == 3 else share
        self.image[..., window[0], window[1]].lerp_(colour, share)


def ellipse(x: Tensor, y: Tensor, rx: Number, ry: Number) -> Tensor:
    """Signed distance to an ellipse around the origin, right to first order at its edge: (q − 1) / |∇q|."""
    u, v = x / rx, y / ry
    slope = ((u / rx).square() + (v / ry).square() + 1e-6).sqrt()
    return (u.square() + v.square() - 1) / (2 * slope)


def segment(x: Tensor, y: Tensor, start: tuple, end: tuple) -> Tensor:
    """Distance to the straight line from start to end, each (x, y)."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    x, y = x - start[0], y - start[1]
    along = ((x * dx + y * dy) / (dx * dx + dy * dy)).clamp(0, 1)
    return ((x - along * dx).square() + (y - along * dy).square() + 1e-12).sqrt()


def arc(x: Tensor, y: Tensor, half: Number, rise: Number) -> Tensor:
    """Distance to the flat parabola y = rise · (x / half)² over |x| ≤ half, right to first order near it."""
    inside = torch.minimum(x.abs(), torch.as_tensor(half).to(x))
    bend = rise / half**2
    up = (y - bend * inside.square()) / (1 + (2 * bend * inside).square()).sqrt()
    return ((x.abs() - inside).square() + up.square() + 1e-12).sqrt()


def draw(factors: Tensor, size: int, mix: Tensor) -> Tensor:
    """Pictures (n, channels, size, size) of the factors (n, 7); `course_lib.datasets.faces.render` checks them."""
    pose, smile, age, glasses, length, tone, hue = (column[:, None, None] for column in factors.unbind(1))
    canvas = Canvas(len(factors), size, mix)
    skin, hair = palette(tone[:, 0, 0], SKIN), palette(age[:, 0, 0], HAIR)
    angle = TURN * pose
    _background(canvas, palette(hue[:, 0, 0], BACKGROUND))
    _body(canvas, pose, length, skin, hair)
    _head(canvas, pose, angle, skin)
    _wrinkles(canvas, angle, age, skin)
    _nose_and_cheeks(canvas, angle, skin)
    _mouth(canvas, angle, smile, skin)
    for side in (-1, 1):
        _eye(canvas, angle, side, hair)
    _fringe(canvas, pose, hair)
    _near_ear(canvas, pose, angle, skin)
    _glasses(canvas, angle, glasses)
    return canvas.image.clamp(0, 1)


def _place(angle: Tensor, at: Number, radius: Number = 0.58) -> tuple[Tensor, Tensor]:
    """Where a feature at the angle `at` of the turned head is seen, and how much narrower: radius · sin, cos."""
    return radius * (angle + at).sin(), (angle + at).cos()


def _background(canvas: Canvas, colour: Tensor) -> None:
    whole = canvas.window(-1, 1, -1, 1)
    _, _, x, y = whole
    light = 0.22 * (1 - ((x * 0.7).square() + (y + 0.25).square())).clamp(0, 1)
    canvas.image = (colour @ canvas.mix.T)[..., None, None].expand_as(canvas.image).clone()
    canvas.paint(whole, WHITE, light)


def _body(canvas: Canvas, pose: Tensor, length: Tensor, skin: Tensor, hair: Tensor) -> None:
    window = canvas.window(-1, 1, 0.55, 1)
    _, _, x, y = window
    d = ellipse(x, y - 1.25, 0.86, 0.56)
    canvas.paint(window, OUTLINE, canvas.cover(d - 0.03))
    canvas.paint(window, (0.80, 0.34, 0.32), canvas.cover(d))
    # The hair at the back: a dome that goes on straight down to where it is cut.
    window = canvas.window(-0.85, 0.85, -0.95, 1)
    _, _, x, y = window
    corner, bottom = 0.12, 0.13 + 0.78 * length  # from below the ears to the chest
    across = ((x + 0.05 * pose).square() + (y + 0.11).clamp(max=0).square() + 1e-9).sqrt() - (0.70 - corner)
    down = y - (bottom - corner)
    d = (across.clamp(min=0).square() + down.clamp(min=0).square() + 1e-9).sqrt() - corner
    d = d + torch.maximum(across, down).clamp(max=0)
    canvas.paint(window, OUTLINE, canvas.cover(d - 0.03))
    canvas.paint(window, 0.82 * hair, canvas.cover(d))
    window = canvas.window(-0.3, 0.3, 0.45, 0.95)
    _, _, x, y = window
    d = torch.maximum(ellipse(x, (y - 0.5).clamp(min=0), 0.22, 0.4), 0.48 - y)
    canvas.paint(window, 0.5 * skin, canvas.cover(d - 0.03))
    canvas.paint(window, 0.78 * skin, canvas.cover(d))


def _head(canvas: Canvas, pose: Tensor, angle: Tensor, skin: Tensor) -> None:
    window = canvas.window(-0.75, 0.75, -0.72, 0.72)
    _, _, x, y = window
    for side in (-1, 1):
        part = canvas.window(side * 0.56 - 0.2, side * 0.56 + 0.2, -0.15, 0.3)
        d = ellipse(part[2] - side * 0.60 * angle.cos(), part[3] - 0.06, 0.12, 0.16)
        canvas.paint(part, OUTLINE, canvas.cover(d - 0.03))
        canvas.paint(part, 0.88 * skin, canvas.cover(d))
    jaw = y.clamp(min=0)  # the head narrows towards the chin, and the chin goes with the turn
    d = ellipse(x - 0.10 * pose * jaw, y + 0.02, 0.58 - 0.13 * jaw.square(), 0.66)
    canvas.paint(window, 0.45 * skin, canvas.cover(d - 0.03))
    canvas.paint(window, skin, canvas.cover(d))


def _near_ear(canvas: Canvas, pose: Tensor, angle: Tensor, skin: Tensor) -> None:
    """The ear on the side that the turn brings forward, over the hair."""
    for side in (-1, 1):
        seen = (-3 * side * pose).clamp(0, 1)
        window = canvas.window(side * 0.56 - 0.2, side * 0.56 + 0.2, -0.15, 0.3)
        x, y = window[2] - side * 0.60 * angle.cos(), window[3] - 0.06
        d = ellipse(x, y, 0.12, 0.16)
        canvas.paint(window, OUTLINE, seen * canvas.cover(d - 0.03))
        canvas.paint(window, 0.92 * skin, seen * canvas.cover(d))
        canvas.paint(window, 0.6 * skin, seen * canvas.cover(ellipse(x, y, 0.055, 0.09), 0.03))


def _wrinkles(canvas: Canvas, angle: Tensor, age: Tensor, skin: Tensor) -> None:
    fold = 0.62 * skin
    centre, narrow = _place(angle, 0.0)
    window = canvas.window(-0.55, 0.55, -0.36, -0.14)
    for top, half in ((-0.31, 0.20), (-0.22, 0.24)):
        d = arc(window[2] - centre, window[3] - top, half * narrow, 0.025)
        canvas.paint(window, fold, age * canvas.cover(d, 0.028))
    for side in (-1, 1):
        near, shrink = _place(angle, side * 0.42)
        window = canvas.window(-0.62, 0.62, 0.08, 0.5)
        d = arc(window[2] - near, window[3] - 0.18, 0.12 * shrink, -0.035)  # bag under the eye
        crease = segment(window[2] - centre, window[3], (side * 0.17 * narrow, 0.26), (side * 0.28 * narrow, 0.44))
        canvas.paint(window, fold, age * canvas.cover(torch.minimum(d, crease), 0.03))


def _nose_and_cheeks(canvas: Canvas, angle: Tensor, skin: Tensor) -> None:
    for side in (-1, 1):
        x, shrink = _place(angle, side * 0.62)
        window = canvas.window(-0.62, 0.62, 0.1, 0.42)
        away = ((window[2] - x) / (0.13 * shrink + 0.02)).square() + ((window[3] - 0.26) / 0.11).square()
        blush = skin * 0.55 + skin.new_tensor((0.42, 0.13, 0.12))
        canvas.paint(window, blush, 0.75 * (1 - away / 2).clamp(min=0).square())
    x, _ = _place(angle, 0.0, 0.68)
    window = canvas.window(-0.55, 0.55, -0.02, 0.3)
    d = ellipse(window[2] - x, window[3] - 0.17, 0.10, 0.08)
    canvas.paint(window, 0.68 * skin, canvas.cover(d))
    d = ellipse(window[2] - x, window[3] - 0.15, 0.095, 0.075)
    canvas.paint(window, 0.9 * skin + 0.04, canvas.cover(d))
    d = ellipse(window[2] - x - 0.02, window[3] - 0.12, 0.035, 0.022)
    canvas.paint(window, WHITE, 0.5 * canvas.cover(d))


def _mouth(canvas: Canvas, angle: Tensor, smile: Tensor, skin: Tensor) -> None:
    x, narrow = _place(angle, 0.0)
    window = canvas.window(-0.62, 0.62, 0.26, 0.64)
    u = (window[2] - x) / narrow
    half = 0.21 + 0.05 * smile
    cut = torch.minimum(u.abs(), half)
    hump = 1 - (cut / half).square()
    below = window[3] - (0.40 - 0.08 * smile) - 0.105 * smile * hump  # under the upper lip where positive
    below = below / (1 + (0.21 * smile * cut / half.square()).square()).sqrt()
    gape = 0.14 * smile.clamp(min=0) * hump
    beyond = u.abs() - cut  # past the corners of the mouth
    between = torch.maximum(-below, below - gape)
    lips = (beyond.square() + between.clamp(min=0).square() + 1e-9).sqrt() - 0.033
    canvas.paint(window, 0.35 * skin + skin.new_tensor((0.12, 0.0, 0.01)), canvas.cover(lips))
    open_share = (gape / canvas.pixel).clamp(max=1)  # like a stroke, a gap thinner than a pixel fills a part of it
    canvas.paint(window, (0.62, 0.16, 0.17), torch.minimum(canvas.cover(between), open_share))
    teeth = torch.maximum(-below, below - 0.5 * gape)
    canvas.paint(window, WHITE, torch.minimum(canvas.cover(teeth), 0.5 * open_share))


def _eye(canvas: Canvas, angle: Tensor, side: int, hair: Tensor) -> None:
    x, shrink = _place(angle, side * 0.42)
    window = canvas.window(*sorted((side * -0.2, side * 0.58)), -0.13, 0.18)
    u, y = window[2] - x, window[3] - 0.02
    white = ellipse(u, y, 0.125 * shrink, 0.115)
    canvas.paint(window, OUTLINE, canvas.cover(white - 0.02))
    inside = canvas.cover(white)
    canvas.paint(window, WHITE, inside)
    u = u - 0.035 * angle
    iris = ellipse(u, y - 0.005, 0.075 * shrink, 0.082)
    canvas.paint(window, (0.16, 0.33, 0.38), inside * canvas.cover(iris))
    canvas.paint(window, (0.03, 0.03, 0.05), inside * canvas.cover(iris + 0.035))
    canvas.paint(window, WHITE, canvas.cover(ellipse(u + 0.025, y + 0.03, 0.026, 0.026)))
    window = canvas.window(*sorted((side * -0.22, side * 0.6)), -0.26, -0.08)
    d = arc(window[2] - x, window[3] + 0.19, 0.13 * shrink, 0.035)
    canvas.paint(window, 0.72 * hair, canvas.cover(d - 0.026))


def _fringe(canvas: Canvas, pose: Tensor, hair: Tensor) -> None:
    window = canvas.window(-0.75, 0.75, -0.95, 0.1)
    _, _, x, y = window
    dome = ellipse(x + 0.05 * pose, y + 0.13, 0.66, 0.67)
    u = x - 0.17 * pose
    face = ellipse(u, y - 0.30 + 0.16 * u, 0.53, 0.66)  # sheared: the fringe sweeps to one side
    d = torch.maximum(torch.maximum(dome, -face), y - 0.02)
    canvas.paint(window, 0.55 * hair, canvas.cover(d - 0.025))
    canvas.paint(window, hair, canvas.cover(d))
    window = canvas.window(-0.6, 0.6, -0.8, -0.4)
    d = arc(window[2] + 0.16 - 0.1 * pose, window[3] + 0.68, 0.2, 0.07)
    canvas.paint(window, 0.75 * hair + 0.25, 0.8 * canvas.cover(d - 0.022))


def _glasses(canvas: Canvas, angle: Tensor, glasses: Tensor) -> None:
    frame = (0.07, 0.07, 0.11)
    window = canvas.window(-0.72, 0.72, -0.2, 0.24)
    _, _, x, y = window
    (left, left_shrink), (right, right_shrink) = (_place(angle, at, 0.62) for at in (-0.42, 0.42))
    lenses = torch.minimum(
        ellipse(x - left, y - 0.02, 0.20 * left_shrink + 0.02, 0.185),
        ellipse(x - right, y - 0.02, 0.20 * right_shrink + 0.02, 0.185),
    )
    canvas.paint(window, (0.85, 0.93, 1.0), 0.28 * glasses * canvas.cover(lenses))
    bridge = segment(x, y, (left + 0.2 * left_shrink, -0.03), (right - 0.2 * right_shrink, -0.03))
    rims = torch.minimum(lenses.abs(), bridge)
    for side, centre, shrink in ((-1, left, left_shrink), (1, right, right_shrink)):
        outer = centre + side * (0.2 * shrink + 0.02)
        ear = side * torch.maximum(side * outer + 0.01, 0.58 * angle.cos())
        rims = torch.minimum(rims, segment(x, y, (outer, 0.0), (ear, 0.03)))
    canvas.paint(window, frame, glasses * canvas.cover(rims, 0.055))
