"""data/manifest.json: for every bundled file its source, its licence, how it was made, and its sha256.

`python -m course_lib.manifest` brings the checksums up to date and names the files that still lack a description.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from course_lib import paths

FIELDS = ("source", "licence", "made", "sha256")


def bundled(root: Path) -> list[str]:
    """Every file below `root` as the manifest names it, except the manifest itself and what Python leaves behind."""
    names = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(
        name for name in names if name != "manifest.json" and not {"__pycache__", "__init__.py"} & {*name.split("/")}
    )


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(root: Path) -> dict[str, dict[str, str]]:
    """The manifest of the data in `root`: file → its fields. Raises ValueError if it cannot be read."""
    try:
        return json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{root / 'manifest.json'} cannot be read: {error}") from None


def damaged(root: Path | None = None) -> list[str]:
    """The described files that are missing or differ from their checksum, one sentence each."""
    root = paths.data_dir() if root is None else root
    found = []
    for name, entry in read(root).items():
        if not (root / name).is_file():
            found.append(f"data/{name} is missing")
        elif sha256(root / name) != entry.get("sha256"):
            found.append(f"data/{name} differs from its sha256 in data/manifest.json")
    return found


def undescribed(root: Path | None = None) -> list[str]:
    """The files that the manifest leaves out or describes in part, one sentence each."""
    root = paths.data_dir() if root is None else root
    entries, found = read(root), []
    for name in bundled(root):
        lacking = [field for field in FIELDS if not str(entries.get(name, {}).get(field, "")).strip()]
        if lacking:
            found.append(f"data/{name} has no {' and no '.join(lacking)} in data/manifest.json")
    return found


def refresh(root: Path) -> None:
    """Write the sha256 of every bundled file into the manifest; what people wrote there stays."""
    target = root / "manifest.json"
    entries = read(root)
    fresh = {
        name: {field: entries.get(name, {}).get(field, "") for field in FIELDS} | {"sha256": sha256(root / name)}
        for name in bundled(root)
    }
    target.write_text(json.dumps(fresh, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    refresh(paths.data_dir())
    left = undescribed()
    print("\n".join(left) or "data/manifest.json describes every file of data/")
    sys.exit(1 if left else 0)
