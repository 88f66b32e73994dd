"""Prompts that a text encoder cuts are named in the plan and in the report."""

from pathlib import Path

import pytest

from flows.config.prompt_limit import prompt_warnings
from flows.config.recipe import load_recipe
from flows.planning import make_plan

LONG = " ".join(["mug"] * 75)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["profile=diffusion"], ["SDXL cuts its summary of a prompt at 75"]),
        (
            ["profile=diffusion", "generators.multiview.outpaint.prompt_from=caption"],
            ["SDXL cuts its summary", "sd2-inpaint cuts a prompt at 75"],
        ),
        (["profile=classical", "generators.multiview.caption.prompts.mug=words"], []),
    ],
)
def test_each_model_that_cuts_a_prompt_is_named(changes: list[str], words: list[str]) -> None:
    recipe = load_recipe("multiview", changes)
    lines = prompt_warnings(recipe, {"mug/a.jpg": f"{LONG} red", "mug/b.jpg": "a red mug"})
    assert len(lines) == len(words)
    for line, expected in zip(lines, words, strict=True):
        assert line.startswith("mug/a.jpg: the prompt has ")
        assert expected in line
        assert len(line) < 300


def test_the_plan_names_prompts_of_files_and_of_the_recipe(tmp_path: Path) -> None:
    for label in ("cup", "mug"):
        for number in range(4):
            file = tmp_path / label / f"{number}.jpg"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"not opened")
    (tmp_path / "mug" / "2.txt").write_text(f"{LONG} red mug")
    own = f"generators.multiview.caption.prompts.cup={LONG} red"
    plan = make_plan(load_recipe("multiview", ["profile=diffusion", own]), tmp_path, None)
    named = [line.partition(":")[0] for line in plan.warnings if "tokens" in line]
    assert named == ["mug/2.jpg", "generators.multiview.caption.prompts.cup"]
