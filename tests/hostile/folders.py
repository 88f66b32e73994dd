"""Whole photo folders with a mistake, or with names that programs read as something else."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile.endings import (
    CLASSES,
    LEAVES,
    PER_CLASS,
    Ending,
    FolderKind,
    bad,
    write_classes,
)
from tests.hostile.kinds import draw_picture

Rng = np.random.Generator
_OTHER_CONTENTS: tuple[tuple[str, ...], ...] = ((), ("notes.txt",))
_RAW = (".dng", ".nef", ".cr2")
_FEW = (1, 2)
_LIMITS = (
    ("min_sharpness=1e9", "8 blurred .*lower screen.min_sharpness"),
    ("min_contrast=1", "8 blank .*lower screen.min_contrast"),
)
_ALIKE = (("Disc", "disc"), ("caf\u00e9", "cafe\u0301"), ("STRASSE", "straße"))
_UNUSABLE = ("con", "aux", "disc.", " disc", "a:b", "what?", "x" * 120, "写" * 50, "lpt1.old")
_UNUSUAL = (
    ("no", "007", "yes"),
    ("null", "1e5", "0x1f"),
    ("[red]", "[", "{label}"),
    ("训练", "größe", "🐕"),
    ("class", "label", "image"),
    ("1", "2", "10"),
    ("a b", "a_b", "a-b"),
)
_SPLIT_LABELS = ("train", "test", "val", "Valid")


def write_missing(root: Path, rng: Rng, case: int) -> Ending:
    """No such folder."""
    return bad("the photo folder .* does not exist")


def write_nothing(root: Path, rng: Rng, case: int) -> Ending:
    """An empty folder."""
    root.mkdir()
    return bad("holds no class folders; put the photos")


def write_one_class(root: Path, rng: Rng, case: int) -> Ending:
    """One class alone."""
    write_classes(root, rng, "disc")
    return bad("holds 1 class folder; put the photos of at least two classes")


def write_loose_photo(root: Path, rng: Rng, case: int) -> Ending:
    """A photo that lies next to the class folders."""
    write_classes(root, rng, *CLASSES)
    name = f"IMG_{rng.integers(1000)}.jpg"
    draw_picture(rng).save(root / name)
    return bad(f"{name}.*move it into a class folder")


def write_empty_class(root: Path, rng: Rng, case: int) -> Ending:
    """A class folder without any photo."""
    write_classes(root, rng, *CLASSES)
    (root / "ring").mkdir()
    for name in _OTHER_CONTENTS[case]:
        (root / "ring" / name).write_text("none yet")
    return bad("ring holds no photo that can be used")


def write_unreadable_class(root: Path, rng: Rng, case: int) -> Ending:
    """A class of which only formats exist that are not read: found at the start, by name."""
    write_classes(root, rng, *CLASSES)
    (root / "ring").mkdir()
    suffix = _RAW[case]
    for n in range(PER_CLASS):
        (root / "ring" / f"{n}{suffix}").write_bytes(rng.bytes(200))
    return bad(f"ring holds no photo that can be used .{PER_CLASS}x a camera's raw file")


def write_broken_class(root: Path, rng: Rng, case: int) -> Ending:
    """A class whose photos are all cut short: the other classes' work goes on."""
    write_classes(root, rng, *CLASSES, "ring")
    for file in (root / "ring").iterdir():
        file.write_bytes(file.read_bytes()[:300])
    return Ending(
        0,
        classes=CLASSES,
        notes="class 'ring' has no photo that can be used: .* corrupt or cut short .* left out",
    )


def write_fixed_camera(root: Path, rng: Rng, case: int) -> Ending:
    """Photos of one part under a fixed camera: the classes differ in a scratch."""
    part = np.asarray(draw_picture(rng), np.int16)
    for label in ("good", "scratch"):
        (root / label).mkdir(parents=True)
        for n in range(2 * PER_CLASS):
            shot = part + rng.integers(-3, 4, part.shape)
            if label == "scratch":
                top, left = int(rng.integers(10, 50)), int(rng.integers(10, 60))
                shot[top : top + 2, left : left + 20] += 60
            pixels = shot.clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{n}.png")
    options = ("--set", "split.near_duplicate_bits=32")
    says = r"'good' has 0 usable photos.* near-duplicates of 'scratch'.*set split\.group_by="
    return Ending(1, says, leaves=LEAVES, options=options)


def write_few_photos(root: Path, rng: Rng, case: int) -> Ending:
    """A class with fewer photos than splits."""
    write_classes(root, rng, *CLASSES)
    write_classes(root, rng, "ring", count=_FEW[case])
    notes = f"the class 'ring' has {_FEW[case]} usable photos?, needs 3; it is left out"
    return Ending(0, classes=CLASSES, notes=notes)


