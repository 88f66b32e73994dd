"""Which published files of a checkpoint are pulled, and under which names they are kept."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from models.checkpoints.catalog import CatalogEntry
from models.checkpoints.local import Manifest
from models.checkpoints.pull_source import Listing, Published, PullRefused

PICKLES = (".bin", ".pth", ".pt", ".ckpt")
TEXTS = (".json", ".txt", ".model", ".jinja", ".md")
# What the loaders of transformers and diffusers look for.
LOADERS_NAMES = {"pytorch_model": "model"}


@dataclass(frozen=True)
class Wanted:
    """A file to pull: the name it is kept under, and the sha256 that the catalog knows of it.

    ``preferred`` is false where the catalog would rather have another published file.
    """

    path: str
    file: Published
    known_sha256: str | None = None
    preferred: bool = True

    @property
    def converted(self) -> bool:
        """Whether the published file is no safetensors file and is converted."""
        return self.file.path.endswith(PICKLES)


def choose(checkpoint: str, known: CatalogEntry | None, listing: Listing) -> list[Wanted]:
    """The files to pull, small ones first.

    Raises:
        PullRefused: a needed file is not there, or a name or a kind of file is not safe to keep.
    """
    if listing.manifest is not None:
        _compare(known, listing.manifest)
        wanted = [Wanted(path, file) for path, file in listing.files.items()]
        if any(one.converted or one.path.endswith(".py") for one in wanted):
            raise PullRefused(f"{checkpoint}: a models folder keeps no pickles and no code")
    elif known is not None:
        wanted = [*_texts(known, listing), *(_weights(known, listing))]
    else:
        wanted = _everything(checkpoint, listing)
    for one in wanted:
        if not _is_below(one.path):
            raise PullRefused(f"{checkpoint}: {one.path!r} is no name of a file below its folder")
    return sorted(wanted, key=lambda one: (one.file.size or 0, one.path))


def _compare(known: CatalogEntry | None, manifest: Manifest) -> None:
    """Refuse a models folder that calls other weights by the catalog's revision."""
    if known is None or manifest.revision != known.revision:
        return
    for weights in known.weights:
        kept = manifest.files.get(weights.path)
        sha256 = (kept.converted_from or kept).sha256 if kept else None
        if kept is None and weights.alternative:
            continue
        if sha256 is None or weights.sha256 not in (None, sha256):
            raise PullRefused(
                f"{known.id}: {weights.path} there is not that of revision {known.revision};"
                " use another source"
            )


def _texts(known: CatalogEntry, listing: Listing) -> list[Wanted]:
    found: dict[str, Published] = {}
    for pattern in known.files:
        matches = {
            path: file
            for path, file in listing.files.items()
            if fnmatchcase(path, pattern) and path.count("/") == pattern.count("/")
        }
        if not matches and "*" not in pattern:
            raise _lacks(known.id, listing, pattern)
        found |= {path: file for path, file in matches.items() if not path.endswith(".index.json")}
    return [Wanted(path, file) for path, file in found.items()]


def _weights(known: CatalogEntry, listing: Listing) -> list[Wanted]:
    wanted = []
    for weights in known.weights:
        here = [path for path in weights.choices if path in listing.files]
        if not here and weights.alternative:
            continue
        if not here:
            raise _lacks(known.id, listing, weights.choices[0])
        preferred = here[0] == weights.choices[0]
        sha256 = weights.sha256 if preferred else None
        wanted.append(Wanted(weights.path, listing.files[here[0]], sha256, preferred))
    if not wanted:
        raise _lacks(known.id, listing, " or ".join(one.path for one in known.weights))
    return wanted


def _everything(checkpoint: str, listing: Listing) -> list[Wanted]:
    """Of a checkpoint that the catalog does not know: texts, safetensors, and else pickles."""
    safe = {path for path in listing.files if path.endswith(".safetensors")}
    folders = {_folder(path) for path in safe}
    wanted = [
        Wanted(path, file)
        for path, file in listing.files.items()
        if path in safe or (path.endswith(TEXTS) and not path.startswith("."))
    ]
    for path, file in listing.files.items():
        if path.endswith(PICKLES) and _folder(path) not in folders:
            stem = PurePosixPath(path).stem
            name = f"{LOADERS_NAMES.get(stem, stem)}.safetensors"
            wanted.append(Wanted(str(PurePosixPath(path).with_name(name)), file))
    if not any(one.path.endswith(".safetensors") for one in wanted):
        raise PullRefused(f"{checkpoint}: no weights there (.safetensors, or {', '.join(PICKLES)})")
    return wanted


def _lacks(checkpoint: str, listing: Listing, path: str) -> PullRefused:
    where = f" in revision {listing.revision}" if listing.revision else ""
    return PullRefused(f"{checkpoint}: no {path}{where}; use another source, or another revision")


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _is_below(path: str) -> bool:
    parts = path.split("/")
    return "\\" not in path and all(part not in ("", ".", "..") for part in parts)
