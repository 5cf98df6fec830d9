"""Recipes, weights and cards: what is shipped is what its recipe makes, and nothing else is let in."""

import hashlib
import json
import os
import struct
from dataclasses import replace

import pytest
import torch

from course_lib import manifest, paths, zoo
from course_lib.zoo import data, figures, files, networks
from tests.small_training import same

TINY = zoo.Recipe(
    "tiny",
    "for the tests",
    "vae",
    "digits",
    options={"latent_dim": 2, "hidden": [8]},
    training={"steps": 20, "batch_size": 64, "lr": 1e-2, "ema": 0.9},
    figures=("elbo", "reconstruction"),
)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The tiny recipe in the zoo, a cache of its own, and a data folder of its own."""
    course = tmp_path / "data"
    course.mkdir()
    (course / "manifest.json").write_text('{"other.txt": {"source": "someone"}}')
    monkeypatch.setattr(paths, "data_dir", lambda: course)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(zoo.RECIPES, "tiny", TINY)
    return TINY


def quiet(recipe, **options):
    return zoo.make(recipe, device="cpu", progress=False, **options)


@pytest.fixture
def made(tiny):
    return quiet(tiny)


@pytest.mark.parametrize("name", zoo.RECIPES)
def test_shipped_model_is_loaded_and_described(name):
    """Catches weights or a card that a changed recipe left behind, and files too large to ship."""
    recipe, folder = zoo.RECIPES[name], paths.data_dir() / "models"
    if not recipe.bundled and not (folder / f"{name}.json").exists():
        pytest.skip(f"{name} has not been measured yet: {recipe.command}")
    card = zoo.card(name, folder=folder)
    assert card["declaration"] == json.loads(json.dumps(recipe.declaration()))
    assert len(card["runs"]) == recipe.repeats and card["figures"] and "course train" in card["command"]
    if recipe.bundled:
        model = zoo.load(name, folder=folder)
        assert sum(p.numel() for p in model.parameters()) == card["parameters"]
        assert (folder / f"{name}.safetensors").stat().st_size <= 2**21
    else:
        assert not (folder / f"{name}.safetensors").exists()


@pytest.mark.parametrize("name", [name for name, recipe in zoo.RECIPES.items() if recipe.bundled])
def test_figures_on_the_card_are_those_of_the_weights(name):
    """Catches a card copied from another run, and data or models whose code has changed since the training."""
    recipe, card = zoo.RECIPES[name], zoo.card(name, folder=paths.data_dir() / "models")
    found = figures.measure(recipe, zoo.load(name), torch.Generator().manual_seed(recipe.seed))
    assert found == pytest.approx(card["figures"], rel=0.01, abs=0.005)


def test_hash_is_that_of_the_declaration():
    """Catches a hash of less than is promised: it is worked out here from the values, written by hand."""
    text = (
        '{"data":"digits","data_options":{},"generation":1,"model":"vae","name":"tiny",'
        '"options":{"hidden":[8],"latent_dim":2},"seed":0,'
        '"training":{"batch_size":64,"ema":0.9,"lr":0.01,"steps":20}}'
    )
    assert TINY.hash == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"data": "mnist"},
        {"data": "faces", "data_options": {"num": 7}},
        {"options": {"latent_dim": 3, "hidden": [8]}},
        {"training": {**TINY.training, "lr": 2e-2}},
        {"training": {**TINY.training, "steps": 21}},
    ],
)
def test_hash_changes_with_what_decides_the_weights(change):
    """Catches a setting left out of the hash: an old checkpoint would pass for the new recipe's."""
    assert replace(TINY, **change).hash != TINY.hash
    faces = replace(TINY, data="faces")
    assert replace(faces, data_options={"num": 7}).hash != faces.hash
    assert replace(TINY, about="other words", figures=(), repeats=3, bundled=False).hash == TINY.hash


