"""Finding the photos of class folders.

Two layouts are read: ``<root>/<class>/...`` and ``<root>/{train,val,test}/<class>/...``. A wrong
layout is a `ValueError` that names the fix. A single file that can't be used is listed with its
reason, and the others are used.
"""

import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models.data.photo_file.open_image import SUFFIXES
from models.data.photo_file.prompt import PromptError, holds_control_characters, read_prompt
from models.data.records import Split

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"}
_DETECTION_FOLDERS = {"images", "jpegimages", "annotations", "labels", "masks"}
_WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {
    f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10)
}
_RAW = {".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"}
_LONGEST_NAME = 100


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
    """One file or folder that is not used, and the reason in one line."""

    file: str
    reason: str


def find_photos(root: Path) -> tuple[list[PhotoFile], list[Refused]]:
    """The photos below ``root`` and the refused files, both sorted by file name.

    Hidden files and files of operating systems are ignored. Links are followed, except links to a
    folder that is read anyway. Labels are the
    class folders' names in Unicode normal form C.

    Raises:
        ValueError: ``root`` has a wrong layout; the message names the folder and the fix.
    """
    if not root.is_dir():
        raise ValueError(f"the photo folder {root} does not exist; give a folder of class folders")
    search = _Search(root, refused=[], seen={os.path.realpath(root): "."})
    top = _class_folders(search, root)
    splits = [folder for folder in top if folder.name.casefold() in SPLIT_NAMES]
    if splits:
        found = _find_given_splits(search, top, splits)
    else:
        _check_layout(root, top)
        _check_classes(search, top)
        found = _read_classes(search, top, None)
    found.sort(key=lambda photo: photo.file)
    return found, sorted(search.refused, key=lambda refused: (refused.file, refused.reason))


def check_label(name: str, fix: str = "rename the class folder") -> str:
    """The class name in Unicode normal form C, safe as a file name on every system.

    Raises:
        ValueError: the name can't be used; the message says why.
    """
    label = unicodedata.normalize("NFC", name)
    problem = None
    if not label.strip() or label.startswith(".") or label != label.strip(" ."):
        problem = "must not be empty or begin or end with a dot or a blank"
    elif any(character in '<>:"/\\|?*' for character in label):
        problem = 'must not contain < > : " / \\ | ? *'
    elif holds_control_characters(label):
        problem = "must not contain control characters and must be valid UTF-8"
    elif label.split(".")[0].casefold() in _WINDOWS_DEVICES:
        problem = "is a device name on Windows"
    elif len(label.encode()) > _LONGEST_NAME:
        problem = f"is longer than {_LONGEST_NAME} bytes"
    if problem:
        raise ValueError(f"the class name {_printable(name)!r} {problem}; {fix}")
    return label


@dataclass(frozen=True)
class _Search:
    """The state of one search: refused files, and the real path of every folder that is read."""

    root: Path
    refused: list[Refused]
    seen: dict[str, str] = field(default_factory=dict)

    def below(self, path: Path) -> str:
        return _printable(path.relative_to(self.root).as_posix())

    def refuse(self, path: Path, reason: str) -> None:
        self.refused.append(Refused(self.below(path), reason))


def _check_layout(folder: Path, classes: list[Path]) -> None:
    if len(classes) < 2:
        raise ValueError(
            f"{folder} holds {_count(len(classes), 'class folder')}; put the photos of at least two"
            f" classes into {folder / '<class>'}"
        )
    names = {folder.name.casefold() for folder in classes}
    if {"images", "jpegimages"} & names and len(_DETECTION_FOLDERS & names) > 1:
        raise ValueError(
            f"{folder} is laid out for detection ({', '.join(f.name for f in classes)}), not by"
            " class; sort its photos into one folder per class"
        )


