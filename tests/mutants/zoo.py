"""Bugs in the zoo that the tests must notice."""

from tests.mutants.mutant import Mutant

ZOO = "tests/test_zoo.py"

MUTANTS = [
    Mutant(
        "the hash forgets the training",
        "course_lib/zoo/recipes.py",
        '("name", "model", "data", "options", "training", "seed")',
        '("name", "model", "data", "options", "seed")',
        (f"{ZOO}::test_hash_is_that_of_the_declaration",),
    ),
    Mutant(
        "the hash forgets the settings of the data",
        "course_lib/zoo/recipes.py",
        'values["data_options"] = self.all_data_options',
        'values["data_options"] = {}',
        (f"{ZOO}::test_hash_changes_with_what_decides_the_weights",),
    ),
    Mutant(
        "weights of another recipe are loaded",
        "course_lib/zoo/files.py",
        'if head["recipe"] != wanted.hash:',
        'if not head["recipe"]:',
        (f"{ZOO}::test_weights_of_a_changed_recipe_are_refused",),
    ),
    Mutant(
        "a damaged weight is loaded",
        "course_lib/zoo/files.py",
        'if head["tensors"] != checksum(tensors):',
        'if not head["tensors"]:',
        (f"{ZOO}::test_flipped_bit_is_refused",),
    ),
    Mutant(
        "a changed recipe replaces the reference",
        "course_lib/zoo/files.py",
        'return made.name if made.is_reference else f"{made.name}-{made.hash[:12]}"',
        "return made.name",
        (f"{ZOO}::test_changed_recipe_never_replaces_the_courses_own",),
    ),
    Mutant(
        "the weights of the last seed are kept",
        "course_lib/zoo/make.py",
        "kept = model if kept is None else kept",
        "kept = model",
        (f"{ZOO}::test_repeats_keep_the_first_and_measure_all",),
    ),
    Mutant(
        "every seed is the first",
        "course_lib/zoo/make.py",
        "generator = rng(seed)",
        "generator = rng(made.seed)",
        (f"{ZOO}::test_repeats_keep_the_first_and_measure_all",),
    ),
    Mutant(
        "the last step is kept, not the average",
        "course_lib/zoo/make.py",
        "best = trained if history.averaged is None else history.averaged",
        "best = trained",
        (f"{ZOO}::test_the_average_is_what_is_kept",),
    ),
    Mutant(
        "a stopped training is written as if it were done",
        "course_lib/zoo/make.py",
        "if history.interrupted:",
        "if not history.steps:",
        (f"{ZOO}::test_stopped_and_resumed_gives_the_same_bytes",),
    ),
    Mutant(
        "pixels are rounded instead of drawn",
        "course_lib/zoo/data.py",
        "torch.rand(x.shape, generator=generator, device=device).to(x.device) < x",
        "0.5 < x",
        (f"{ZOO}::test_binarised_pixels_are_bits_of_the_right_mean",),
    ),
    Mutant(
        "labels do not reach the conditional model in order",
        "course_lib/zoo/make.py",
        "batch = (x, known) if",
        "batch = (x, known.flip(0)) if",
        (f"{ZOO}::test_labels_reach_a_conditional_model",),
    ),
]
