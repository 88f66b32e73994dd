"""Names of classes and files that every system, archive and reader takes."""

import hashlib
import os
import re
import unicodedata
from pathlib import Path

_WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {
    f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10)
}
# A slash and the characters that Windows refuses.
_UNSAFE = '<>:"/\\|?*'
# Bytes of UTF-8. A file name may have 255, and stages add the numbers of their images.
_LONGEST_NAME = 100
_LONGEST_STEM = 100
# Hex digits that keep shortened names apart.
_DIGITS = 8


def check_label(name: str, fix: str = "rename the class folder") -> str:
    """The class name in Unicode normal form C, safe as a folder name on every system.

    Raises:
        ValueError: the name can't be used; the message says why.
    """
    label = normal_form(name)
    if problem := find_name_problem(label):
        raise ValueError(f"the class name {shorten(printable(name))!r} {problem}; {fix}")
    return label


def find_name_problem(name: str) -> str | None:
    """Why a folder can't have this name on some system or for some reader; None if it can."""
    if not name.strip() or name.startswith(".") or name != name.strip().strip("."):
        return "must not be empty or begin or end with a dot or a blank"
    if name.startswith("__"):
        return "must not begin with two underscores: the library datasets hides such folders"
    if any(character in _UNSAFE for character in name):
        return 'must not contain < > : " / \\ | ? *'
    if holds_control_characters(name):
        return "must not contain control characters and must be valid UTF-8"
    if _is_device(name):
        return "is a device name on Windows"
    if len(name.encode()) > _LONGEST_NAME:
        return f"is longer than {_LONGEST_NAME} bytes"
    return None


def comparable(name: str) -> str:
    """The name without what a reader or a file system may not see.

    That is upper case, the encoding of accents, and characters without a shape of their own, such
    as a zero-width space. Two names with the same result are taken for one name somewhere.
    """
    shown = "".join(c for c in name if unicodedata.category(c) != "Cf" and c not in "\ufe0e\ufe0f")
    return normal_form(normal_form(shown).casefold())


def safe_stem(stem: str) -> str:
    """The name of an image file without its suffix, changed where a system would refuse it.

    It is in normal form C, has at most 100 bytes, and none of the characters or device names that
    Windows refuses. A shortened name ends in a digest of the whole one. Names that differ in
    replaced characters alone may become equal; callers keep those apart.

    Example:
        >>> safe_stem("12:30 mug."), safe_stem("con"), safe_stem("mug")
        ('12_30 mug_', '_con', 'mug')
    """
    name = normal_form(stem)
    name = "".join("_" if c in _UNSAFE or holds_control_characters(c) else c for c in name)
    name = re.sub(r"^\.|[. ]$", "_", name)
    if _is_device(name):
        name = f"_{name}"
    if len(name.encode()) <= _LONGEST_STEM:
        return name
    begin = name.encode()[: _LONGEST_STEM - _DIGITS - 1].decode(errors="ignore")
    return f"{begin}-{digest_of_name(stem)}"


def make_key(name: str, length: int = 60) -> str:
    """The name in a-z, 0-9 and dashes, with a digest that keeps similar names apart.

    Example:
        >>> make_key("Mug/A b")
        'mug-a-b-4cb76d99'
        >>> make_key("训练")
        'a29c0de1'
    """
    plain = re.sub("[^a-z0-9]+", "-", name.lower())[:length].strip("-")
    return "-".join(part for part in (plain, digest_of_name(name)) if part)


def normal_form(name: str) -> str:
    """The name in Unicode normal form C, which encodes each letter with its accents as one."""
    return unicodedata.normalize("NFC", name)


def find_path(path: Path) -> Path:
    """The path, or the existing one whose names differ in the encoding of accents alone.

    Archives of some systems change that encoding, and annotation files keep it.
    """
    if path.as_posix().isascii() or path.exists() or path.parent == path:
        return path
    folder, wanted = find_path(path.parent), normal_form(path.name)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return path
    same = (name for name in names if normal_form(name) == wanted)
    return folder / next(same, path.name)


def digest_of_name(name: str) -> str:
    """Eight hex digits of the SHA-256 of a name."""
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:_DIGITS]


def holds_control_characters(text: str) -> bool:
    """Whether the text has controls, line ends, broken UTF-8, or marks that reverse its reading."""
    # Cc: controls; Cs: broken UTF-8 (surrogate escapes); Zl, Zp: line ends. Marks that reverse the
    # reading direction can make a name look like another name.
    reversing = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return any(c in reversing or unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in text)


def printable(text: str) -> str:
    """The text with undecodable bytes and control characters as escapes."""
    shown = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(
        c.encode("unicode_escape").decode() if holds_control_characters(c) else c for c in shown
    )


def shorten(text: str, length: int = 60) -> str:
    """The text with at most this many characters, for an error line."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _is_device(name: str) -> bool:
    return name.split(".")[0].rstrip().casefold() in _WINDOWS_DEVICES
