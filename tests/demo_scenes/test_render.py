"""Rendered scenes: determinism, ground truth, views, and the shapes they are made of."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.demo_scenes.curves import outline, turn_solid, vessel_side
from tests.demo_scenes.layout import Domain, layout
from tests.demo_scenes.render import CLASSES, Rendering, render, write_photos
from tests.demo_scenes.shapes import Part, block, bounded, ellipsoid, extrude, lathe, sweep

SMALL = (96, 72)


def _centroid(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean() / mask.shape[1], rows.mean() / mask.shape[0]])


def _tops(rendering: Rendering) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Distances just inside and just outside the mask, along the upper rim of the silhouette."""
    mask, distance = rendering.mask, rendering.distance
    rim = mask[1:] & ~mask[:-1]
    rim[mask.shape[0] // 2 :] = False
    return distance[1:][rim], distance[:-1][rim]


@pytest.mark.parametrize("domain", ["train", "test"])
@pytest.mark.parametrize("label", CLASSES)
def test_every_class_renders_an_object_inside_the_frame(label: str, domain: Domain) -> None:
    rendering = render(label, 5, size=SMALL, domain=domain)

    assert rendering.pixels.shape == (72, 96, 3)
    assert rendering.pixels.dtype == np.uint8
    assert 0.10 < rendering.mask.mean() < 0.60
    assert np.abs(_centroid(rendering.mask) - 0.5).max() < 0.15
    brightness = rendering.pixels.mean()
    assert 25 < brightness < 235, "a photo is neither black nor blown out"
    assert rendering.pixels.std() > 8


def test_the_seed_decides_the_bytes() -> None:
    first, again = (render("mug", 3, size=SMALL, domain="test") for _ in range(2))
    other = render("mug", 4, size=SMALL, domain="test")

    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert first.distance.tobytes() == again.distance.tobytes()
    assert np.abs(first.pixels.astype(int) - other.pixels).mean() > 10


def test_depth_is_the_scaled_inverse_of_a_plausible_distance() -> None:
    rendering = render("teapot", 1, size=SMALL)

    assert rendering.depth.dtype == rendering.distance.dtype == np.float32
    assert rendering.depth.min() == 0.0
    assert rendering.depth.max() == 1.0
    assert 0.05 < rendering.distance.min() < rendering.distance.max() < 5.0, "metres"
    order = np.argsort(rendering.distance, axis=None)
    assert (np.diff(rendering.depth.ravel()[order]) <= 1e-6).all(), "nearer is larger"
    assert rendering.depth[-1].mean() > rendering.depth[0].mean(), "the table comes nearer below"


@pytest.mark.parametrize("label", ["bottle", "car", "vase"])
def test_the_mask_ends_where_the_distance_jumps(label: str) -> None:
    rendering = render(label, 2, size=(160, 120))
    inside, outside = _tops(rendering)
    steps = np.abs(np.diff(rendering.distance, axis=0))[rendering.mask[1:] & rendering.mask[:-1]]

    assert inside.size > 10
    assert ((outside - inside) > 0).mean() > 0.97, "what is behind the object is farther away"
    assert np.median(outside - inside) > 10 * np.median(steps)


def test_another_azimuth_shows_the_same_object_at_the_same_position() -> None:
    views = [render("car", 8, size=SMALL, azimuth=float(a)) for a in (0, 45, 90, 180)]

    for view in views[1:]:
        assert np.abs(view.pixels.astype(int) - views[0].pixels).mean() > 5
        assert not np.array_equal(view.mask, views[0].mask)
    for view in views:
        assert np.abs(_centroid(view.mask) - 0.5).max() < 0.15
        near = view.distance[view.mask].min()
        assert near == pytest.approx(views[0].distance[views[0].mask].min(), rel=0.25)


def test_a_full_turn_gives_the_first_view() -> None:
    first, around = (render("bowl", 6, size=SMALL, azimuth=a) for a in (0.0, 360.0))

    assert (first.mask != around.mask).mean() < 0.002
    np.testing.assert_allclose(first.distance, around.distance, atol=0.01)


def test_raising_the_camera_shows_more_table() -> None:
    low, high = (render("mug", 3, size=SMALL, elevation=e) for e in (0.0, 50.0))

    assert np.ptp(high.distance) < np.ptp(low.distance)


def test_a_vase_measures_the_same_height_in_every_view() -> None:
    """Pixels times distance give the same height in metres in all views."""
    size, extents = (128, 96), []
    camera = layout("vase", 7, "train").camera
    for azimuth in (0.0, 90.0, 200.0):
        view = render("vase", 7, size=size, azimuth=azimuth)
        rows = np.nonzero(view.mask.any(axis=1))[0]
        middle = view.distance[view.mask]
        per_pixel = 2 * camera.view / size[0] * float(np.median(middle))
        extents.append((rows[-1] - rows[0]) * per_pixel)

    np.testing.assert_allclose(extents, extents[0], rtol=0.05)


def test_train_scenes_are_more_alike_than_test_scenes() -> None:
    def spread(domain: Domain) -> float:
        cameras = [layout("vase", seed, domain).camera for seed in range(8)]
        return float(np.std([camera.elevation for camera in cameras]))

    def surfaces(domain: Domain) -> int:
        means = [layout("bowl", s, domain).scene.floor.mean_color() for s in range(8)]
        return len({tuple(np.round(mean, 1)) for mean in means})

    assert spread("train") < spread("test")
    assert surfaces("train") < surfaces("test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": "spoon", "seed": 0}, "label 'spoon' is not a scene class: choose one of bottle"),
        ({"label": "mug", "seed": 0, "domain": "val"}, "domain 'val'"),
        ({"label": "mug", "seed": 0, "size": (320, 4)}, "size 320 x 4"),
        ({"label": "mug", "seed": -1}, "seed -1"),
    ],
)
def test_reports_wrong_arguments_in_one_line(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as failure:
        render(**arguments)  # type: ignore[arg-type]

    assert "\n" not in str(failure.value)


def test_rejects_negative_counts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train=-1"):
        write_photos(tmp_path, train=-1, test=0)

    assert not list(tmp_path.iterdir())


def test_photos_form_an_image_folder_and_report_progress(tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    write_photos(
        tmp_path,
        train=1,
        test=0,
        size=(48, 36),
        processes=1,
        progress=lambda *counts: reports.append(counts),
    )

    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert files == [f"train/{label}/{label}_000.jpg" for label in CLASSES]
    assert reports == [(done, len(CLASSES)) for done in range(len(CLASSES) + 1)]
    with Image.open(tmp_path / files[0]) as photo:
        assert photo.size == (48, 36)
        assert photo.format == "JPEG"


def test_a_stopped_run_continues_with_the_same_bytes_in_any_number_of_processes(
    tmp_path: Path,
) -> None:
    options = {"train": 1, "test": 1, "size": (48, 36), "seed": 9}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    write_photos(whole, **options, processes=2)  # type: ignore[arg-type]

    class StoppedError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        write_photos(parts, **options, processes=1, progress=stop)  # type: ignore[arg-type]
    kept = {p: p.stat().st_mtime_ns for p in parts.rglob("*.jpg")}
    assert len(kept) == 5
    write_photos(parts, **options, processes=1)  # type: ignore[arg-type]

    def content(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.jpg")}

    assert content(parts) == content(whole)
    assert len(content(whole)) == 2 * len(CLASSES)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept, "finished photos are not rendered again"


def _probes(count: int = 4000) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(1)
    return rng.uniform(-1.5, 1.5, (3, count)).astype(np.float32)


def test_a_lathed_quarter_circle_is_a_sphere() -> None:
    turn = np.linspace(-np.pi / 2, np.pi / 2, 200)
    ball = lathe(turn_solid(np.stack([0.6 * np.cos(turn), 0.6 * np.sin(turn)], axis=1)))
    points = _probes()
    true = np.linalg.norm(points, axis=0) - 0.6

    near = np.abs(true) < 0.1
    np.testing.assert_allclose(ball(points)[near], true[near], atol=0.006)
    assert (ball(points) <= true + 0.006).all(), "a ray must never step through the surface"


def test_a_swept_line_is_a_capsule_and_an_extruded_square_a_block() -> None:
    points = _probes()
    line = np.array([[-0.5, 0.0], [0.5, 0.0]])
    rod = sweep(line, np.array([0.2, 0.2]))(points)
    offset = points - np.clip(points[:1], -0.5, 0.5) * np.array([[1], [0], [0]], np.float32)
    true = np.linalg.norm(offset, axis=0) - 0.2
    near = np.abs(true) < 0.08
    np.testing.assert_allclose(rod[near], true[near], atol=0.006)

    square = outline(np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]))
    built, true = extrude(square, 0.5, 0.05)(points), block((0.5, 0.5, 0.5), 0.05, 0.0)(points)
    assert ((built < 0) == (true < 0)).mean() > 0.99


def test_a_solid_lies_within_its_bounds() -> None:
    side = vessel_side([0.0, 0.5, 1.2], [0.3, 0.5, 0.2])
    material = layout("mug", 0, "train").scene.solids[0].parts[0].material
    shapes = [lathe(turn_solid(side)), ellipsoid((0.1, 0.1, 0.6), (0.4, 0.9, 0.0))]
    solid = bounded([Part(shape, material) for shape in shapes])
    points = _probes(20000)
    inside = points[:, solid.distance(points) < 0]

    assert inside.shape[1] > 100
    assert (inside > solid.low[:, None]).all()
    assert (inside < solid.high[:, None]).all()