def _find_given_splits(search: _Search, top: list[Path], splits: list[Path]) -> list[PhotoFile]:
    by_split = _split_folders(search.root, splits)
    search.seen.update((os.path.realpath(f), search.below(f)) for f in splits)
    classes = {split: _class_folders(search, folder) for split, folder in by_split.items()}
    trained = {unicodedata.normalize("NFC", folder.name) for folder in classes["train"]}
    for folder in top:
        if folder in splits:
            continue
        if unicodedata.normalize("NFC", folder.name) in trained:
            raise ValueError(
                f"{search.root} mixes two layouts: the class {folder.name!r} lies next to the train"
                " folder and in it; move all photos into train, val and test"
            )
        search.refuse(folder, "a folder next to train, val and test; not used")
    _check_layout(by_split["train"], classes["train"])
    for split, folders in classes.items():
        for folder in folders:
            if unicodedata.normalize("NFC", folder.name) not in trained:
                raise ValueError(
                    f"the class {folder.name!r} is in {by_split[split]} but not in"
                    f" {by_split['train']}; add it there or remove it here"
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
        other = labels.setdefault(check_label(folder.name).casefold(), folder)
        if other != folder:
            raise ValueError(
                f"the class folders {other.name!r} and {folder.name!r} in {folder.parent} have the"
                " same name but for case or the encoding of accents; merge or rename them"
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
            raise ValueError(f"the class folder {folder} holds no photo; add some or remove it")
        found += photos
    return found


def _class_folders(search: _Search, folder: Path) -> list[Path]:
    """The class folders in ``folder``; a photo next to them is an error."""
    folders = []
    for path in _listed(search, folder):
        if os.path.isdir(path):
            if not path.name.startswith("."):
                folders.append(path)
            elif any(p.suffix.lower() in SUFFIXES for p in path.glob("*")):
                search.refuse(path, "a hidden folder; rename it to use its photos")
        elif path.name.startswith("."):
            continue
        elif path.suffix.lower() in SUFFIXES:
            raise ValueError(
                f"the photo {path.name!r} lies in {folder} itself; move it into a class folder,"
                f" {folder / '<class>' / path.name}"
            )
        else:
            search.refuse(path, _no_photo(path))
    return folders


def _photos_in(
    search: _Search, folder: Path, label: str, split: Split | None
) -> Iterator[PhotoFile]:
    listed = [path for path in _listed(search, folder) if not path.name.startswith(".")]
    stems = {path.stem for path in listed if path.suffix.lower() in SUFFIXES}
    prompts = {
        path.stem: _find_prompt(search, path)
        for path in listed
        if path.suffix.lower() == ".txt" and path.stem in stems and os.path.isfile(path)
    }
    for path in listed:
        if os.path.isdir(path):
            if _is_new_folder(search, path):
                yield from _photos_in(search, path, label, split)
        elif path.suffix.lower() not in SUFFIXES:
            if path.suffix.lower() != ".txt":
                search.refuse(path, _no_photo(path))
            elif path.stem not in prompts:
                search.refuse(path, "a text file without a photo of its name; it is no prompt")
        elif problem := find_problem(path, path.relative_to(search.root).as_posix()):
            search.refuse(path, problem)
        else:
            file = path.relative_to(search.root).as_posix()
            yield PhotoFile(path, file, label, split, prompts.get(path.stem))


def _listed(search: _Search, folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        search.refuse(folder, f"can't be read ({error.strerror})")
        return []
    return [folder / name for name in names if name.casefold() not in _SYSTEM_FILES]


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
            return f"a broken link to {_printable(os.readlink(path))}"
        if not stat.S_ISREG(path.stat().st_mode):
            return "not a regular file"
        with path.open("rb") as opened:
            return None if opened.read(1) else "the file is empty (0 bytes)"
    except OSError as error:
        return f"can't be read ({error.strerror})"


def _no_photo(path: Path) -> str:
    suffix = path.suffix.lower()
    if os.path.islink(path) and not os.path.exists(path):
        return f"a broken link to {_printable(os.readlink(path))}"
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


def _printable(text: str) -> str:
    """The text with undecodable bytes and control characters as escapes."""
    shown = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(
        c.encode("unicode_escape").decode() if holds_control_characters(c) else c for c in shown
    )


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
