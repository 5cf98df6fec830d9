"""Every bundled data file says where it is from, under which licence, how it was made, and is what it was."""

import json

import pytest

from course_lib import manifest, paths


def test_every_bundled_file_is_described_and_whole():
    """Catches a data file without source or licence, and one that changed since its checksum was written."""
    wrong = manifest.undescribed() + manifest.damaged()
    assert not wrong, f"{wrong}: describe new files in data/manifest.json, then run python -m course_lib.manifest"


@pytest.fixture
def data(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part/a.txt").write_text("a")
    entry = {"source": "s", "licence": "l", "made": "m", "sha256": manifest.sha256(tmp_path / "part/a.txt")}
    (tmp_path / "manifest.json").write_text(json.dumps({"part/a.txt": entry}))
    return tmp_path


def test_a_whole_folder_passes(data):
    """Catches a check that complains about what is right."""
    assert manifest.undescribed(data) + manifest.damaged(data) == []


def test_a_change_a_loss_and_a_stranger_are_named(data):
    """Catches checks that look at only one side, the manifest or the folder."""
    (data / "part/a.txt").write_text("b")
    (data / "b.txt").write_text("b")
    assert manifest.damaged(data) == ["data/part/a.txt differs from its sha256 in data/manifest.json"]
    assert manifest.undescribed(data) == [
        "data/b.txt has no source and no licence and no made and no sha256 in data/manifest.json"
    ]
    (data / "part/a.txt").unlink()
    assert manifest.damaged(data) == ["data/part/a.txt is missing"]


def test_refresh_keeps_what_people_wrote(data):
    """Catches a refresh that loses descriptions, keeps files that are gone, or calls an undescribed file described."""
    (data / "part/a.txt").write_text("changed")
    (data / "b.txt").write_text("b")
    manifest.refresh(data)
    assert manifest.damaged(data) == []
    assert manifest.read(data)["part/a.txt"]["source"] == "s"
    assert manifest.undescribed(data) == ["data/b.txt has no source and no licence and no made in data/manifest.json"]


def test_a_broken_manifest_is_named(data):
    """Catches a bare JSON traceback."""
    (data / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json cannot be read"):
        manifest.damaged(data)


def test_the_data_stay_light():
    """Catches a folder that grows file by file until a clone or a start on Colab takes minutes."""
    sizes = [path.stat().st_size for path in paths.data_dir().rglob("*") if path.is_file()]
    assert len(sizes) > 5 and sum(sizes) <= 30e6
