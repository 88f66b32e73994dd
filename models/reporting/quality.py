"""The quality figures of a run as a sentence and as tables, each with its number of images."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.quality.records import Diversity, QualityMetrics, SetComparison
from models.reporting.plots.quality import distances_of
from models.reporting.tables import DASH, count, decimal, percent

YARDSTICK = "real train"
_NAMED_GENERATORS = 3


@dataclass(frozen=True)
class QualityTable:
    """A table with its columns and its caveats. The first column names the images."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caveats: tuple[str, ...]


def quality_tables(quality: QualityMetrics, label: str | None = None) -> tuple[QualityTable, ...]:
    """The tables of one class, or of all classes together; tables without rows are left out."""
    tables = (
        _comparison_table(quality, label),
        _diversity_table(quality, label),
        _nearest_table(quality, label),
    )
    return tuple(table for table in tables if table.rows)


def quality_labels(quality: QualityMetrics) -> list[str]:
    """The classes that have figures of their own."""
    return list(dict.fromkeys(row.label for row in quality.comparisons if row.label is not None))


def describe_quality(quality: QualityMetrics) -> str:
    """What the figures say about each generator, compared with real train photos."""
    compared = {
        row.images: row
        for row in quality.comparisons
        if row.label is None and row.photos == "real held-out"
    }
    yardstick = compared.pop(YARDSTICK, None)
    if yardstick is None or not compared:
        return "No generator made images, so there is nothing to compare with real photos."
    sentences = []
    for name, row in list(compared.items())[:_NAMED_GENERATORS]:
        sentences += _describe_comparison(name, row, yardstick)
        sentences += _describe_diversity(name, quality.diversity)
        sentences += _describe_nearest_pair(name, quality)
    return " ".join(sentences)


def _describe_comparison(name: str, row: SetComparison, yardstick: SetComparison) -> list[str]:
    if row.kid is None or yardstick.kid is None or row.coverage is None:
        return [
            f"Too few images for KID and coverage: {count(row.n_images)} of {name}, "
            f"{count(row.n_photos)} held-out photos."
        ]
    gap = row.kid - yardstick.kid
    spread = (row.kid_sd or 0.0) + (yardstick.kid_sd or 0.0)
    side = "about as far from" if abs(gap) <= spread else "farther from" if gap > 0 else "nearer to"
    than = "as" if abs(gap) <= spread else "than"
    return [
        f"Images of {name} are {side} held-out photos {than} real train photos are "
        f"(KID {_small(row.kid)} against {_small(yardstick.kid)}), and cover "
        f"{percent(row.coverage)} of them (real train photos: {percent(yardstick.coverage)})."
    ]


def _describe_diversity(name: str, rows: Sequence[Diversity]) -> list[str]:
    overall = {(row.images, row.group): row.distance for row in rows if row.label is None}
    siblings, real = overall.get((name, "photo")), overall.get((YARDSTICK, "class"))
    if siblings is None or real is None:
        return []
    return [
        f"Images of one photo differ by {decimal(siblings)} on average, real photos of one class "
        f"by {decimal(real)}."
    ]


def _describe_nearest_pair(name: str, quality: QualityMetrics) -> list[str]:
    real = [
        row.lowest_percent
        for row in distances_of(quality)
        if (row.images, row.photos) == (YARDSTICK, "real test")
    ]
    pairs = [pair for pair in quality.pairs if (pair.generator, pair.photos) == (name, "real test")]
    if not real or not pairs:
        return []
    return [
        f"The image nearest to a test photo is at distance {decimal(pairs[0].distance)}; "
        f"1% of real train photos are within {decimal(real[0])} of one."
    ]


def _comparison_table(quality: QualityMetrics, label: str | None) -> QualityTable:
    rows = [row for row in quality.comparisons if row.label == label]
    subsets = sorted({row.kid_subset for row in rows if row.kid_subset is not None})
    reasons = dict.fromkeys(reason for row in rows for reason in row.left_out)
    left_out = (f"Left out where a dash stands: {'; '.join(reasons)}.",) if reasons else ()
    sizes = " or ".join(map(str, subsets)) or "no"
    return QualityTable(
        "Two sets of images compared",
        ("Images", "Photos", "n", "KID", "FID", "Density", "Coverage"),
        tuple(
            (
                _named(row.images, row.photos == "real held-out"),
                row.photos,
                f"{count(row.n_images)} / {count(row.n_photos)}",
                DASH if row.kid is None else f"{_small(row.kid)} ± {_small(row.kid_sd)}",
                DASH if row.fid is None else decimal(row.fid),
                decimal(row.density),
                DASH if row.coverage is None else percent(row.coverage),
            )
            for row in rows
        ),
        (
            f"KID on {quality.features} features (subsets of {sizes} images): 0 means alike, and "
            "chance takes it below. ± is "
            "the spread over subsets. It can't be compared with published KID, which uses "
            "Inception.",
            f"FID on {quality.features} features is too high with few images.",
            "Density is about 1 and coverage near 100% if both sets are alike. More images cover "
            "more: compare rows of about the same n.",
            "Generated images are made of train photos, so rows with held-out photos (val and "
            "test) are the fair ones.",
            *left_out,
        ),
    )


def _diversity_table(quality: QualityMetrics, label: str | None) -> QualityTable:
    return QualityTable(
        "How much images differ",
        ("Images", "Group", "Groups", "n", "Mean distance"),
        tuple(
            (
                _named(row.images, row.images == YARDSTICK),
                f"of one {row.group}",
                count(row.n_groups),
                count(row.n_images),
                decimal(row.distance),
            )
            for row in quality.diversity
            if row.label == label
        ),
        (
            "Mean cosine distance of all pairs in a group, 0 to 2. Images of one photo share its "
            "object, so they differ less than photos of one class. The features hardly see small "
            "changes of light and place.",
        ),
    )


def _nearest_table(quality: QualityMetrics, label: str | None) -> QualityTable:
    return QualityTable(
        "Distance to the nearest photo",
        ("Images", "Nearest of", "n", "1% below", "Median"),
        tuple(
            (
                _named(row.images, row.images.startswith("real ")),
                row.photos,
                f"{count(row.n_images)} / {count(row.n_photos)}",
                decimal(row.lowest_percent),
                decimal(row.median),
            )
            for row in distances_of(quality, label)
        ),
        (
            "Cosine distance, 0 to 2; at 0 both have the same features, as a copy has. Near in "
            "features is no proof of a copy: look at the pairs. The more photos, the nearer the "
            "nearest one. Only the counted images and photos were compared.",
        ),
    )


def _named(name: str, is_yardstick: bool) -> str:
    return f"{name} (yardstick)" if name.startswith("real ") and is_yardstick else name


def _small(value: float | None) -> str:
    """Three significant digits: KID on these features is often far below 0.01."""
    return DASH if value is None else f"{value:.3g}"
