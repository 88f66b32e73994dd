"""The dataset card: a README.md that people read and the Hugging Face hub understands.

Its YAML head declares one configuration per dataset (real, synthetic, mixed, ...), so that
``datasets.load_dataset(folder, "mixed")`` finds train, validation and test images.
"""

import html
import re
from collections.abc import Mapping
from typing import Any

import yaml
from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from markupsafe import Markup

from models.reporting import numbers
from models.reporting.headline import headline_of
from models.reporting.making import licence_rows, made_of, photo_rows
from models.reporting.text import TEMPLATES, as_yaml

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
)
_LARGEST = "1M<n<10M"
_FOLDERS = (("train", "train"), ("val", "validation"))


def render_card(metrics: Mapping[str, Any]) -> str:
    """The dataset card of a run as Markdown with a YAML head.

    Args:
        metrics: what ``metrics.json`` holds; any part may be missing.
    """
    arms, classes = numbers.arms_of(metrics), numbers.classes_of(metrics)
    recipe = as_yaml(metrics.get("recipe"))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        count=numbers.count, decimal=numbers.decimal, plain=escape_markdown, percent=numbers.percent
    )
    return environment.get_template("dataset_card.md.j2").render(
        head=Markup(yaml.safe_dump(card_head(metrics), sort_keys=False, allow_unicode=True)),
        m=metrics,
        arms=arms,
        classes=classes,
        headline=headline_of(metrics, arms, classes),
        made=made_of(metrics),
        photo_rows=photo_rows(metrics, classes),
        licences=licence_rows(metrics),
        recipe=Markup(recipe),
        fence=_fence(recipe),
        default=_default_arm(metrics, arms),
    )


def card_head(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The card's YAML head under the names that the Hugging Face hub gives them.

    The licence is ``other``: what the photos' owner allows is not for a program to say.
    """
    arms = numbers.arms_of(metrics)
    test = numbers.total_of((metrics.get("photos") or {}).get("test"))
    images = sum(arm.images + numbers.total_of(arm.val) for arm in arms) + test
    head: dict[str, Any] = {
        "pretty_name": str(metrics.get("name") or "synthset dataset"),
        "license": "other",
        "license_name": "rights-of-the-source-photos",
        "task_categories": ["image-classification", "image-segmentation", "object-detection"],
        "annotations_creators": ["machine-generated"],
        "size_categories": [next((name for limit, name in _SIZES if images < limit), _LARGEST)],
        "tags": ["synthetic", "synthset", "data-augmentation"],
    }
    default = _default_arm(metrics, arms)
    configs = [_config(arm, test > 0, arm.name == default) for arm in arms]
    return head | ({"configs": configs} if configs else {})


def escape_markdown(text: Any) -> Markup:
    """The text so that Markdown shows it as it is, on one line, in a table cell too.

    Example:
        >>> print(escape_markdown("a|b <script>"))
        a\\|b &lt;script&gt;
    """
    line = " ".join(str(text).split())
    marked = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", line)
    return Markup(html.escape(marked, quote=False))


def _config(arm: numbers.Arm, has_test: bool, default: bool) -> dict[str, Any]:
    counts = {"train": arm.images, "val": numbers.total_of(arm.val)}
    files = [
        {"split": split, "path": f"datasets/{arm.name}/{folder}/**"}
        for folder, split in _FOLDERS
        if counts[folder]
    ]
    if has_test:
        files.append({"split": "test", "path": "datasets/test/**"})
    config: dict[str, Any] = {"config_name": arm.name, "data_files": files}
    return config | ({"default": True} if default else {})


def _default_arm(metrics: Mapping[str, Any], arms: tuple[numbers.Arm, ...]) -> str:
    """The dataset that is loaded when none is named: the verdict's, else the first."""
    names = [arm.name for arm in arms]
    winner = (metrics.get("verdict") or {}).get("winner")
    return winner if winner in names else next(iter(names), "")


def _fence(text: str) -> str:
    """A code fence longer than any run of backticks in the text, which therefore can't end it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)
