"""Error lines are short, say what to do, and stand on one page, docs/errors.md."""

import pytest

from tests.error_lines.lines import (
    error_lines,
    reasons,
    says_what_to_do,
    split_fix,
    unread_raises,
)
from tests.error_lines.page import describe_errors
from tests.error_lines.program import ROOT
from tests.error_lines.templates import Template

# Characters of a line without its values, of 300 that a line may have.
LONGEST = 240
# Statements that pass on the line of an error that was raised elsewhere, with its place in front.
PASSED_ON = {
    "flows/config/recipe.py: raise"
    " RecipeError(f\"--set {change}: {' '.join(str(error).split())}\")",
    "flows/config/recipe.py: raise RecipeError(f'{path}: {error}')",
    "flows/early_end.py: raise ended",
    "flows/execution/results.py: raise MissingArtifactError(f'{result.item}: {result.failure}')",
    "models/data/formats/coco.py: raise AnnotationError(f'{where}: {error}')",
    "models/data/formats/voc_masks.py: raise AnnotationError(f'{file}: {error}')",
    "models/data/formats/yolo_rows.py: raise AnnotationError(f'{where}: {error}')",
    "models/data/settings.py: raise SettingsError(f\"{name}={value}: {fault['msg'].lower()}\")",
    "models/data/square.py: raise ValueError(f'{path}: {reason}')",
    "models/training/detection/data.py: raise ValueError(f'{path}: {reason}')",
    "tasks/engine/gpu.py: raise error.__cause__",
    "tasks/ingest/regions.py: raise"
    " ValueError(f'regions: {files[content.name]} {artifact.reject_reason}')",
    "tasks/settings/ddpm.py: raise"
    " ValueError(error.errors()[0]['msg'].removeprefix('Value error, '))",
    "tasks/store/s3.py: raise failure",
    "tasks/store/store.py: raise StoreAccessError(str(error))",
}
# Errors whose fix is the same for all: docs/errors.md gives it above their lines.
COMMON_FIX = {
    "AnnotationError",
    "PhotoRejectedError",
    "NoObjectError",
    "PromptError",
    "InfrastructureNotFound",
    "InfrastructureNotAvailable",
    "MarkedYAMLError",
}


def test_the_page_shows_the_lines_of_the_code() -> None:
    written = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    assert written == describe_errors(), "run: python -m tests.error_lines > docs/errors.md"


def test_every_raise_statement_is_read_or_passes_a_line_on() -> None:
    assert set(unread_raises()) <= PASSED_ON


def test_lines_leave_room_for_their_values() -> None:
    too_long = [line for line in (*error_lines(), *reasons()) if line.template.length > LONGEST]
    assert not too_long, "\n".join(map(str, too_long))


def test_lines_say_what_to_do() -> None:
    silent = [
        line
        for line in error_lines()
        if line.error not in COMMON_FIX
        and Template(line.template.text).has_words
        and not says_what_to_do(line.template)
    ]
    assert not silent, "\n".join(map(str, silent))


@pytest.mark.parametrize(
    ("text", "problem", "fix"),
    [
        (
            "--to <to>: is not empty; name a new folder",
            "--to <to>: is not empty",
            "name a new folder",
        ),
        ("list at least one generator", "", "list at least one generator"),
        ("<file>: is no image", "<file>: is no image", ""),
    ],
)
def test_a_line_is_split_into_what_is_wrong_and_the_fix(text: str, problem: str, fix: str) -> None:
    assert split_fix(text) == (problem, fix)


@pytest.mark.parametrize(
    "text",
    [
        # The line of a helper that makes an error, of a constant, and of an argument's default.
        "; make room (synthset store gc) or use another, and rerun",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        "rename the class folder",
    ],
)
def test_lines_that_helpers_build_are_on_the_page(text: str) -> None:
    assert any(text in part for line in error_lines() for part in line.template.texts())


def test_a_template_counts_its_longest_choice() -> None:
    choices = (("<fix>", (Template("add it"), Template("remove it"))),)
    assert Template("<file> is odd; <fix>", choices).length == len(" is odd; remove it")