def test_same_recipe_same_bytes(tiny, tmp_path):
    """Catches any randomness outside the recipe's seed."""
    a = quiet(tiny, folder=tmp_path / "a").path.read_bytes()
    torch.manual_seed(5)
    assert quiet(tiny, folder=tmp_path / "b").path.read_bytes() == a
    assert quiet(replace(tiny, seed=1), folder=tmp_path / "c").path.read_bytes() != a


@pytest.mark.parametrize("repeats", [1, 2])
def test_stopped_and_resumed_gives_the_same_bytes(tiny, tmp_path, monkeypatch, repeats):
    """Catches a resume that is only nearly exact, and one that trains finished seeds again."""
    recipe = replace(tiny, repeats=repeats)
    whole = quiet(recipe, folder=tmp_path / "a")
    plain, calls = networks.MODELS["vae"].loss, []

    def loss(self, x, *, generator=None):
        calls.append(1)
        if len(calls) == 20 * (repeats - 1) + 13:
            os.kill(os.getpid(), 2)
        return plain(self, x, generator=generator)

    monkeypatch.setattr(networks.MODELS["vae"], "loss", loss)
    half = quiet(recipe, folder=tmp_path / "b")
    assert half.path is None and half.stopped_at == 13 and not (tmp_path / "b").exists()
    parts = quiet(recipe, folder=tmp_path / "b", resume=True)
    assert len(calls) == 20 * repeats
    assert parts.path.read_bytes() == whole.path.read_bytes()
    assert [r["figures"] for r in parts.card["runs"]] == [r["figures"] for r in whole.card["runs"]]
    assert parts.card["runs"][-1]["processor_seconds"] > 0
    assert not list((paths.cache_dir() / "training").iterdir())


def test_without_resume_it_starts_anew(tiny, tmp_path, monkeypatch):
    """Catches an old state that is taken up unasked."""
    expected = quiet(tiny, folder=tmp_path / "a").path.read_bytes()
    state = paths.cache_dir() / "training" / f"tiny-{tiny.hash[:12]}.pt"
    state.write_bytes(b"of another day")
    assert quiet(tiny, folder=tmp_path / "b").path.read_bytes() == expected


def test_repeats_keep_the_first_and_measure_all(tiny, tmp_path):
    """Catches the weights of the last seed kept under the name of the first, and figures of one seed told for all."""
    one = quiet(tiny, folder=tmp_path / "one")
    three = quiet(replace(tiny, repeats=3), folder=tmp_path / "three")
    assert three.path.read_bytes() == one.path.read_bytes()
    assert [run["seed"] for run in three.card["runs"]] == [0, 1, 2]
    assert three.card["figures"] == three.card["runs"][0]["figures"] == one.card["figures"]
    assert len({run["figures"]["test_elbo"] for run in three.card["runs"]}) == 3
    alone = quiet(replace(tiny, seed=2), folder=tmp_path / "two")
    assert alone.card["figures"] == three.card["runs"][2]["figures"]


def test_resume_takes_seeds_that_were_trained_alone(tiny, monkeypatch):
    """Catches seeds trained twice although their cards are there, and cards of another recipe believed."""
    alone = quiet(replace(tiny, seed=1)).card["runs"][0]
    quiet(replace(tiny, seed=2, training={**tiny.training, "lr": 1e-3}))
    plain, calls = networks.MODELS["vae"].loss, []

    def loss(self, x, *, generator=None):
        calls.append(1)
        return plain(self, x, generator=generator)

    monkeypatch.setattr(networks.MODELS["vae"], "loss", loss)
    runs = quiet(replace(tiny, repeats=3), resume=True).card["runs"]
    assert len(calls) == 40 and runs[1] == alone and [run["seed"] for run in runs] == [0, 1, 2]


def test_the_average_is_what_is_kept(made, tiny, tmp_path):
    """Catches the parameters of the last step written although the recipe asks for their average."""
    raw = replace(tiny, training={key: value for key, value in tiny.training.items() if key != "ema"})
    last = files.read_weights(quiet(raw, folder=tmp_path / "raw").path, raw)
    average = files.read_weights(made.path, tiny)
    assert not torch.equal(last["encoder.0.weight"], average["encoder.0.weight"])


