"""Photo folders as people have them: two layouts, links, leftovers, prompts and misplaced files."""

import os
import unicodedata
from pathlib import Path

import pytest

from models.data.find_photos import PhotoFile, Refused, check_label, find_photos

BYTES = b"content is read elsewhere"


def lay(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BYTES)
    return root


def two_classes(root: Path) -> Path:
    return lay(root, "cat/a.jpg", "dog/b.jpg")


def reasons(refused: list[Refused]) -> dict[str, str]:
    return {one.file: one.reason for one in refused}


def test_flat_layout_is_sorted_and_read_at_any_depth(tmp_path: Path) -> None:
    lay(tmp_path, "dog/b.PNG", "cat/2.jpeg", "cat/10.jpg", "cat/deep/er/c.webp", "dog/a.tif")
    photos, refused = find_photos(tmp_path)
    assert [(photo.file, photo.label) for photo in photos] == [
        ("cat/10.jpg", "cat"),
        ("cat/2.jpeg", "cat"),
        ("cat/deep/er/c.webp", "cat"),
        ("dog/a.tif", "dog"),
        ("dog/b.PNG", "dog"),
    ]
    assert refused == []
    assert all(photo.path.read_bytes() == BYTES for photo in photos)
    assert {photo.split for photo in photos} == {None}


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_given_splits(tmp_path: Path, val: str) -> None:
    lay(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", f"{val}/cat/c.jpg", "test/dog/d.jpg")
    photos, refused = find_photos(tmp_path)
    assert {photo.file: photo.split for photo in photos} == {
        "train/cat/a.jpg": "train",
        "train/dog/b.jpg": "train",
        f"{val}/cat/c.jpg": "val",
        "test/dog/d.jpg": "test",
    }
    assert refused == []


def test_val_and_test_may_be_missing(tmp_path: Path) -> None:
    photos, _ = find_photos(two_classes(tmp_path / "train").parent)
    assert [photo.split for photo in photos] == ["train", "train"]


def test_folders_beside_the_splits_are_listed_not_read(tmp_path: Path) -> None:
    lay(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "train_masks/cat/a.png", "README.md")
    photos, refused = find_photos(tmp_path)
    assert len(photos) == 2
    assert reasons(refused) == {
        "README.md": "not an image type",
        "train_masks": "a folder beside train, val and test; not used",
    }


def test_leftovers_of_systems_are_passed_over(tmp_path: Path) -> None:
    two_classes(tmp_path)
    lay(
        tmp_path, ".DS_Store", "Thumbs.db", "__MACOSX/cat/._a.jpg", ".git/config", "cat/.hidden.jpg"
    )
    lay(tmp_path, "cat/.ipynb_checkpoints/a.jpg", "dog/desktop.ini", "cat/@eaDir/a.jpg")
    photos, refused = find_photos(tmp_path)
    assert [photo.file for photo in photos] == ["cat/a.jpg", "dog/b.jpg"]
    assert refused == []


def test_a_hidden_class_folder_with_photos_is_named(tmp_path: Path) -> None:
    _, refused = find_photos(lay(two_classes(tmp_path), ".bird/c.jpg"))
    assert reasons(refused) == {".bird": "a hidden folder; rename it to use its photos"}


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    two_classes(tmp_path)
    lay(tmp_path, "cat/clip.mp4", "cat/raw.NEF", "cat/lonely.txt", "notes.csv")
    (tmp_path / "cat" / "empty.jpg").touch()
    photos, refused = find_photos(tmp_path)
    assert len(photos) == 2
    assert reasons(refused) == {
        "cat/clip.mp4": "not an image type",
        "cat/empty.jpg": "the file is empty (0 bytes)",
        "cat/lonely.txt": "not an image type",
        "cat/raw.NEF": "a camera's raw file; export it as JPEG",
        "notes.csv": "not an image type",
    }


def test_sidecar_is_the_photos_prompt(tmp_path: Path) -> None:
    two_classes(tmp_path)
    sidecar = tmp_path / "cat" / "a.txt"
    sidecar.write_text("\ufeff  a tabby cat\n on a röd mat \n", encoding="utf-8")
    photos, refused = find_photos(tmp_path)
    assert [photo.prompt for photo in photos] == ["a tabby cat on a röd mat", None]
    assert refused == []


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"x" * 501, "longer than 500"),
        (b"x" * 100_000, "longer than 500"),
        (b"caf\xe9", "UTF-8"),
        (b" \n", "empty"),
        (b"a\x00b", "control characters"),
    ],
)
def test_bad_sidecar_is_refused_and_the_photo_kept(
    tmp_path: Path, blob: bytes, reason: str
) -> None:
    two_classes(tmp_path)
    (tmp_path / "cat" / "a.txt").write_bytes(blob)
    photos, refused = find_photos(tmp_path)
    assert [photo.prompt for photo in photos] == [None, None]
    assert [one.file for one in refused] == ["cat/a.txt"]
    assert reason in refused[0].reason


