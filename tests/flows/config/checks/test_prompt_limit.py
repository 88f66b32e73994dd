"""Prompts that a text encoder cuts are named in the plan and in the report."""

from pathlib import Path

import pytest

from flows.config.checks.prompt_limit import prompt_warnings
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


@pytest.mark.parametrize(
    ("model", "effect"),
    [("sd15", "sd15 cuts a prompt at 75"), ("sdxl", "SDXL cuts its summary of a prompt at 75")],
)
def test_prompts_of_classes_are_named_by_their_field(
    tmp_path: Path, model: str, effect: str
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        f"profile: diffusion\ngenerators:\n  text_to_image:\n    text_to_image:\n"
        f"      model: {model}\n      templates: [a mug, {LONG} red]\n"
        f"      prompts: {{mug: ['{LONG} red']}}\n      negative_prompts: {{mug: '{LONG} red'}}\n"
    )
    section = "generators.text_to_image.text_to_image"
    lines = prompt_warnings(load_recipe(file), {"mug/a.jpg": f"{LONG} red"})
    assert [line.partition(":")[0] for line in lines] == [
        f"{section}.templates.1",
        f"{section}.prompts.mug.0",
        f"{section}.negative_prompts.mug",
    ]
    assert all(effect in line for line in lines)
