"""The page docs/errors.md: every error line by topic, with its fix on a line of its own."""

import itertools
import textwrap
from collections.abc import Iterator, Sequence

from tests.error_lines.lines import Line, error_lines, reasons, split_fix
from tests.error_lines.templates import Template

HEAD = """# Error lines

After this page you know every line with which synthset refuses something, and what to do then.

A command prints one line per mistake, which begins with `synthset:`. It says what is wrong, where,
and what to do. This page breaks long lines, and puts an arrow before what to do; commands print
neither. Words in angle brackets, such as `<file>`, stand for values of your run. Where a list
follows, such words stand for one text of the list. The exit code is 2 for bad input, which is found
before anything is computed, and 1 for what could not be made. `SYNTHSET_TRACEBACK=1` also prints
where in the code an error was raised.

Some lines name no fix, because it is the same for all of their kind. A line about an annotation
names the file and the element: correct it there. A photo that can't be read is left out: save it
again to use it. A line about YAML names line and column: correct it there. An image in which no
object is found is rejected: the report shows it.

`python -m tests.error_lines > docs/errors.md` writes this page; a test compares it with the code.
"""
REASONS = """
## Reasons for which a file or an image is not used

These lines end no run. The report lists them with the name of the file, and so do
`manifest.parquet` and `metrics.json`. More reasons are above, in the lines of {files}.
"""
# The errors that become the reason for which a photo or an image is not used.
REASON_ERRORS = ("PhotoRejectedError", "PromptError", "NoObjectError")
# The topics in the order of the page; of several folders that fit a file, the longest counts.
TOPICS: dict[str, tuple[str, ...]] = {
    "Commands": ("synthset",),
    "Photos and their split": ("models/data", "tasks/ingest"),
    "Annotated datasets: COCO, Pascal VOC, YOLO, published sets": ("models/data/formats",),
    "Recipes": ("flows/config", "flows/generators", "tasks/settings"),
    "Runs and studies": ("flows", "tasks/engine", "tasks/study"),
    "Datasets and exports": ("tasks/assemble", "tasks/export"),
    "Training": ("models/training", "models/embedding", "tasks/train"),
    "Scores, verdict and report": (
        *("models/evaluation", "models/quality", "models/reporting", "tasks/report"),
    ),
    "Stores": ("tasks/store",),
    "Checkpoints": ("models/checkpoints", "models/runtime"),
    "Servers, deployments and workers": ("deployments",),
    "Images and networks": ("models", "tasks/generate", "tasks/screen"),
}
WIDTH = 110


def topic_of(file: str) -> str:
    """The topic of a source file.

    Raises:
        ValueError: no topic covers the file.
    """
    found = [
        (len(folder), topic)
        for topic, folders in TOPICS.items()
        for folder in folders
        if file.startswith(f"{folder}/")
    ]
    if not found:
        raise ValueError(f"{file}: add its folder to TOPICS in tests/error_lines/page.py")
    return max(found)[1]


def describe_errors() -> str:
    """The page."""
    lines = [HEAD]
    for topic in TOPICS:
        chosen = [
            line
            for line in error_lines()
            if topic_of(line.file) == topic and not line.template.is_value
        ]
        lines += [f"\n## {topic}\n", *_by_file(chosen)]
    return "".join([*lines, _introduce_reasons(), *_by_file(reasons())])


def _introduce_reasons() -> str:
    """The head of the reasons; it names the files whose errors are reasons, too."""
    files = sorted({line.file for line in error_lines() if line.error in REASON_ERRORS})
    text = REASONS.format(files=", ".join(f"`{file}`" for file in files))
    *head, last = text.rstrip("\n").split("\n\n")
    return "\n\n".join([*head, textwrap.fill(last, 100, break_on_hyphens=False)]) + "\n"


def _by_file(lines: Sequence[Line]) -> Iterator[str]:
    for file, found in itertools.groupby(lines, key=lambda line: line.file):
        shown = "\n".join(dict.fromkeys("\n".join(_show(line.template)) for line in found))
        yield f"\nIn [{file}](../{file}):\n\n```text\n{shown}\n```\n"


def _show(template: Template, indent: str = "") -> Iterator[str]:
    """A text, its fix, and what its placeholders stand for, each on lines of its own."""
    problem, fix = split_fix(template.text)
    yield from _wrap(problem, indent)
    if fix:
        yield from _wrap(fix, f"{indent}  → ") if problem else _wrap(fix, indent)
    for name, listed in template.choices:
        yield f"{indent}    {name}:"
        for choice in listed:
            yield from _show(choice, f"{indent}    - ")


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * len(indent) + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
