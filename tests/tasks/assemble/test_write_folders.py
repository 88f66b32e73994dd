import hashlib
import json
import shutil
from pathlib import Path

import pytest
from tasks.assemble.write_folders import ForeignFolder, write_split

from models.data.records import METADATA, Artifact, Sample
from tasks.store.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def put(store: Store, stage: str, name: str) -> Artifact:
    blob = f"{stage} {name}".encode()
    digest = hashlib.sha256(blob).hexdigest()
    media = "jpg" if stage == "resize" else "png"
    artifact = Artifact(
        key=digest, stage=stage, version=1, name=name, media=media, digest=digest, size=len(blob)
    )
    store.put(artifact, blob)
    return artifact


def sample(store: Store, name: str) -> Sample:
    return Sample(
        name=name,
        label=name.partition("/")[0],
        split="train",
        origin="synthetic",
        source=name,
        image=put(store, "resize", name),
        mask=put(store, "label", name),
        boxes=((1, 2, 3, 4),),
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write(store: Store, names: list[str], out: Path) -> int:
    chosen = [sample(store, name) for name in names]
    return write_split(store, chosen, out / "train", out / "masks" / "train")


def test_images_masks_and_metadata_are_exactly_the_samples(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "synthetic"
    assert write(store, ["pan/b", "cup/ä"], out) == 4
    assert sorted(snapshot(out)) == [
        *("masks/train/cup/ä.png", "masks/train/pan/b.png"),
        *("train/cup/ä.jpg", f"train/{METADATA}", "train/pan/b.jpg"),
    ]
    rows = [json.loads(line) for line in (out / "train" / METADATA).read_text("utf-8").splitlines()]
    assert [row["file_name"] for row in rows] == ["cup/ä.jpg", "pan/b.jpg"]
    assert (out / "train" / rows[0]["mask"]).resolve() == (out / "masks/train/cup/ä.png").resolve()
    assert rows[0]["boxes"] == [[1, 2, 3, 4]]
    assert rows[0]["digest"] == hashlib.sha256((out / "train/cup/ä.jpg").read_bytes()).hexdigest()


def test_nothing_is_written_twice(store: Store, tmp_path: Path) -> None:
    assert write(store, ["cup/a", "pan/b"], tmp_path / "out") == 4
    assert write(store, ["cup/a", "pan/b"], tmp_path / "out") == 0


def test_a_changed_or_lost_file_is_mended(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(store, ["cup/a", "pan/b"], out)
    before = snapshot(out)
    (out / "train/cup/a.jpg").write_bytes(b"x" * (out / "train/cup/a.jpg").stat().st_size)
    (out / "masks/train/pan/b.png").unlink()
    assert write(store, ["cup/a", "pan/b"], out) == 2
    assert snapshot(out) == before


def test_files_of_an_earlier_recipe_go_and_the_folder_is_exact(
    store: Store, tmp_path: Path
) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    write(store, ["cup/a", "cup/old", "pan/b"], out)
    write(store, ["cup/a", "pan/new"], out)
    write(store, ["cup/a", "pan/new"], fresh)
    assert snapshot(out) == snapshot(fresh)


def test_a_killed_run_leaves_nothing_behind_in_the_end(store: Store, tmp_path: Path) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    write(store, ["cup/a", "pan/b"], out)
    shutil.copyfile(out / "train" / METADATA, out / "train" / ".metadata.jsonl.planned")
    planned = ["cup/half.jpg", "../masks/train/cup/half.png"]
    (out / "train" / ".metadata.jsonl.planned").write_text("\n".join(planned))
    (out / "train/cup/half.jpg").write_bytes(b"written before the kill")
    (out / "train/cup/half.jpg.77.writing").write_bytes(b"wri")
    (out / "masks/train/cup/a.png.77.writing").write_bytes(b"")
    (out / "train/metadata.jsonl.77.writing").write_bytes(b"{")
    write(store, ["cup/a"], out)
    write(store, ["cup/a"], fresh)
    assert snapshot(out) == snapshot(fresh)


@pytest.mark.parametrize("planned", [["cup/a.jpg"], ["cup/a.jpg", "cup/half.jpg"]])
def test_a_run_killed_with_the_metadata_in_place_leaves_nothing_behind(
    store: Store, tmp_path: Path, planned: list[str]
) -> None:
    """Between its last two steps, or at work on another list that is wanted no more."""
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    write(store, ["cup/a"], out)
    write(store, ["cup/a"], fresh)
    (out / "train" / ".metadata.jsonl.planned").write_text("\n".join(planned))
    for name in planned:
        (out / "train" / name).write_bytes(b"written before the kill")
    write(store, ["cup/a"], out)
    assert snapshot(out) == snapshot(fresh)


def test_a_users_file_stops_the_run_and_stays(store: Store, tmp_path: Path) -> None:
    holiday = tmp_path / "out" / "train" / "cup" / "holiday.jpg"
    holiday.parent.mkdir(parents=True)
    holiday.write_bytes(b"mine")
    with pytest.raises(ForeignFolder, match=r"holiday\.jpg was not made by synthset"):
        write(store, ["cup/a"], tmp_path / "out")
    assert holiday.read_bytes() == b"mine"


def test_a_forged_list_removes_nothing_outside(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(store, ["cup/a"], out)
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    (out / "train" / ".metadata.jsonl.planned").write_text("../../precious.txt")
    write(store, ["cup/b"], out)
    assert precious.read_text() == "keep me"
