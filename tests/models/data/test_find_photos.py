"""Photo folders of users: two layouts, links, system files, prompts and misplaced files."""

import os
import unicodedata
from pathlib import Path

import pytest

from models.data.find_photos import PhotoFile, Refused, find_photos

BYTES = b"content is read elsewhere"


def write_files(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BYTES)
    return root


def two_classes(root: Path) -> Path:
    return write_files(root, "cat/a.jpg", "dog/b.jpg")


def reasons(refused: list[Refused]) -> dict[str, str]:
    return {refusal.file: refusal.reason for refusal in refused}


def test_reads_class_folders_at_any_depth_in_order(tmp_path: Path) -> None:
    write_files(
        tmp_path, "dog/b.PNG", "cat/2.jpeg", "cat/10.jpg", "cat/deep/er/c.webp", "dog/a.tif"
    )
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
def test_reads_the_splits_that_folders_give(tmp_path: Path, val: str) -> None:
    write_files(
        tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", f"{val}/cat/c.jpg", "test/dog/d.jpg"
    )
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


@pytest.mark.parametrize("name", ["train", "val", "test", "Validation"])
def test_a_class_may_have_the_name_of_a_split(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, f"{name}/a.jpg", "bus/b.jpg", "bus/deep/c.jpg")
    photos, refused = find_photos(tmp_path)
    assert {(photo.file, photo.label, photo.split) for photo in photos} == {
        (f"{name}/a.jpg", name, None),
        ("bus/b.jpg", "bus", None),
        ("bus/deep/c.jpg", "bus", None),
    }
    assert refused == []


@pytest.mark.parametrize("other", ["train_masks/a.png", "masks/a.png", "notes/a.txt"])
def test_a_folder_of_masks_is_no_class_next_to_photos_of_a_split(
    tmp_path: Path, other: str
) -> None:
    with pytest.raises(ValueError, match=r"'a\.jpg' lies in .*train itself; move it into"):
        find_photos(write_files(tmp_path, "train/a.jpg", other))


def test_says_how_to_sort_photos_of_a_class_that_is_taken_for_a_split(tmp_path: Path) -> None:
    write_files(tmp_path, "train/2024/a.jpg", "bus/b.jpg")
    with pytest.raises(ValueError, match="if 'train' is a class, move all class folders into"):
        find_photos(tmp_path)


def test_says_what_a_class_folder_holds_instead_of_photos(tmp_path: Path) -> None:
    two_classes(tmp_path)
    write_files(tmp_path, "cow/1.nef", "cow/2.cr2", "cow/clip.mp4", "cow2/1.jpg")
    with pytest.raises(ValueError, match="cow holds no photo that can be used") as caught:
        find_photos(tmp_path)
    assert "2x a camera's raw file; export it as JPEG; 1x not an image type" in str(caught.value)


def test_lists_but_does_not_read_folders_next_to_the_splits(tmp_path: Path) -> None:
    write_files(
        tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "train_masks/cat/a.png", "README.md"
    )
    photos, refused = find_photos(tmp_path)
    assert len(photos) == 2
    assert reasons(refused) == {
        "README.md": "not an image type",
        "train_masks": "a folder next to train, val and test; not used",
    }


def test_ignores_system_files_and_hidden_files(tmp_path: Path) -> None:
    two_classes(tmp_path)
    write_files(
        tmp_path, ".DS_Store", "Thumbs.db", "__MACOSX/cat/._a.jpg", ".git/config", "cat/._a.jpg"
    )
    write_files(tmp_path, "cat/.ipynb_checkpoints/a.jpg", "dog/desktop.ini", "cat/@eaDir/a.jpg")
    photos, refused = find_photos(tmp_path)
    assert [photo.file for photo in photos] == ["cat/a.jpg", "dog/b.jpg"]
    assert refused == []


def test_names_hidden_photos(tmp_path: Path) -> None:
    hidden = ".bird/2024/c.jpg", "cat/.more/d.jpg", "cat/.e.jpg"
    photos, refused = find_photos(write_files(two_classes(tmp_path), *hidden))
    assert len(photos) == 2
    assert reasons(refused) == {
        ".bird": "a hidden folder; rename it to use its photos",
        "cat/.more": "a hidden folder; rename it to use its photos",
        "cat/.e.jpg": "a hidden file; rename it to use it",
    }


