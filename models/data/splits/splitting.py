"""Splitting photos into train, val and test, so that no family of photos is in two splits.

Small collections often hold one scene or one file twice; splitting single images would leak.
"""

import itertools
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field, StrictInt, field_validator, model_validator

from models.data.find_photos import Refused
from models.data.records import Record, Split
from models.data.splits.copies import without_copies
from models.data.splits.families import (
    Links,
    build_families,
    refuse_contradictions,
    refuse_straddling,
)
from models.data.splits.hold_out import (
    assign_splits,
    count_of,
    find_small_classes,
    without_classes,
)
from models.data.splits.near_duplicates import HashedPhoto
from models.data.splits.notes import notes_on_families, notes_on_test
from models.data.splits.quotas import Pool

# What makes photos a family, besides the groups that the user gives.
FAMILIES = ("pictures", "none", "folder", "prefix")


class SplitParameters(Record):
    """How photos are divided where the folders don't say so.

    Numbers of photos hold for splits that the folders give, too.
    """

    train: int | None = Field(
        None,
        ge=1,
        description="train photos of each class at most, the others are not used; none: all that"
        " are not held out",
    )
    val: StrictInt | float = Field(
        0.15,
        gt=0,
        description="validation photos of each class: 0.15 is a share of them, 50 a number. A share"
        " counts only where the folders give no such split",
    )
    test: StrictInt | float = Field(
        0.2, gt=0, description="test photos of each class: a share of them, or a number"
    )
    val_from: Literal["train", "test"] = Field(
        "train",
        description="the given split that val is taken out of, where the folders give train and"
        " test alone",
    )
    near_duplicate_bits: int = Field(
        32,
        ge=0,
        le=96,
        description="bits of 256 in which the hashes of two photos of the same scene may differ;"
        " fewer where large parts of a photo are blank; 0 takes equal hashes only",
    )
    compare_pictures: bool = Field(
        True,
        description="also find photos that were cropped, turned, mirrored or framed, by comparing"
        " their local features; false compares hashes alone",
    )
    group_by: str = Field(
        "pictures",
        description="which photos are one family and stay in one split. pictures: those that look"
        " alike. For a fixed camera, whose photos all look alike, one of: none; folder, the folder"
        " in the class folder; prefix, the file name up to its last _, - or blank; or the path of a"
        " CSV as in group_file",
    )
    group_file: Path | None = Field(
        None,
        description="CSV with the columns file and group: photos of one group stay in one split,"
        " whatever group_by says",
    )
    group_pattern: str | None = Field(
        None,
        description="regular expression on a photo's path below the photo folder: photos with the"
        " same captured text stay in one split, whatever group_by says",
    )
    seed: int = Field(0, ge=0, description="another seed gives another split of the same sizes")

    @field_validator("group_by", mode="before")
    @classmethod
    def _check_families(cls, word: object) -> object:
        # YAML reads ~ and null as None.
        word = "none" if word is None else word
        if word not in FAMILIES and not str(word).lower().endswith(".csv"):
            raise ValueError(
                f"{word!r} is none of {', '.join(FAMILIES)}, and no path of a .csv file; choose one"
            )
        return word

    @field_validator("group_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        try:
            groups = 1 if pattern is None else re.compile(pattern).groups
        except re.error as error:
            raise ValueError(
                f"{pattern!r} is no regular expression ({error}); correct it"
            ) from None
        if not groups:
            raise ValueError(f"{pattern!r} captures nothing; put the group's name in parentheses")
        return pattern

    @field_validator("val", "test", mode="before")
    @classmethod
    def _check_share(cls, size: object) -> object:
        is_number = isinstance(size, int | float) and not isinstance(size, bool)
        if not is_number or (isinstance(size, float) and not size < 1):
            raise ValueError(f"{size} is neither a share below 1 nor a whole number; correct it")
        return size

    @model_validator(mode="after")
    def _leave_some_for_train(self) -> "SplitParameters":
        shares = [size for size in (self.val, self.test) if isinstance(size, float)]
        if sum(shares) >= 1:
            raise ValueError("val + test must be below 1, so that photos are left for train")
        return self

    def pools(self, given: Container[Split | None]) -> dict[Split, Pool]:
        """What becomes of the photos of each given split; those without one are in "train".

        Args:
            given: the splits that the folders give.
        """
        sizes: dict[Split, float] = {"test": self.test, "val": self.val}
        drawn = {split: size for split, size in sizes.items() if split not in given}
        pools: dict[Split, Pool] = {}
        for split, size in sizes.items():
            if split not in given:
                continue
            is_number = isinstance(size, int)
            wanted = {split: size} if is_number else {}
            if split == "test" and self.val_from == "test" and "val" in drawn:
                wanted["val"] = drawn.pop("val")
            pools[split] = Pool(wanted, None if is_number else split)
        if self.train is not None:
            return pools | {"train": Pool({**drawn, "train": self.train}, None)}
        return pools | {"train": Pool(drawn, "train")}

    @property
    def family_bits(self) -> int | None:
        """Bits in which the hashes of one family may differ; None: hashes are not compared."""
        return self.near_duplicate_bits if self.group_by == "pictures" else None

    @property
    def has_local_features(self) -> bool:
        """Whether local features are compared too."""
        return self.compare_pictures and self.group_by == "pictures"

    @property
    def listed_groups(self) -> tuple[tuple[str, Path], ...]:
        """The CSV files that list groups, each with the name of its field."""
        named = None if self.group_by in FAMILIES else Path(self.group_by)
        files = (("split.group_by", named), ("split.group_file", self.group_file))
        return tuple((field, path) for field, path in files if path is not None)


@dataclass(frozen=True)
class SplitResult:
    """The split of each used photo, the refused photos with reasons, and notes for the user.

    ``families`` names the family of each used photo by its first file. ``left_out`` says of each
    class that has too few photos how many it has and needs; all its photos are refused.
    """

    assigned: dict[str, Split]
    families: dict[str, str]
    refused: tuple[Refused, ...]
    notes: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def split(
    photos: Sequence[HashedPhoto], parameters: SplitParameters, links: Links = ()
) -> SplitResult:
    """Split photos, stratified by class, with the whole family of a photo in its split.

    Of exact copies the first by name is kept. A photo that lies in two classes is refused in both.
    Splits given by folders are kept, with two exceptions: a train or val photo whose family holds a
    test photo is refused, and so is a train photo whose family holds a val photo. Test never
    changes, but for the number of its photos. A split that no folder gives is taken out of train,
    or val out of test, by whole families, at least one per class and split. Families are drawn in
    the order of a hash of seed and digest, so that one photo more moves few others.

    Args:
        links: pairs of files that show the same picture, as `models.leakage` finds them.

    A class without enough families for every split is left out. This is not so where photos are
    scenes: they are split by the class that each is counted in, and train gets the first ones.

    Raises:
        ValueError: a photo is listed twice, or only some photos have a given split.
    """
    ordered = sorted(photos, key=lambda photo: photo.file)
    _check(ordered)
    bits = parameters.family_bits
    kept, refused = without_copies(ordered)
    notes = [f"{count_of(len(refused), 'exact copy', 'exact copies')} refused"] if refused else []
    families, straddling = refuse_straddling(build_families(kept, bits, links), bits, links)
    families, contradicting = refuse_contradictions(families, bits)
    families.sort(key=lambda family: family[0].file)
    notes += [*notes_on_families(families), *notes_on_test(families)]
    given = {photo.given_split for family in families for photo in family}
    pools = parameters.pools(given)
    labels = sorted({photo.label for photo in ordered})
    are_scenes = any(photo.shows is not None for photo in ordered)
    drawn_splits: list[Split] = ["train", *pools["train"].wanted]
    small = {} if are_scenes else find_small_classes(families, labels, drawn_splits)
    families, left_out = without_classes(families, small)
    labels = [label for label in labels if label not in small]
    drawn = assign_splits(families, labels, pools, parameters.seed)
    return SplitResult(
        assigned=dict(sorted(drawn.assigned.items())),
        families={
            photo.file: family[0].file
            for family in families
            for photo in family
            if photo.file in drawn.assigned
        },
        refused=(*refused, *straddling, *contradicting, *left_out, *drawn.unused),
        notes=(*notes, *drawn.notes),
        left_out=small,
    )


def _check(photos: Sequence[HashedPhoto]) -> None:
    for photo, following in itertools.pairwise(photos):
        if photo.file == following.file:
            raise ValueError(f"the photo {photo.file} is listed twice; list it once")
    without_split = [photo.file for photo in photos if photo.given_split is None]
    if 0 < len(without_split) < len(photos):
        raise ValueError(
            f"some photos have a given split, but {without_split[0]} has none; give all or none"
        )
