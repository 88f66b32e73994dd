"""The pictures of the checks: the demo's photos, and shared photos where they are at hand."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.data import pixels
from models.data.pixels import Alpha, Pixels, fit_within
from models.data.read_photo import read_photo

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "flows" / "demo_photos"
SHARED = ROOT.parent / "shared" / "data"
DEMO_PHOTOS = ("train/bowl/bowl_000.jpg", "test/car/car_003.jpg")
SHARED_PHOTOS = ("fruit/train/banana", "clothing/test/shoes")


@dataclass(frozen=True, eq=False)
class MaskedPhoto:
    """A photo (uint8 HxWx3) and its true mask (float32 HxW, 0 or 1)."""

    photo: Pixels
    mask: Alpha


def photos() -> list[Pixels]:
    """Two photos of the demo, and the first photo of each shared folder that exists."""
    files = [DEMO / name for name in DEMO_PHOTOS]
    for name in SHARED_PHOTOS:
        files += sorted((SHARED / name).glob("*.jpg"))[:1]
    return [read(file) for file in files]


def centre(image: Pixels, size: tuple[int, int]) -> Pixels:
    """The middle of a photo, of a height and width; the photo is first reduced to twice these."""
    height, width = size
    small = fit_within(image, 2 * max(size))
    top, left = (small.shape[0] - height) // 2, (small.shape[1] - width) // 2
    return small[top : top + height, left : left + width].copy()


def read(file: Path) -> Pixels:
    """The pixels of a photo as a run reads them, uint8 HxWx3."""
    return read_photo(file.read_bytes()).pixels


def fruit() -> Iterator[MaskedPhoto]:
    """The references of the shared fruit, each with one fruit; none if the folder is absent."""
    folder = SHARED / "fruit"
    for file in sorted(folder.glob("train/*/*.jpg")):
        mask = folder / "train_masks" / file.parent.name / f"{file.stem}.png"
        yield _with_mask(file, mask)


def balloons() -> Iterator[MaskedPhoto]:
    """The shared photos of balloons, often several in a photo; none if the folder is absent."""
    for file in sorted((SHARED / "balloons").glob("*/images/*.jpg")):
        yield _with_mask(file, file.parent.parent / "masks" / f"{file.stem}.png")


def _with_mask(file: Path, mask: Path) -> MaskedPhoto:
    white = pixels.decode(mask.read_bytes()) > 127
    return MaskedPhoto(read(file), white.astype("float32"))