def test_refuses_other_files_by_name(tmp_path: Path) -> None:
    two_classes(tmp_path)
    write_files(tmp_path, "cat/clip.mp4", "cat/raw.NEF", "cat/lonely.txt", "notes.csv")
    (tmp_path / "cat" / "empty.jpg").touch()
    photos, refused = find_photos(tmp_path)
    assert len(photos) == 2
    assert reasons(refused) == {
        "cat/clip.mp4": "not an image type",
        "cat/empty.jpg": "the file is empty (0 bytes)",
        "cat/lonely.txt": "a text file without a photo of its name; it is no prompt",
        "cat/raw.NEF": "a camera's raw file; export it as JPEG",
        "notes.csv": "not an image type",
    }


def test_reads_the_prompt_from_a_text_file(tmp_path: Path) -> None:
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
        (b"1234 !", "holds no word"),
        (b"0 0.512 0.433 0.25 0.31\n1 0.5 0.5 0.1 0.1\n", "rows of numbers"),
        (b"0 0.1 0.1 0.9 0.1 0.5 0.9 0.2 0.4\n" * 400, "rows of numbers"),
        (b"10,20,30,20,30,40,10,40,sign\n", "rows of numbers"),
        (b"car 0.00 0 1.85 387.63 181.54 423.81 203.12\n", "rows of numbers"),
    ],
)
def test_refuses_a_wrong_prompt_and_keeps_the_photo(
    tmp_path: Path, blob: bytes, reason: str
) -> None:
    two_classes(tmp_path)
    (tmp_path / "cat" / "a.txt").write_bytes(blob)
    photos, refused = find_photos(tmp_path)
    assert [photo.prompt for photo in photos] == [None, None]
    assert [refusal.file for refusal in refused] == ["cat/a.txt"]
    assert reason in refused[0].reason


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_reads_prompts_of_all_editors(tmp_path: Path, encoding: str) -> None:
    two_classes(tmp_path)
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    (tmp_path / "cat" / "a.txt").write_bytes((mark + "3 röda koppar, 4 fat").encode(encoding))
    assert find_photos(tmp_path)[0][0].prompt == "3 röda koppar, 4 fat"


def test_accepts_a_prompt_of_500_characters(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "cat" / "a.txt").write_text("ö" * 500, encoding="utf-8")
    assert find_photos(tmp_path)[0][0].prompt == "ö" * 500


def test_follows_links_to_files_and_folders(tmp_path: Path) -> None:
    outside = write_files(tmp_path / "outside", "c.jpg", "birds/d.jpg")
    root = two_classes(tmp_path / "photos")
    (root / "cat" / "linked.jpg").symlink_to(outside / "c.jpg")
    (root / "bird").symlink_to(outside / "birds")
    photos, refused = find_photos(root)
    assert [p.file for p in photos] == ["bird/d.jpg", "cat/a.jpg", "cat/linked.jpg", "dog/b.jpg"]
    assert refused == []


def test_refuses_loops_broken_links_and_pipes_by_name(tmp_path: Path) -> None:
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


