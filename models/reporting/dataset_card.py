"""The dataset card: a README.md for people and for the Hugging Face hub.

Its YAML head declares one configuration per dataset, so that
``datasets.load_dataset(folder, "mixed")`` finds train, validation and test images.
"""

import html
import re
from collections.abc import Callable
from typing import Any

import yaml
from markupsafe import Markup

from models.reporting import tables
from models.reporting.headline import Headline, headline_of
from models.reporting.metrics import Metrics
from models.reporting.page import recipe_as_yaml, template_environment

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
)
_LARGEST = "1M<n<10M"
# Scores of which lower is better; the report has them.
_LOSSES = ("calibration_error", "brier")


def render_card(metrics: Metrics) -> str:
    """The dataset card of a run as Markdown with a YAML head."""
    datasets = tables.list_datasets(metrics)
    headline = headline_of(metrics, datasets)
    recipe = recipe_as_yaml(metrics.recipe)
    environment = template_environment(keep_trailing_newline=True)
    environment.filters["plain"] = escape_markdown
    return environment.get_template("dataset_card.md.j2").render(
        head=Markup(yaml.safe_dump(card_head(metrics), sort_keys=False, allow_unicode=True)),
        m=metrics,
        datasets=datasets,
        headline=headline,
        score_columns=_score_columns(headline),
        generated=tables.count_generated(metrics),
        photo_rows=tables.photo_rows(metrics),
        recipe=Markup(recipe),
        fence=_fence(recipe),
        default=_default_dataset(metrics),
    )


def card_head(metrics: Metrics) -> dict[str, Any]:
    """The YAML head of the card, with the names that the Hugging Face hub uses.

    The licence is ``other``: only the owner of the photos can choose one.
    """
    datasets = tables.list_datasets(metrics)
    test_images = sum(metrics.photos.get("test", {}).values())
    images = sum(dataset.images + dataset.val_images for dataset in datasets) + test_images
    head: dict[str, Any] = {
        "pretty_name": metrics.name or "synthset dataset",
        "license": "other",
        "license_name": "rights-of-the-source-photos",
        "task_categories": ["image-classification", "image-segmentation", "object-detection"],
        "annotations_creators": ["machine-generated"],
        "size_categories": [next((name for limit, name in _SIZES if images < limit), _LARGEST)],
        "tags": ["synthetic", "synthset", "data-augmentation"],
    }
    default = _default_dataset(metrics)
    if datasets:
        head["configs"] = [
            _config(dataset, has_test=test_images > 0, is_default=dataset.name == default)
            for dataset in datasets
        ]
    return head


def escape_markdown(text: str) -> Markup:
    """The text on one line, escaped for Markdown and for its table cells.

    Example:
        >>> print(escape_markdown("a|b <script>"))
        a\\|b &lt;script&gt;
    """
    line = " ".join(str(text).split())
    marked = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", line)
    return Markup(html.escape(marked, quote=False))


def _score_columns(headline: Headline) -> list[tuple[str, str, Callable[[float | None], str]]]:
    """Field name, title and form of the test scores that stand next to the one that decides."""
    return [
        (metric, title, tables.decimal if metric in tables.DECIMALS else tables.percent)
        for metric, title, _ in tables.SCORES
        if metric not in _LOSSES
        and title != headline.title
        and any(bar.dataset.score(metric) is not None for bar in headline.bars)
    ]


def _config(dataset: tables.Dataset, *, has_test: bool, is_default: bool) -> dict[str, Any]:
    files = []
    if dataset.images:
        files.append({"split": "train", "path": f"datasets/{dataset.name}/train/**"})
    if dataset.val_images:
        files.append({"split": "validation", "path": f"datasets/{dataset.name}/val/**"})
    if has_test:
        files.append({"split": "test", "path": "datasets/test/**"})
    # Labels are the folders' names, also where test images lie less deep than train images.
    config: dict[str, Any] = {
        "config_name": dataset.name,
        "data_files": files,
        "drop_labels": False,
    }
    return config | ({"default": True} if is_default else {})


def _default_dataset(metrics: Metrics) -> str:
    """The dataset that the verdict recommends, else the first one."""
    winner = metrics.verdict.winner if metrics.verdict else None
    return winner if winner in metrics.datasets else next(iter(metrics.datasets), "")


def _fence(text: str) -> str:
    """A code fence longer than any run of backticks in the text, which so can't end it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)
