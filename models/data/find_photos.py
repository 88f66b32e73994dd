"""Finding the photos of class folders.

Two layouts are read: ``<root>/<class>/...`` and ``<root>/{train,val,test}/<class>/...``. A wrong
layout is a `ValueError` that names the fix. A single file that can't be used is listed with its
reason, and the others are used.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models.data.names import (
    check_label,
    comparable,
    holds_control_characters,
    normal_form,
    printable,
)
from models.data.photo_file.open_image import SUFFIXES
from models.data.photo_file.prompt import PromptError, read_prompt
from models.data.records import Split

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"}
# Copies of photos that programs keep for themselves. "._name" holds no photo, but its metadata.
_HIDDEN_COPIES = {".ipynb_checkpoints", ".thumbnails", ".picasaoriginals", ".git", ".svn"}
_DETECTION_FOLDERS = {"images", "jpegimages", "annotations", "labels", "masks"}
_RAW = {".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"}


@dataclass(frozen=True)
class PhotoFile:
    """One photo file of a class.

    ``path`` opens it; ``file`` is its POSIX path below the root; ``split`` is the folder's, or None
    where the layout has no splits; ``prompt`` is the text of ``<stem>.txt`` in the same folder.
    """

    path: Path
    file: str
    label: str
    split: Split | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class Refused:
    """One file or folder that is not used, and the reason in one line.

    ``kind`` is the reason without names of files, for counting; empty: the reason itself.
    """

    file: str
    reason: str
    kind: str = ""


def find_photos(root: Path) -> tuple[list[PhotoFile], list[Refused]]:
    """The photos below ``root`` and the refused files, both sorted by file name.

    Files of operating systems are ignored, and hidden photos are refused. Links are followed,
    except links to a folder that is read anyway. Labels are the class folders' names in Unicode
    normal form C.

    Raises:
        ValueError: ``root`` has a wrong layout; the message names the folder and the fix.
    """
    if not root.is_dir():
        raise ValueError(f"the photo folder {root} does not exist; give a folder of class folders")
    search = _Search(root, refused=[], seen={os.path.realpath(root): "."})
    top = _class_folders(search, root)
    splits = [folder for folder in top if folder.name.casefold() in SPLIT_NAMES]
    if splits and not _is_class(splits, top):
        found = _find_given_splits(search, top, splits)
    else:
        _check_layout(root, top)
        _check_classes(search, top)
        found = _read_classes(search, top, None)
    found.sort(key=lambda photo: photo.file)
    return found, sorted(search.refused, key=lambda refused: (refused.file, refused.reason))


@dataclass(frozen=True)
class _Search:
    """The state of one search: refused files, and the real path of every folder that is read."""

    root: Path
    refused: list[Refused]
    seen: dict[str, str] = field(default_factory=dict)

    def below(self, path: Path) -> str:
        return printable(path.relative_to(self.root).as_posix())

    def refuse(self, path: Path, reason: str) -> None:
        self.refused.append(Refused(self.below(path), reason))


def _is_class(splits: list[Path], top: list[Path]) -> bool:
    """Whether the one folder with a split's name is a class: photos lie in it and in classes next
    to it. Folders such as ``masks`` and ``train_masks`` are no classes."""
    if len(splits) != 1 or not _holds_photos(splits[0]):
        return False
    own = splits[0].name.casefold()
    others = {folder.name.casefold(): folder for folder in top if folder not in splits}
    return any(
        name not in _DETECTION_FOLDERS and not name.startswith(own) and _holds_photos(folder, True)
        for name, folder in others.items()
    )


def _holds_photos(folder: Path, below: bool = False) -> bool:
    """Whether photos lie in the folder itself, or also ``below`` in its folders."""
    pattern = "**/*" if below else "*"
    return any(path.suffix.lower() in SUFFIXES for path in folder.glob(pattern))


def _check_layout(folder: Path, classes: list[Path], hint: str = "") -> None:
    if len(classes) < 2:
        raise ValueError(
            f"{folder} holds {_count(len(classes), 'class folder')}; put the photos of at least two"
            f" classes into {folder / '<class>'}{hint}"
        )
    names = _DETECTION_FOLDERS & {folder.name.casefold() for folder in classes}
    if {"images", "jpegimages"} & names and len(names) > 1:
        raise ValueError(
            f"{folder} is laid out for detection ({', '.join(sorted(names))}), not by class; sort"
            " its photos into one folder per class"
        )


def _find_given_splits(search: _Search, top: list[Path], splits: list[Path]) -> list[PhotoFile]:
    by_split = _split_folders(search.root, splits)
    search.seen.update((os.path.realpath(f), search.below(f)) for f in splits)
    classes = {split: _class_folders(search, folder) for split, folder in by_split.items()}
    trained = {check_label(folder.name) for folder in classes["train"]}
    for folder in top:
        if folder in splits:
            continue
        if normal_form(folder.name) in trained:
            raise ValueError(
                f"{search.root} mixes two layouts: the class {folder.name!r} lies next to the train"
                " folder and in it; move all photos into train, val and test"
            )
        search.refuse(folder, "a folder next to train, val and test; not used")
    train = by_split["train"]
    hint = f"; if {train.name!r} is a class, move all class folders into {train}"
    _check_layout(train, classes["train"], hint if len(top) > len(splits) else "")
    for split, folders in classes.items():
        for folder in folders:
            if check_label(folder.name) not in trained:
                raise ValueError(
                    f"the class {folder.name!r} is in {by_split[split]} but not in {train}; add it"
                    " there or remove it here"
                )
        _check_classes(search, folders)
    return [photo for split in classes for photo in _read_classes(search, classes[split], split)]


def _split_folders(root: Path, splits: list[Path]) -> dict[Split, Path]:
    by_split: dict[Split, Path] = {}
    for folder in splits:
        split = SPLIT_NAMES[folder.name.casefold()]
        other = by_split.setdefault(split, folder)
        if other != folder:
            raise ValueError(
                f"{root} holds both {other.name} and {folder.name}; keep one {split} folder"
            )
    if "train" not in by_split:
        raise ValueError(
            f"{root} holds {', '.join(f.name for f in splits)} but no train folder; add"
            f" {root / 'train' / '<class>'}, or rename the folder if it is a class"
        )
    return by_split


def _check_classes(search: _Search, classes: list[Path]) -> None:
    """Raise ValueError if two class folders of one folder are the same class."""
    labels: dict[str, Path] = {}
    for folder in classes:
        other = labels.setdefault(comparable(check_label(folder.name)), folder)
        if other != folder:
            raise ValueError(
                f"the class folders {other.name!r} and {folder.name!r} in {folder.parent} have the"
                " same name but for case, the encoding of accents or characters that can't be seen;"
                " merge or rename them"
            )
        name = search.below(folder)
        real = search.seen.setdefault(os.path.realpath(folder), name)
        if real != name:
            raise ValueError(f"the class folder {folder} links to {real}; remove the link")


def _read_classes(search: _Search, classes: list[Path], split: Split | None) -> list[PhotoFile]:
    found: list[PhotoFile] = []
    for folder in classes:
        photos = list(_photos_in(search, folder, check_label(folder.name), split))
        if not photos:
            raise ValueError(_describe_empty(search, folder))
        found += photos
    return found


def _describe_empty(search: _Search, folder: Path) -> str:
    """A line about a class folder without a photo: what it holds instead, most files first."""
    name = search.below(folder)
    reasons = Counter(
        entry.reason
        for entry in search.refused
        if entry.file == name or entry.file.startswith(f"{name}/")
    )
    held = "; ".join(f"{number}x {reason}" for reason, number in reasons.most_common(2))
    return f"the class folder {folder} holds no photo that can be used" + (
        f" ({held}); add photos or remove it" if held else "; add some or remove it"
    )


def _class_folders(search: _Search, folder: Path) -> list[Path]:
    """The class folders in ``folder``; a photo next to them is an error."""
    folders = []
    for path in _listed(search, folder):
        if os.path.isdir(path):
            folders.append(path)
        elif path.suffix.lower() in SUFFIXES:
            raise ValueError(
                f"the photo {path.name!r} lies in {folder} itself; move it into a class folder,"
                f" {folder / '<class>'}"
            )
        else:
            search.refuse(path, _no_photo(path))
    return folders


def _photos_in(
    search: _Search, folder: Path, label: str, split: Split | None
) -> Iterator[PhotoFile]:
    listed = _listed(search, folder)
    stems = {normal_form(path.stem) for path in listed if path.suffix.lower() in SUFFIXES}
    texts = [path for path in listed if path.suffix.lower() == ".txt" and os.path.isfile(path)]
    prompts = {
        normal_form(path.stem): _find_prompt(search, path)
        for path in texts
        if normal_form(path.stem) in stems
    }
    for path in listed:
        if os.path.isdir(path):
            if _is_new_folder(search, path):
                yield from _photos_in(search, path, label, split)
        elif path.suffix.lower() not in SUFFIXES:
            if path.suffix.lower() != ".txt":
                search.refuse(path, _no_photo(path))
            elif normal_form(path.stem) not in prompts:
                search.refuse(path, "a text file without a photo of its name; it is no prompt")
        elif problem := find_problem(path, path.relative_to(search.root).as_posix()):
            search.refuse(path, problem)
        else:
            file = path.relative_to(search.root).as_posix()
            yield PhotoFile(path, file, label, split, prompts.get(normal_form(path.stem)))


def _listed(search: _Search, folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        search.refuse(folder, f"can't be read ({error.strerror})")
        return []
    paths = [folder / name for name in names if name.casefold() not in _SYSTEM_FILES]
    for path in paths:
        if path.name.startswith("."):
            _refuse_hidden(search, path)
    return [path for path in paths if not path.name.startswith(".")]


def _refuse_hidden(search: _Search, path: Path) -> None:
    """Refuse a hidden photo or a hidden folder with photos; other hidden files are ignored."""
    if os.path.isdir(path):
        if path.name.casefold() not in _HIDDEN_COPIES and _holds_photos(path, below=True):
            search.refuse(path, "a hidden folder; rename it to use its photos")
    elif path.suffix.lower() in SUFFIXES and not path.name.startswith("._"):
        search.refuse(path, "a hidden file; rename it to use it")


def _is_new_folder(search: _Search, folder: Path) -> bool:
    name = search.below(folder)
    other = search.seen.setdefault(os.path.realpath(folder), name)
    if other != name:
        search.refuse(folder, f"a link to the folder {other}, which is read already")
    return other == name


def find_problem(path: Path, file: str) -> str | None:
    """Why a photo file can't be used, from its name and kind; None if it can.

    Args:
        file: its path below the photo folder.
    """
    if holds_control_characters(file):
        return "the file name holds control characters or is not valid UTF-8; rename it"
    try:
        if os.path.islink(path) and not os.path.exists(path):
            return f"a broken link to {printable(os.readlink(path))}"
        if not stat.S_ISREG(path.stat().st_mode):
            return "not a regular file"
        with path.open("rb") as opened:
            return None if opened.read(1) else "the file is empty (0 bytes)"
    except OSError as error:
        return f"can't be read ({error.strerror})"


def _no_photo(path: Path) -> str:
    suffix = path.suffix.lower()
    if os.path.islink(path) and not os.path.exists(path):
        return f"a broken link to {printable(os.readlink(path))}"
    if suffix in (".heic", ".heif"):
        return "HEIC is not read here; export it as JPEG or install pillow-heif"
    if suffix in _RAW:
        return "a camera's raw file; export it as JPEG"
    return "not an image type"


def _find_prompt(search: _Search, path: Path) -> str | None:
    """The prompt in a text file; None if it can't be used, and the file is then refused."""
    try:
        return read_prompt(path)
    except OSError as error:
        search.refuse(path, f"the prompt can't be read ({error.strerror})")
    except PromptError as error:
        search.refuse(path, str(error))
    return None


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