def test_loaded_model_is_ready_to_look_at(made, tiny):
    """Catches dropout left on, and pictures that cannot become arrays because a gradient hangs on them."""
    model = zoo.load("tiny")
    assert not model.training and not model.decode(torch.zeros(1, 2)).requires_grad
    again = zoo.build(tiny)
    again.load_state_dict(files.read_weights(made.path, tiny))
    assert same(model, again) and not same(model, zoo.build(tiny))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 0.99, 0.9999])
def test_truncated_weights_are_refused(made, share):
    """Catches a file cut anywhere: in its length, its head, its tensors."""
    content = made.path.read_bytes()
    made.path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"tiny\.safetensors is truncated or no safetensors .*: course train tiny"):
        zoo.load("tiny")


@pytest.mark.parametrize(
    "content", [b"not weights at all, only words", struct.pack("<Q", 2**60) + b"{}", b"PK\x03\x04"]
)
def test_what_is_no_safetensors_is_refused(made, content):
    """Catches a download page, a pickle, or a head of absurd length taken for weights."""
    made.path.write_bytes(content)
    with pytest.raises(ValueError, match=r"truncated or no safetensors file .* course train tiny"):
        zoo.load("tiny")


def test_flipped_bit_is_refused(made):
    """Catches a damaged weight: the format itself has no checksum."""
    content = bytearray(made.path.read_bytes())
    content[-3] ^= 64
    made.path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged: its weights differ from their checksum; .*course train tiny"):
        zoo.load("tiny")


def test_foreign_safetensors_are_refused(made, tiny):
    """Catches weights of someone else, with the right shapes but no recipe."""
    from safetensors.torch import save_file

    save_file(files.read_weights(made.path, tiny), made.path)
    with pytest.raises(ValueError, match=r"does not say which recipe made it; .*course train tiny"):
        zoo.load("tiny")


def test_weights_of_a_changed_recipe_are_refused(made, tiny, monkeypatch):
    """Catches the old model loaded after its recipe was changed; the card must not be believed either."""
    monkeypatch.setitem(zoo.RECIPES, "tiny", replace(tiny, training={**tiny.training, "lr": 1e-3}))
    with pytest.raises(ValueError, match=r"made by another recipe than 'tiny' has now .*: course train tiny$"):
        zoo.load("tiny")
    with pytest.raises(ValueError, match=r"another recipe than 'tiny' has now; .*: course train tiny$"):
        zoo.card("tiny")


def test_weights_that_do_not_fit_the_code_are_named(made, tiny, monkeypatch):
    """Catches torch's own long message where the class has changed and the recipe has not."""
    monkeypatch.setitem(networks.MODELS, "vae", lambda *a, **k: torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"does not fit the model: bias, .* course train tiny"):
        zoo.load("tiny")


def test_absent_weights_name_the_command(tiny):
    """Catches FileNotFoundError, and a command that would make another model than the one asked for."""
    with pytest.raises(ValueError, match=r"no weights of 'tiny' in .* or .*: course train tiny --steps 7 --seed 3$"):
        zoo.load("tiny", steps=7, seed=3)


@pytest.mark.parametrize("content", ["{", "[]", "{}", "3"])
def test_broken_card_is_refused(made, content):
    """Catches a JSON traceback."""
    made.path.with_suffix(".json").write_text(content)
    with pytest.raises(ValueError, match=r"tiny\.json is no card of a model; .*course train tiny"):
        zoo.card("tiny")


def test_changed_recipe_never_replaces_the_courses_own(made, tiny):
    """Catches `--steps 5` that overwrites the reference model with a worse one."""
    before = made.path.read_bytes()
    other = quiet(zoo.recipe("tiny", steps=5))
    assert other.path.parent == paths.cache_dir() / "models" and made.path.parent == paths.data_dir() / "models"
    assert made.path.read_bytes() == before
    assert not same(zoo.load("tiny"), zoo.load("tiny", steps=5))
    assert zoo.card("tiny", steps=5)["command"] == "course train tiny --steps 5"