def test_prompt_of_500_characters_is_taken(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "cat" / "a.txt").write_text("ö" * 500, encoding="utf-8")
    assert find_photos(tmp_path)[0][0].prompt == "ö" * 500


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    outside = lay(tmp_path / "outside", "c.jpg", "birds/d.jpg")
    root = two_classes(tmp_path / "photos")
    (root / "cat" / "linked.jpg").symlink_to(outside / "c.jpg")
    (root / "bird").symlink_to(outside / "birds")
    photos, refused = find_photos(root)
    assert [p.file for p in photos] == ["bird/d.jpg", "cat/a.jpg", "cat/linked.jpg", "dog/b.jpg"]
    assert refused == []


def test_loops_broken_links_and_pipes_are_refused_by_name(tmp_path: Path) -> None:
    root = two_classes(tmp_path)
    (root / "cat" / "loop").symlink_to(root / "cat")
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "aside").symlink_to(root / "dog")
    (root / "dog" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    (root / "dog" / "self.jpg").symlink_to("self.jpg")
    (root / "dog" / "gone").symlink_to("nowhere")
    os.mkfifo(root / "dog" / "pipe.jpg")
    photos, refused = find_photos(root)
    assert [photo.file for photo in photos] == ["cat/a.jpg", "dog/b.jpg"]
    assert reasons(refused) == {
        "cat/aside": "a link to the folder dog, which is read already",
        "cat/loop": "a link to the folder cat, which is read already",
        "cat/up": "a link to the folder ., which is read already",
        "dog/gone": "a broken link to nowhere",
        "dog/gone.jpg": f"a broken link to {root}/nowhere.jpg",
        "dog/pipe.jpg": "not a regular file",
        "dog/self.jpg": "a broken link to self.jpg",
    }


def test_links_into_another_split_are_refused_wherever_they_lie(tmp_path: Path) -> None:
    lay(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "test/cat/c.jpg", "test/dog/d.jpg")
    (tmp_path / "train" / "cat" / "more").symlink_to(tmp_path / "test" / "cat")
    (tmp_path / "train" / "cat" / "all").symlink_to(tmp_path / "test")
    photos, refused = find_photos(tmp_path)
    assert [photo.split for photo in photos] == ["test", "test", "train", "train"]
    assert reasons(refused) == {
        "train/cat/all": "a link to the folder test, which is read already",
        "train/cat/more": "a link to the folder test/cat, which is read already",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    root = lay(two_classes(tmp_path), "cat/locked.jpg")
    (root / "cat" / "locked.jpg").chmod(0)
    assert reasons(find_photos(root)[1]) == {"cat/locked.jpg": "can't be read (Permission denied)"}


def test_file_names_that_no_text_can_hold_are_refused(tmp_path: Path) -> None:
    root = two_classes(tmp_path)
    (root / "cat" / "line\nbreak.jpg").write_bytes(BYTES)
    try:
        Path(os.fsdecode(os.fsencode(root) + b"/dog/caf\xe9.jpg")).write_bytes(BYTES)
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    photos, refused = find_photos(root)
    assert len(photos) == 2
    assert [one.file for one in refused] == ["cat/line\\nbreak.jpg", "dog/caf\\xe9.jpg"]
    assert all("rename it" in one.reason for one in refused)


def test_labels_are_nfc_and_may_be_in_any_script(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "äpfel")
    lay(tmp_path, f"{decomposed}/a.jpg", "苹果/b.jpg", "big cat/c.jpg")
    labels = {photo.label for photo in find_photos(tmp_path)[0]}
    assert labels == {"äpfel", "苹果", "big cat"}


@pytest.mark.parametrize(
    ("one", "other"), [("Cat", "cat"), ("äpfel", unicodedata.normalize("NFD", "äpfel"))]
)
def test_labels_that_are_one_on_other_systems_are_an_error(
    tmp_path: Path, one: str, other: str
) -> None:
    lay(tmp_path, f"{one}/a.jpg", f"{other}/b.jpg")
    if len(os.listdir(tmp_path)) == 1:
        pytest.skip("the file system takes them for one")
    with pytest.raises(ValueError, match="same name but for case"):
        find_photos(tmp_path)


@pytest.mark.parametrize("name", ["cat", "Big Cat", "t-shirt", "Ärger", "x" * 100, "v1.2", "コン"])
def test_good_labels(name: str) -> None:
    assert check_label(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "..", ".cat", "cat.", "cat ", " cat", "a/b", "a\\b", "a:b", "what?", "a*"),
        *("<a>", "a|b", 'a"b', "a\nb", "a\x7fb", "a\u202eb", "a\u2028b", "a\udce9"),
        *("CON", "nul", "com1", "LPT9.cat", "x" * 101, "ö" * 51),
    ],
)
def test_bad_labels_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="rename the class folder") as caught:
        check_label(name)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