def test_refuses_links_into_another_split(tmp_path: Path) -> None:
    write_files(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "test/cat/c.jpg", "test/dog/d.jpg")
    (tmp_path / "train" / "cat" / "more").symlink_to(tmp_path / "test" / "cat")
    (tmp_path / "train" / "cat" / "all").symlink_to(tmp_path / "test")
    photos, refused = find_photos(tmp_path)
    assert [photo.split for photo in photos] == ["test", "test", "train", "train"]
    assert reasons(refused) == {
        "train/cat/all": "a link to the folder test, which is read already",
        "train/cat/more": "a link to the folder test/cat, which is read already",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_refuses_an_unreadable_file(tmp_path: Path) -> None:
    root = write_files(two_classes(tmp_path), "cat/locked.jpg")
    (root / "cat" / "locked.jpg").chmod(0)
    assert reasons(find_photos(root)[1]) == {"cat/locked.jpg": "can't be read (Permission denied)"}


def test_refuses_file_names_that_are_no_text(tmp_path: Path) -> None:
    root = two_classes(tmp_path)
    (root / "cat" / "line\nbreak.jpg").write_bytes(BYTES)
    try:
        Path(os.fsdecode(os.fsencode(root) + b"/dog/caf\xe9.jpg")).write_bytes(BYTES)
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    photos, refused = find_photos(root)
    assert len(photos) == 2
    assert [refusal.file for refusal in refused] == ["cat/line\\nbreak.jpg", "dog/caf\\xe9.jpg"]
    assert all("rename it" in refusal.reason for refusal in refused)


def test_labels_are_in_normal_form_c_and_of_any_script(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "äpfel")
    write_files(tmp_path, f"{decomposed}/a.jpg", "苹果/b.jpg", "big cat/c.jpg")
    labels = {photo.label for photo in find_photos(tmp_path)[0]}
    assert labels == {"äpfel", "苹果", "big cat"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Cat", "cat"),
        ("äpfel", unicodedata.normalize("NFD", "äpfel")),
        ("straße", "STRASSE"),
        ("cat", "cat\u200b"),
        ("\u2764", "\u2764\ufe0f"),
    ],
)
def test_refuses_labels_that_are_equal_on_other_systems(
    tmp_path: Path, first: str, second: str
) -> None:
    write_files(tmp_path, f"{first}/a.jpg", f"{second}/b.jpg")
    if len(os.listdir(tmp_path)) == 1:
        pytest.skip("the file system treats them as one")
    with pytest.raises(ValueError, match="same name but for case"):
        find_photos(tmp_path)


@pytest.mark.parametrize("name", ["a:b", "cat.", "nul"])
def test_refuses_a_class_folder_with_a_wrong_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="rename the class folder"):
        find_photos(write_files(two_classes(tmp_path), f"{name}/c.jpg"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "holds no class folders; put the photos of at least two classes into"),
        (("cat/a.jpg",), "holds 1 class folder; put"),
        (
            ("cat/a.jpg", "dog/b.jpg", "loose.jpg"),
            "the photo 'loose.jpg' lies in .* itself; move it",
        ),
        (
            ("cat/a.jpg", "dog/readme.md"),
            r"dog holds no photo that can be used \(1x not an image type\); add",
        ),
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
        (("train/cat/a.jpg", "train/dog/b.jpg", "test/cat/c.md"), "test/cat holds no photo that"),
        (("train/cat/a.jpg", "train/dog/b.jpg", "cat/c.jpg"), "mixes two layouts: the class 'cat'"),
        (
            ("train/cat/a.jpg", "train/dog/b.jpg", "val/cat/c.jpg", "valid/cat/c.jpg"),
            "holds both val and valid; keep one val folder",
        ),
        (("train/images/a.jpg", "train/masks/a.png"), "laid out for detection"),
    ],
)
def test_refuses_a_wrong_layout(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        find_photos(write_files(tmp_path, *files))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_refuses_a_missing_folder_and_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        find_photos(tmp_path / "gone")
    with pytest.raises(ValueError, match="does not exist"):
        find_photos(write_files(tmp_path, "file.zip") / "file.zip")


def test_refuses_an_empty_class_folder(tmp_path: Path) -> None:
    (two_classes(tmp_path) / "cow").mkdir()
    with pytest.raises(ValueError, match="cow holds no photo that can be used; add some"):
        find_photos(tmp_path)


def test_refuses_a_class_folder_that_links_to_another(tmp_path: Path) -> None:
    root = two_classes(tmp_path)
    (root / "hound").symlink_to(root / "dog")
    with pytest.raises(ValueError, match="links to dog; remove the link"):
        find_photos(root)


def test_gives_the_same_result_from_any_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absolute, _ = find_photos(two_classes(tmp_path / "photos"))
    monkeypatch.chdir(tmp_path)
    relative, _ = find_photos(Path("photos"))
    assert [photo.file for photo in relative] == [photo.file for photo in absolute]
    assert isinstance(relative[0], PhotoFile)
