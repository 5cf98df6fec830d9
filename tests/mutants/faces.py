"""Bugs in the faces world and its oracle that the tests must notice."""

from tests.mutants.mutant import Mutant

DRAWING = "course_lib/datasets/face_drawing.py"
ORACLE = "course_lib/models/face_oracle.py"

MUTANTS = [
    Mutant(
        "the grid of pixels starts at a pixel's corner",
        DRAWING,
        "device=mix.device, dtype=mix.dtype) + 0.5) * self.pixel - 1",
        "device=mix.device, dtype=mix.dtype) + 0.0) * self.pixel - 1",
        ("tests/test_faces.py::test_small_pictures_are_large_ones_averaged",),
    ),
    Mutant(
        "thin strokes fill whole pixels",
        DRAWING,
        ".clamp(0, min(1.0, width / self.pixel))",
        ".clamp(0, 1)",
        ("tests/test_faces.py::test_a_stroke_covers_its_own_area",),
    ),
    Mutant(
        "the far eye is cut off at a full turn",
        DRAWING,
        "sorted((side * -0.2, side * 0.58))",
        "sorted((side * -0.08, side * 0.58))",
        ("tests/test_faces.py::test_windows_cut_no_shape_off",),
    ),
    Mutant(
        "the head turns the wrong way",
        DRAWING,
        "angle = TURN * pose",
        "angle = -TURN * pose",
        ("tests/test_faces.py::test_a_turn_to_the_right_moves_eyes_and_mouth_to_the_right",),
    ),
    Mutant(
        "grey hair on a smile",
        DRAWING,
        "palette(age[:, 0, 0], HAIR)",
        "palette((age + 0.1 * smile).clamp(0, 1)[:, 0, 0], HAIR)",
        ("tests/test_faces.py::test_a_factor_changes_only_its_part_of_the_face",),
    ),
    Mutant(
        "teal and blue have one grey",
        DRAWING,
        "(0.33, 0.70, 0.62)",
        "(0.33, 0.50, 0.62)",
        ("tests/test_faces.py::test_hue_and_age_brighten_evenly_in_grey",),
    ),
    Mutant(
        "grey is the mean of the colours",
        "course_lib/datasets/faces.py",
        "torch.tensor([LUMA])",
        "torch.full((1, 3), 1 / 3)",
        ("tests/test_faces.py::test_grey_is_the_luma_of_colour",),
    ),
    Mutant(
        "glasses are drawn in between",
        "course_lib/datasets/faces.py",
        'factors[:, FACTORS.index("glasses")].round()',
        'factors[:, FACTORS.index("glasses")]',
        ("tests/test_faces.py::test_factors_are_independent_and_uniform",),
    ),
    Mutant(
        "only the largest value of a factor is checked",
        "course_lib/datasets/faces.py",
        "if least < low or most > high:",
        "if most > high:",
        ("tests/test_faces.py::test_factors_out_of_range_are_named",),
    ),
    Mutant(
        "the factors of one row decide for all",
        "course_lib/datasets/faces.py",
        "ends = factors.detach().aminmax(dim=0)",
        "ends = factors.detach()[:1].aminmax(dim=0)",
        ("tests/test_faces.py::test_factors_out_of_range_are_named",),
    ),
    Mutant(
        "a caption asserts the interval beside",
        "course_lib/datasets/captions.py",
        "said[name] = (edges[i], edges[i + 1])",
        "said[name] = (edges[i - 1], edges[i])",
        ("tests/test_faces.py::test_captions_may_say_less",),
    ),
    Mutant(
        "every caption says the last word of its kind",
        "course_lib/datasets/captions.py",
        "words.index(word)",
        "-1",
        ("tests/test_faces.py::test_captions_assert_what_the_face_shows",),
    ),
    Mutant(
        "glasses count as a continuous factor, too",
        ORACLE,
        "for i in range(len(FACTORS)) if i != GLASSES]",
        "for i in range(len(FACTORS))]",
        ("tests/test_oracle.py::test_loss_has_the_units_it_claims",),
    ),
    Mutant(
        "every second picture of the caller turns grey",
        ORACLE,
        "    images = images.clone()\n",
        "",
        ("tests/test_oracle.py::test_training_sees_grey_blurred_coarse_and_noisy_faces",),
    ),
    Mutant(
        "noise of the training ignores the generator",
        ORACLE,
        "torch.randn(images.shape, generator=generator, device=images.device)",
        "torch.randn(images.shape, device=images.device)",
        ("tests/test_oracle.py::test_training_sees_grey_blurred_coarse_and_noisy_faces",),
    ),
    Mutant(
        "a face is held against its sharpness",
        ORACLE,
        "for _ in range(4):",
        "for _ in range(1):",
        ("tests/test_oracle.py::test_a_face_read_rightly_has_no_error_sharp_or_blurred",),
    ),
    Mutant(
        "bad parts are averaged away",
        ORACLE,
        ".flatten(1).amax(1))",
        ".flatten(1).mean(1))",
        ("tests/test_oracle.py::test_one_bad_part_is_not_averaged_away",),
    ),
    Mutant(
        "readings leave their range",
        ORACLE,
        "out.clamp(0, 1)",
        "out",
        ("tests/test_oracle.py::test_readings_stay_in_range_whatever_is_shown",),
    ),
    Mutant(
        "the blur runs along rows only",
        ORACLE,
        "F.conv2d(F.conv2d(rows, taps.view(1, 1, 5, 1)), taps.view(1, 1, 1, 5))",
        "F.conv2d(rows, taps.view(1, 1, 1, 5))[:, :, 2:-2]",
        ("tests/test_oracle.py::test_blur_is_binomial",),
    ),
]
