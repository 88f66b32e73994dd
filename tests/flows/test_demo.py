"""The photos that the package brings along for `synthset demo`."""

from pathlib import Path

import pytest

from flows import demo
from tests.demo_scenes.__main__ import CLASSES, TEST, TRAIN
from tests.demo_scenes.render import write_photos

BUNDLED = Path(demo.__file__).parent / "demo_photos"


def _photos(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")
    }


def test_copies_all_photos_and_repairs_a_changed_one(tmp_path: Path) -> None:
    demo.copy_demo_photos(tmp_path)
    copied = _photos(tmp_path)
    assert len(copied) == len(CLASSES) * (TRAIN + TEST)
    changed, intact = sorted(tmp_path.rglob("*.jpg"))[:2]
    written = intact.stat().st_mtime_ns
    changed.write_bytes(b"cut off")
    demo.copy_demo_photos(tmp_path)
    assert _photos(tmp_path) == copied == _photos(BUNDLED)
    assert intact.stat().st_mtime_ns == written


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_bundled_photos_are_what_the_renderer_writes(split: str, tmp_path: Path) -> None:
    write_photos(tmp_path, **{"train": 0, "test": 0, split: 1}, classes=("bowl",), processes=1)
    ((name, data),) = _photos(tmp_path).items()
    assert data == _photos(BUNDLED)[name]