@pytest.mark.parametrize("name", ["a:b", "cat.", "nul"])
def test_a_bad_class_folder_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="rename the class folder"):
        find_photos(lay(two_classes(tmp_path), f"{name}/c.jpg"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "holds no class folders; put the photos of at least two classes into"),
        (("cat/a.jpg",), "holds 1 class folder; put"),
        (
            ("cat/a.jpg", "dog/b.jpg", "loose.jpg"),
            "the photo 'loose.jpg' lies in .* itself; move it",
        ),
        (("cat/a.jpg", "dog/readme.md"), "dog holds no photo; add some or remove it"),
        (("test/cat/a.jpg", "test/dog/a.jpg"), "holds test but no train folder; add"),
        (("train/cat/a.jpg",), "train holds 1 class folder"),
        (("train/cat/a.jpg", "train/dog/b.jpg", "train/c.jpg"), "'c.jpg' lies in .*train itself"),
        (("train/cat/a.jpg", "train/dog/b.jpg", "test/c.jpg"), "'c.jpg' lies in .*test itself"),
        (
            ("train/cat/a.jpg", "train/dog/b.jpg", "test/cow/c.jpg"),
            "the class 'cow' is in .*test but not in .*train",
        ),
        (
            ("train/cat/a.jpg", "train/dog/b.jpg", "valid/cow/c.jpg"),
            "the class 'cow' is in .*valid but not in .*train",
        ),
        (("train/cat/a.jpg", "train/dog/b.jpg", "test/cat/c.md"), "test/cat holds no photo"),
        (("train/cat/a.jpg", "train/dog/b.jpg", "cat/c.jpg"), "mixes two layouts: the class 'cat'"),
        (
            ("train/cat/a.jpg", "train/dog/b.jpg", "val/cat/c.jpg", "valid/cat/c.jpg"),
            "holds both val and valid; keep one val folder",
        ),
        (("train/images/a.jpg", "train/masks/a.png"), "laid out for detection"),
    ],
)
def test_folders_that_make_no_sense(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        find_photos(lay(tmp_path, *files))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_missing_folder_and_file_instead_of_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        find_photos(tmp_path / "gone")
    with pytest.raises(ValueError, match="does not exist"):
        find_photos(lay(tmp_path, "file.zip") / "file.zip")


def test_empty_class_folder(tmp_path: Path) -> None:
    (two_classes(tmp_path) / "cow").mkdir()
    with pytest.raises(ValueError, match="cow holds no photo"):
        find_photos(tmp_path)


def test_two_class_folders_that_are_one_by_a_link(tmp_path: Path) -> None:
    root = two_classes(tmp_path)
    (root / "hound").symlink_to(root / "dog")
    with pytest.raises(ValueError, match="links to dog; remove the link"):
        find_photos(root)


def test_same_answer_from_any_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absolute, _ = find_photos(two_classes(tmp_path / "photos"))
    monkeypatch.chdir(tmp_path)
    relative, _ = find_photos(Path("photos"))
    assert [photo.file for photo in relative] == [photo.file for photo in absolute]
    assert isinstance(relative[0], PhotoFile)
