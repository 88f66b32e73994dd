"""Figures about sets of images, all of them computed on the features of one frozen network.

KID and FID have the units of that network's features. They can't be compared with published
figures, which use the features of Inception.
"""

from pydantic import Field

from models.data.records import Record

# A figure about a set needs this many images on either side.
MIN_IMAGES = 20
# The neighbour that limits what counts as near (Naeem et al. 2020 use 5).
NEIGHBOUR = 5
# Per distribution of distances: its minimum, all whole percentiles, and its maximum.
PERCENTILES = 101


class SetComparison(Record):
    """How well one set of images stands for a set of real photos."""

    images: str = Field(description="A generator, or real train: the yardstick.")
    photos: str = Field(description="real train, or real held-out: val and test photos.")
    label: str | None = Field(None, description="Class; null: all classes together.")
    n_images: int
    n_photos: int
    kid: float | None = Field(None, description="Mean over subsets; 0 if both are alike.")
    kid_sd: float | None = Field(None, description="Standard deviation over subsets.")
    kid_subset: int | None = Field(None, description="Images per subset, of either set.")
    fid: float | None = Field(None, description="Too high with few images.")
    density: float | None = Field(None, description="0 or more; about 1 if both are alike.")
    coverage: float | None = Field(None, description="Share of photos with an image near them.")
    left_out: tuple[str, ...] = Field((), description="Figures that are null, with the reason.")


class Diversity(Record):
    """How much the images of one group differ: mean cosine distance of all pairs, 0 to 2."""

    images: str = Field(description="A generator, or real train.")
    group: str = Field(description="photo: images made of one photo; class: images of one class.")
    label: str | None = Field(None, description="Class; null: the mean over all groups.")
    n_groups: int
    n_images: int
    distance: float


class NearestDistances(Record):
    """Cosine distance, 0 to 2, from each image to its nearest photo of one split."""

    images: str = Field(description="A generator, or real train, real val or real test.")
    photos: str = Field(description="real train, real val or real test.")
    label: str | None = Field(None, description="Class of the images; null: all classes.")
    n_images: int
    n_photos: int
    percentiles: tuple[float, ...] = Field(description="From the 0th to the 100th.")

    @property
    def lowest_percent(self) -> float:
        """The distance that 1 % of the images stay below."""
        return self.percentiles[1]

    @property
    def median(self) -> float:
        """The distance that half of the images stay below."""
        return self.percentiles[50]


class NearPair(Record):
    """An image and the photo nearest to it, as artifact ids and names."""

    generator: str
    image: str
    image_name: str
    photos: str = Field(description="real train, real val or real test.")
    photo: str
    photo_name: str
    distance: float = Field(description="Cosine distance; 0: the same features.")


class QualityMetrics(Record):
    """What the images of each generator are like, compared with real photos."""

    features: str = Field(description="The network whose features everything is computed on.")
    comparisons: tuple[SetComparison, ...] = ()
    diversity: tuple[Diversity, ...] = ()
    nearest: tuple[NearestDistances, ...] = ()
    pairs: tuple[NearPair, ...] = Field((), description="The nearest pairs, the nearest first.")


class ClassSelection(Record):
    """How many images of a class a selection kept, and the distance of the set on the way."""

    generator: str
    label: str
    images: int = Field(description="Images that screening had accepted.")
    kept: int
    curve: tuple[tuple[int, float, float | None], ...] = Field(
        (),
        description="Method distance: images left, squared discrepancy to train and to val photos; "
        "null with fewer than two val photos.",
    )