def write_rejected_images(root: Path, rng: Rng, case: int) -> Ending:
    """Screening that rejects every generated image: the line says why, and the report shows it."""
    write_classes(root, rng, *CLASSES)
    field, says = _LIMITS[case]
    datasets = "datasets=[{name: made, synthetic: {multiview: all}}]"
    options = ("--set", f"screen.{field}", "--set", datasets)
    return Ending(1, says, leaves=LEAVES, options=options)


def write_small_class(root: Path, rng: Rng, case: int) -> Ending:
    """A dataset that wants more photos than a class has: found before anything is computed."""
    write_classes(root, rng, *CLASSES)
    says = r"datasets\.real: class box has 4 real train images of 500 .*lower the number of this"
    return bad(says, "--set", "datasets=[{name: real, real: 500}]")


def write_alike_classes(root: Path, rng: Rng, case: int) -> Ending:
    """Two classes that differ in case or in the encoding of an accent alone."""
    write_classes(root, rng, *_ALIKE[case], "box")
    return bad("the class folders .* have the same name")


def write_unusable_label(root: Path, rng: Rng, case: int) -> Ending:
    """A class name that some system can't store."""
    write_classes(root, rng, "box", _UNUSABLE[case])
    return bad("the class name .*; rename the class folder")


def write_unusual_labels(root: Path, rng: Rng, case: int) -> Ending:
    """Class names that YAML, markup, shells or formats read as something else."""
    write_classes(root, rng, *_UNUSUAL[case])
    return Ending(0, classes=_UNUSUAL[case])


def write_split_label(root: Path, rng: Rng, case: int) -> Ending:
    """A class that is called like a split: it is a class."""
    classes = ("disc", _SPLIT_LABELS[case], "ship")
    write_classes(root, rng, *classes)
    return Ending(0, classes=classes)


def write_val_alone(root: Path, rng: Rng, case: int) -> Ending:
    """Folders of splits without the train split."""
    write_classes(root / "val", rng, *CLASSES)
    return bad("holds val but no train folder")


def write_two_vals(root: Path, rng: Rng, case: int) -> Ending:
    """Two folders of one split."""
    for name in ("train", "valid", "validation"):
        write_classes(root / name, rng, *CLASSES)
    return bad("holds both valid and validation; keep one val folder")


def write_class_in_test(root: Path, rng: Rng, case: int) -> Ending:
    """A class that the train split lacks."""
    write_classes(root / "train", rng, *CLASSES)
    write_classes(root / "test", rng, *CLASSES, "ring")
    return bad("the class 'ring' is in .*test but not in .*train; add it")


def write_two_layouts(root: Path, rng: Rng, case: int) -> Ending:
    """A class folder next to the folder of a split."""
    write_classes(root / "train", rng, *CLASSES)
    write_classes(root, rng, "disc")
    return bad("mixes two layouts: the class 'disc' lies next to the train folder")


def write_detection(root: Path, rng: Rng, case: int) -> Ending:
    """A detection set without its list of classes."""
    write_classes(root, rng, "images")
    (root / "labels").mkdir()
    for n in range(PER_CLASS):
        (root / "labels" / f"photo{n}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    return bad("is laid out for detection .*; sort its photos into one folder per class")


KINDS: dict[str, FolderKind] = {
    "missing folder": FolderKind(write_missing),
    "empty folder": FolderKind(write_nothing),
    "one class": FolderKind(write_one_class),
    "loose photo": FolderKind(write_loose_photo),
    "empty class": FolderKind(write_empty_class, len(_OTHER_CONTENTS)),
    "unreadable class": FolderKind(write_unreadable_class, len(_RAW)),
    "broken class": FolderKind(write_broken_class),
    "fixed camera": FolderKind(write_fixed_camera),
    "few photos": FolderKind(write_few_photos, len(_FEW)),
    "rejected images": FolderKind(write_rejected_images, len(_LIMITS)),
    "small class": FolderKind(write_small_class),
    "classes alike": FolderKind(write_alike_classes, len(_ALIKE)),
    "unusable class name": FolderKind(write_unusable_label, len(_UNUSABLE)),
    "unusual class names": FolderKind(write_unusual_labels, len(_UNUSUAL)),
    "class named as a split": FolderKind(write_split_label, len(_SPLIT_LABELS)),
    "no train split": FolderKind(write_val_alone),
    "two val splits": FolderKind(write_two_vals),
    "class in test alone": FolderKind(write_class_in_test),
    "two layouts": FolderKind(write_two_layouts),
    "detection": FolderKind(write_detection),
}
