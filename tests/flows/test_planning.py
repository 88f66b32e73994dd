"""Plans: the figures of the shipped recipes, which an earlier version counted in another way."""

import pytest

from flows.config.recipe import load_recipe
from flows.generators.catalog import find_generator
from flows.planning import Plan, plan_generator, show_plan

# Per stage: artifacts, MB, CPU s and GPU s.
Figures = dict[str, tuple[int, float, float, float]]
DEMO: Figures = {
    "upscale": (320, 28.5, 1.5, 0.0),
    "multiview": (280, 6.5, 9.9, 0.0),
    "caption": (40, 0.0, 0.1, 0.0),
    "augment": (280, 28.7, 0.7, 0.0),
    "segment": (280, 28.7, 17.4, 0.0),
    "depth": (280, 11.5, 0.5, 0.0),
    "masked_depth": (280, 11.5, 0.5, 0.0),
    "background": (560, 60.2, 20.7, 0.0),
    "outpaint": (2240, 240.8, 13.3, 0.0),
    "measure": (560, 0.0, 1.6, 0.0),
    "resize": (2240, 27.5, 3.0, 0.0),
    "annotate": (2240, 2.2, 1.3, 0.0),
}
GARMENTS: Figures = {
    "upscale": (160, 42.5, 2.0, 0.0),
    "multiview": (140, 8.3, 7.2, 0.0),
    "caption": (20, 0.0, 0.0, 0.0),
    "augment": (140, 36.7, 0.9, 0.0),
    "segment": (140, 36.7, 9.6, 0.0),
    "depth": (140, 14.7, 0.7, 0.0),
    "masked_depth": (140, 14.7, 0.5, 0.0),
    "background": (560, 154.1, 26.7, 0.0),
    "outpaint": (2240, 616.6, 20.0, 0.0),
    "measure": (560, 0.0, 2.3, 0.0),
    "resize": (2240, 43.0, 3.4, 0.0),
    "annotate": (2240, 3.4, 1.4, 0.0),
}
MULTIVIEW: Figures = {
    "upscale": (768, 851.3, 36.5, 11.9),
    "multiview": (672, 61.9, 2.1, 81.8),
    "caption": (96, 0.0, 0.0, 0.2),
    "augment": (1344, 2202.0, 55.1, 0.0),
    "segment": (1344, 2202.0, 66.1, 1.9),
    "depth": (1344, 880.8, 66.1, 3.0),
    "masked_depth": (1344, 880.8, 21.2, 0.0),
    "background": (2688, 2959.5, 63.4, 3832.6),
    "outpaint": (10752, 11838.0, 253.7, 7867.5),
    "measure": (2688, 0.0, 27.4, 0.0),
    "resize": (10752, 528.5, 25.5, 0.0),
    "annotate": (10752, 42.3, 8.5, 0.0),
}


@pytest.mark.parametrize(
    ("name", "references", "expected"),
    [("demo", 40, DEMO), ("garments", 20, GARMENTS), ("multiview", 96, MULTIVIEW)],
)
def test_a_plan_has_the_same_counts_and_costs_as_before(
    name: str, references: int, expected: Figures
) -> None:
    recipe = load_recipe(name)
    generator = find_generator("multiview")
    planned, images = plan_generator(
        generator, recipe.generators["multiview"], references, 4, recipe.resize
    )
    assert set(planned.stages) == {*expected, "screen"}
    for stage, (artifacts, *costs) in expected.items():
        found = planned.stages[stage]
        assert found.artifacts == artifacts, stage
        figures = [found.megabytes, found.cpu_seconds, found.gpu_seconds]
        # The expected figures of `upscale` are sums of two rounded rows.
        assert figures == pytest.approx(costs, abs=0.11), stage
    assert images == expected["outpaint"][0]


def test_every_stage_with_pictures_has_a_row_in_contact_sheets() -> None:
    recipe = load_recipe("multiview")
    planned, _ = plan_generator(
        find_generator("multiview"), recipe.generators["multiview"], 1, 1, recipe.resize
    )
    shown = {stage for stage, found in planned.stages.items() if found.shown_as}
    assert shown == {*MULTIVIEW, "screen"} - {"measure", "screen", "resize", "annotate"}


def test_a_plan_shows_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    names = "[/red]", ":cat:", "[b]"
    plan = Plan(
        recipe=names[0],
        photos=dict.fromkeys(names, 3),
        references=1,
        images_per_photo={"multiview": 1},
        images=1,
        stages=(),
        trainings=0,
        megabytes=0,
        cpu_seconds=0,
        gpu_seconds=0,
        warnings=names,
    )
    show_plan(plan)
    shown = capsys.readouterr().out
    assert f"{names[0]}: cost" in " ".join(shown.split())
    assert all(f"note: {name}" in shown and f"{name} 3" in shown for name in names)