def test_written_files_enter_the_manifest(made, tiny):
    """Catches a new checkpoint that the manifest calls damaged, and a manifest that blesses what it was not told of."""
    entries = manifest.read(paths.data_dir())
    assert set(entries) == {"models/tiny.json", "models/tiny.safetensors", "other.txt"}
    assert entries["other.txt"] == {"source": "someone"}
    for name in ("models/tiny.json", "models/tiny.safetensors"):
        assert entries[name]["sha256"] == manifest.sha256(paths.data_dir() / name)
        assert set(entries[name]) == set(manifest.FIELDS) and entries[name]["made"] == "course train tiny"


def test_unbundled_weights_stay_in_the_cache(tiny, monkeypatch):
    """Catches large weights written into the course's data; the card belongs there."""
    large = replace(tiny, bundled=False)
    monkeypatch.setitem(zoo.RECIPES, "tiny", large)
    path = quiet(large).path
    assert path.parent == paths.cache_dir() / "models"
    assert [p.name for p in (paths.data_dir() / "models").iterdir()] == ["tiny.json"]
    assert zoo.card("tiny")["figures"] and not zoo.load("tiny").training


def test_failed_write_keeps_the_old_file(made, tiny, monkeypatch):
    """Catches writing in place: a full disk would leave half a model."""
    before = made.path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=r"tiny\.safetensors cannot be written .*No space left.* free some space"):
        files.write(tiny, zoo.build(tiny).state_dict(), {})
    monkeypatch.undo()
    assert made.path.read_bytes() == before
    assert not list(made.path.parent.glob("*.tmp"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "vae_digit"}, "did you mean 'vae_digits'"),
        ({"name": "tiny", "data": "digit"}, "did you mean 'digits'"),
        ({"name": "tiny", "steps": 0}, "steps must be at least 1"),
        ({"name": "tiny", "seed": -1}, "seed must be at least 0"),
        ({"name": "tiny", "seed": 0.5}, "seed must be a whole number"),
    ],
)
def test_bad_changes_are_named(tiny, changes, message, no_shape_check):
    """Catches a KeyError, and a training of no steps."""
    with pytest.raises(ValueError, match=message):
        zoo.recipe(**changes)


def test_fewer_steps_than_the_warmup_still_train(tiny, monkeypatch):
    """Catches `--steps 10` refused because the recipe warms up for longer."""
    slow = replace(tiny, training={**tiny.training, "warmup": 15})
    monkeypatch.setitem(zoo.RECIPES, "tiny", slow)
    assert zoo.recipe("tiny", steps=10).training["warmup"] < 10
    assert quiet(zoo.recipe("tiny", steps=10)).path.is_file()


def test_binarised_pixels_are_bits_of_the_right_mean():
    """Catches rounding instead of drawing, the complement, and one draw used for every step."""
    x = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]).expand(4000, 5)
    generator = torch.Generator().manual_seed(0)
    bits = data.binarise(x, generator)
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    # Standard error at most 0.008: five of them fail once in a million.
    assert (bits.mean(0) - x[0]).abs().max() < 0.04
    assert bits[:, 0].max() == 0 and bits[:, 4].min() == 1
    assert not torch.equal(bits, data.binarise(x, generator))


def test_labels_reach_a_conditional_model(tiny):
    """Catches labels mixed up or left out in training: conditional samples must show what was asked for."""
    recipe = replace(tiny, name="conditional", options={"latent_dim": 2, "hidden": [64], "num_classes": 10},
                     training={"steps": 400, "batch_size": 128, "lr": 5e-3}, figures=("label_accuracy",))  # fmt: skip
    assert quiet(recipe).card["figures"]["label_accuracy"] > 0.8
