"""Whole photo folders with a mistake, or with names that programs read as something else."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile.kinds import draw_picture

Rng = np.random.Generator
CLASSES = ("disc", "box")
PER_CLASS = 4
# What a run that ends after it has read photos leaves below --out.
LEAVES = ("report.html", "metrics.json", "manifest.parquet")


@dataclass(frozen=True)
class Ending:
    """How a run must end.

    ``codes``: the exit codes that are right. ``says``: a regular expression that the one error line
    must match. ``classes``, ``notes``: the classes that a run with exit code 0 must have, and a
    regular expression that one of its notes must match.
    ``leaves``: what a run with exit code 1 must leave below --out. ``options``: what the command
    gets besides recipe, photos and --out. ``recipe``: the path of another recipe.
    """

    codes: tuple[int, ...]
    says: str = ""
    classes: tuple[str, ...] = ()
    notes: str = ""
    leaves: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    recipe: str = ""


# Writes the photos below a folder; returns how the run must end. The number is as for files.
WriteFolder = Callable[[Path, Rng, int], Ending]


def write_classes(root: Path, rng: Rng, *labels: str, count: int = PER_CLASS) -> None:
    """Sound photos of some classes."""
    for label in labels:
        (root / label).mkdir(parents=True, exist_ok=True)
        for n in range(count):
            draw_picture(rng).save(root / label / f"photo{n}.png")


def bad(says: str, *options: str) -> Ending:
    """Bad input, found before anything is computed."""
    return Ending((2,), says, options=options)


def write_missing(root: Path, rng: Rng, number: int) -> Ending:
    """No such folder, or an empty one."""
    if number % 2:
        root.mkdir()
        return bad("holds no class folder|no photo")
    return bad("does not exist")


def write_one_class(root: Path, rng: Rng, number: int) -> Ending:
    """One class alone."""
    write_classes(root, rng, "disc")
    return bad("at least two classes")


def write_loose_photo(root: Path, rng: Rng, number: int) -> Ending:
    """A photo that lies next to the class folders."""
    write_classes(root, rng, *CLASSES)
    name = f"IMG_{number % 1000}.jpg"
    draw_picture(rng).save(root / name)
    return bad(f"{name}.*move it into a class folder")


def write_empty_class(root: Path, rng: Rng, number: int) -> Ending:
    """A class folder without any photo."""
    write_classes(root, rng, *CLASSES)
    (root / "ring").mkdir()
    if number % 2:
        (root / "ring" / "notes.txt").write_text("none yet")
    return bad("ring.*holds no photo")


def write_unreadable_class(root: Path, rng: Rng, number: int) -> Ending:
    """A class of which only formats exist that are not read: found at the start, by name."""
    write_classes(root, rng, *CLASSES)
    (root / "ring").mkdir()
    suffix = (".heic", ".nef", ".cr2")[number % 3]
    for n in range(PER_CLASS):
        (root / "ring" / f"{n}{suffix}").write_bytes(rng.bytes(200))
    return bad(rf"(?i)ring.*({suffix[1:]}|raw)")


def write_broken_class(root: Path, rng: Rng, number: int) -> Ending:
    """A class whose photos are all cut short: the other classes' work goes on."""
    write_classes(root, rng, *CLASSES, "ring")
    for file in (root / "ring").iterdir():
        file.write_bytes(file.read_bytes()[:300])
    return Ending((0, 1), "ring.*(corrupt|cut short)", classes=CLASSES, notes="ring")


def write_fixed_camera(root: Path, rng: Rng, number: int) -> Ending:
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
    says = r"(good|scratch).*(alike|near-duplicate).*(split\.|near_duplicate_bits)"
    return Ending((0, 1, 2), says, notes="alike|near-duplicate", options=options)


def write_few_photos(root: Path, rng: Rng, number: int) -> Ending:
    """A class with fewer photos than splits."""
    write_classes(root, rng, *CLASSES)
    write_classes(root, rng, "ring", count=1 + number % 2)
    return Ending((0, 1, 2), "ring.*add photos", classes=CLASSES, notes="ring")


