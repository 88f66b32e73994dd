from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.formats.polygons import encode_mask
from models.data.pixels import encode_png
from models.data.records import Artifact
from tasks.engine.run_context import RunContext
from tasks.ingest.read_files import Ingest, ingest
from tasks.screen.measure import Measure, measure
from tasks.screen.screen import FAR, NEAR, HeldOutHashes, Screen, judge, screen
from tasks.store.store import open_store
from tests.tasks.assemble.cases import stored_image

LIMITS = Screen()
NOBODY = HeldOutHashes([], NEAR)


def row(code: int, **changed: Any) -> dict[str, Any]:
    good = {
        **{"contrast": 0.2, "sharpness": 400.0, "object_fraction": 0.2, "cut_fraction": 0.0},
        **{"dhash": f"{code:064x}", "digest": f"{code}"},
    }
    return {**good, **changed}


def far(place: int) -> int:
    """Hashes that differ from one another in 40 bits and more."""
    return ((1 << 40) - 1) << (40 * place)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"contrast": 0.01}, "blank"),
        ({"object_fraction": 0.0}, "object lost"),
        ({"object_fraction": 0.005}, "mask too small"),
        ({"object_fraction": 0.95}, "mask too large"),
        ({"cut_fraction": 0.4}, "object cut"),
        ({"sharpness": 0.5}, "blurred"),
    ],
)
def test_each_fault_has_its_reason(changed: dict[str, Any], reason: str) -> None:
    (verdict,) = judge([row(far(0), **changed)], NOBODY, LIMITS)
    assert not verdict["accepted"]
    assert verdict["reason"] == reason


def test_a_good_image_is_accepted_with_its_scores() -> None:
    (verdict,) = judge([row(far(0))], NOBODY, LIMITS)
    assert verdict["accepted"]
    assert verdict["reason"] is None
    assert verdict["scores"]["sharpness"] == 400.0


def test_the_first_of_near_duplicates_is_kept() -> None:
    rows = [row(far(0)), row(far(0) ^ 0b111), row(far(1))]
    verdicts = judge(rows, NOBODY, LIMITS)
    assert [one["accepted"] for one in verdicts] == [True, False, True]
    assert verdicts[1]["reason"] == "near-duplicate of a sibling"
    assert verdicts[1]["scores"]["sibling_bits"] == 3


def test_a_rejected_image_is_no_sibling_to_be_near_to() -> None:
    rows = [row(far(0), contrast=0.0), row(far(0))]
    assert [one["accepted"] for one in judge(rows, NOBODY, LIMITS)] == [False, True]


def test_an_image_too_near_to_a_held_out_photo_names_it() -> None:
    heldout = [
        {"name": "shoes/a", "hashes": [f"{far(3):064x}", f"{far(4):064x}"]},
        {"name": "shoes/b", "hashes": [f"{far(0) ^ 0b1111:064x}", f"{far(5):064x}"]},
    ]
    (verdict,) = judge([row(far(0))], HeldOutHashes(heldout, NEAR), LIMITS)
    assert verdict["reason"] == "too near to a held-out photo: shoes/b"
    assert verdict["scores"]["heldout_bits"] == 4


def test_a_mirrored_held_out_photo_counts_too() -> None:
    heldout = [{"name": "shoes/a", "hashes": [f"{far(3):064x}", f"{far(0):064x}"]}]
    (verdict,) = judge([row(far(0))], HeldOutHashes(heldout, NEAR), LIMITS)
    assert verdict["scores"]["heldout_bits"] == 0
    assert not verdict["accepted"]


def test_limits_decide() -> None:
    loose = Screen(min_contrast=0.0, sibling_bits=0, heldout_bits=0)
    rows = [row(far(0), contrast=0.001), row(far(0) ^ 1)]
    assert all(one["accepted"] for one in judge(rows, NOBODY, loose))


def test_a_held_out_photo_that_is_not_near_leaves_no_figure() -> None:
    heldout = HeldOutHashes([{"name": "shoes/a", "hashes": [f"{far(3):064x}"]}], NEAR)
    (verdict,) = judge([row(far(0))], heldout, LIMITS)
    assert verdict["accepted"]
    assert verdict["scores"]["heldout_bits"] == FAR


def test_the_first_of_equally_near_photos_is_named() -> None:
    hashes = [far(0) ^ 0b11, far(0) ^ 0b1, far(0) ^ 0b10]
    heldout = [{"name": f"shoes/{at}", "hashes": [f"{one:064x}"]} for at, one in enumerate(hashes)]
    assert HeldOutHashes(heldout, NEAR).nearest([far(0)]) == [(1, "shoes/1")]


def test_a_run_without_held_out_photos_is_screened_too(tmp_path: Path) -> None:
    run = RunContext(open_store(tmp_path / "store"), "test")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (40, 40, 3), np.uint8)
    content = Artifact(
        key="0" * 64,
        stage="file",
        version=1,
        name="mug/a",
        media="png",
        digest="0" * 64,
        size=0,
        metadata={"content": encode_png(pixels)},
    )
    measures = measure(run, Measure(), ingest(run, Ingest(), [content]))
    (verdicts,) = screen(run, LIMITS, measures, [])
    (verdict,) = run.load(verdicts)["images"]
    assert verdict["accepted"]
    assert verdict["scores"]["heldout_bits"] == FAR


def test_equal_images_with_other_objects_are_measured_by_their_own_masks(tmp_path: Path) -> None:
    run = RunContext(open_store(tmp_path / "store"), "test")
    image = stored_image(run.store, "mug/a", np.full((40, 40, 3), 90, np.uint8))
    shares = []
    for width in (10, 20):
        mask = np.zeros((40, 40), np.bool_)
        mask[:20, :width] = True
        objects = [{"label": "mug", "box": None, "mask": encode_mask(mask)}]
        (measured,) = measure(
            run, Measure(), [image.model_copy(update={"metadata": {"objects": objects}})]
        )
        shares.append(run.load(measured)["images"][0]["object_fraction"])
    assert shares == [0.125, 0.25]