def write_rejected_images(root: Path, rng: Rng, number: int) -> Ending:
    """Screening that rejects every generated image: the line says why, and the report shows it."""
    write_classes(root, rng, *CLASSES)
    field, says = (("min_sharpness=1e9", "blurred"), ("min_contrast=1", "blank"))[number % 2]
    datasets = "datasets=[{name: made, synthetic: {multiview: all}}]"
    options = ("--set", f"screen.{field}", "--set", datasets)
    return Ending((1,), says, leaves=LEAVES, options=options)


def write_small_class(root: Path, rng: Rng, number: int) -> Ending:
    """A dataset that wants more photos than a class has: what was done is kept and reported."""
    write_classes(root, rng, *CLASSES)
    options = ("--set", "datasets=[{name: real, real: 500}]")
    return Ending((1, 2), "real.*(500|short)", leaves=LEAVES, options=options)


def write_alike_classes(root: Path, rng: Rng, number: int) -> Ending:
    """Two classes that differ in case or in the encoding of an accent alone."""
    pairs = (("Disc", "disc"), ("caf\u00e9", "cafe\u0301"), ("STRASSE", "straße"))
    first, second = pairs[number % len(pairs)]
    write_classes(root, rng, first, second, "box")
    return bad("have the same name")


def write_unusable_label(root: Path, rng: Rng, number: int) -> Ending:
    """A class name that some system can't store."""
    labels = ("con", "aux", "disc.", " disc", "a:b", "what?", "x" * 120, "写" * 50, "lpt1.old")
    label = labels[number % len(labels)]
    write_classes(root, rng, "box", label)
    return bad("the class name .*rename")


def write_unusual_labels(root: Path, rng: Rng, number: int) -> Ending:
    """Class names that YAML, markup, shells or formats read as something else."""
    sets = (
        ("no", "007", "yes"),
        ("null", "1e5", "0x1f"),
        ("[red]", "[", "{label}"),
        ("训练", "größe", "🐕"),
        ("class", "label", "image"),
        ("1", "2", "10"),
        ("a b", "a_b", "a-b"),
    )
    labels = sets[number % len(sets)]
    write_classes(root, rng, *labels)
    return Ending((0,), classes=labels)


def write_split_label(root: Path, rng: Rng, number: int) -> Ending:
    """A class that is called like a split: it works, or the line says how to sort the folder."""
    label = ("train", "test", "val", "Valid")[number % 4]
    write_classes(root, rng, "disc", label, "ship")
    return Ending((0, 2), rf"{label}.*\bsplits?\b", classes=("disc", label, "ship"))


def write_splits(root: Path, rng: Rng, number: int) -> Ending:
    """Folders of splits that don't fit one another."""
    case = number % 4
    if case == 0:
        write_classes(root / "val", rng, *CLASSES)
        return bad("no train folder")
    write_classes(root / "train", rng, *CLASSES)
    if case == 1:
        write_classes(root / "valid", rng, *CLASSES)
        write_classes(root / "validation", rng, *CLASSES)
        return bad("keep one val folder")
    if case == 2:
        write_classes(root / "test", rng, *CLASSES, "ring")
        return bad("ring.*not in")
    write_classes(root, rng, "disc")
    return bad("two layouts")


def write_detection(root: Path, rng: Rng, number: int) -> Ending:
    """A detection set without its list of classes."""
    write_classes(root, rng, "images")
    (root / "labels").mkdir()
    for n in range(PER_CLASS):
        (root / "labels" / f"photo{n}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    return bad("detection|YOLO")


KINDS: dict[str, WriteFolder] = {
    "missing folder": write_missing,
    "one class": write_one_class,
    "loose photo": write_loose_photo,
    "empty class": write_empty_class,
    "unreadable class": write_unreadable_class,
    "broken class": write_broken_class,
    "fixed camera": write_fixed_camera,
    "few photos": write_few_photos,
    "rejected images": write_rejected_images,
    "small class": write_small_class,
    "classes alike": write_alike_classes,
    "unusable class name": write_unusable_label,
    "unusual class names": write_unusual_labels,
    "class named as a split": write_split_label,
    "splits": write_splits,
    "detection": write_detection,
}
