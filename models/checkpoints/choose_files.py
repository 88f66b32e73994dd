"""Which published files of a checkpoint are needed, and under which names they are kept."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from models.checkpoints.catalog import CatalogEntry
from models.checkpoints.errors import PullRefusedError
from models.checkpoints.local import Origin

PICKLES = (".bin", ".pth", ".pt", ".ckpt")
TEXTS = (".json", ".txt", ".model", ".jinja", ".md")
# Names that the loaders of transformers expect.
LOADER_NAMES = {"pytorch_model": "model"}


@dataclass(frozen=True)
class SourceFile:
    """A published file: its path in the repository, and what the source states about it.

    ``checksum`` is a sha256 (64 hex digits), or git's sha1 of a small file (40 hex digits).
    ``location`` is where the file lies on this machine, if it does. ``commit`` is the revision that
    a file of a folder is from, where the folder states it.
    """

    path: str
    size: int | None = None
    checksum: str | None = None
    location: Path | None = None
    commit: str | None = None


@dataclass(frozen=True)
class WantedFile:
    """A file to pull and the name it is kept under.

    ``is_preferred`` is false if the catalog prefers another published file; the catalog's sha256 is
    that of the preferred one. ``converted_from`` is set if another machine converted the file.
    """

    name: str
    source: SourceFile
    is_preferred: bool = True
    converted_from: Origin | None = None

    @property
    def is_pickle(self) -> bool:
        """Whether the file is converted to safetensors."""
        return self.source.path.endswith(PICKLES)

    @property
    def stated_sha256(self) -> str | None:
        """The sha256 of the published file, as the source states it."""
        if self.converted_from is not None:
            return self.converted_from.sha256
        checksum = self.source.checksum
        return checksum if checksum is not None and len(checksum) == 64 else None


def choose_files(
    checkpoint: str, known: CatalogEntry | None, files: dict[str, SourceFile]
) -> list[WantedFile]:
    """The files to pull, small ones first.

    Args:
        checkpoint: id without revision.
        known: the catalog's entry. Without one, all texts and all weights are taken.
        files: the published files by path.

    Raises:
        PullRefusedError: a needed file is missing, or its name leads outside the folder.
    """
    if known is None:
        wanted = _all_files(checkpoint, files)
    else:
        wanted = [*_texts(known, files), *_weights(known, files)]
    require_safe_names(checkpoint, wanted)
    return sorted(wanted, key=lambda file: (file.source.size or 0, file.name))


def require_safe_names(checkpoint: str, wanted: list[WantedFile]) -> None:
    """Refuse a file name that leads outside the checkpoint's folder, and code.

    Raises:
        PullRefusedError: names the first such file.
    """
    for file in wanted:
        parts = file.name.split("/")
        if "\\" in file.name or any(part in ("", ".", "..") for part in parts):
            raise PullRefusedError(
                f"{checkpoint}: file name {file.name!r} leads outside its folder; use another"
                " source"
            )
        if not file.name.endswith((".safetensors", *TEXTS)):
            raise PullRefusedError(
                f"{checkpoint}: {file.name} is neither weights nor text; remove it"
            )


def _texts(known: CatalogEntry, files: dict[str, SourceFile]) -> list[WantedFile]:
    found: dict[str, SourceFile] = {}
    for pattern in known.files:
        matches = {
            path: file
            for path, file in files.items()
            if fnmatchcase(path, pattern) and path.count("/") == pattern.count("/")
        }
        if not matches and "*" not in pattern:
            raise _missing(known.id, pattern)
        found |= {path: file for path, file in matches.items() if not path.endswith(".index.json")}
    return [WantedFile(path, file) for path, file in found.items()]


def _weights(known: CatalogEntry, files: dict[str, SourceFile]) -> list[WantedFile]:
    wanted = []
    for weights in known.weights:
        present = [path for path in weights.choices if path in files]
        if present:
            is_preferred = present[0] == weights.choices[0]
            wanted.append(WantedFile(weights.path, files[present[0]], is_preferred))
        elif not weights.alternative:
            raise _missing(known.id, weights.choices[0])
    if not wanted:
        raise _missing(known.id, " or ".join(weights.path for weights in known.weights))
    return wanted


def _all_files(checkpoint: str, files: dict[str, SourceFile]) -> list[WantedFile]:
    """All texts and safetensors files, and the pickles of folders without safetensors."""
    weights = [path for path in files if path.endswith(".safetensors")]
    texts = [path for path in files if path.endswith(TEXTS) and not path.startswith(".")]
    wanted = [WantedFile(path, files[path]) for path in (*texts, *weights)]
    folders = {PurePosixPath(path).parent for path in weights}
    for name in files:
        path = PurePosixPath(name)
        if path.suffix in PICKLES and path.parent not in folders:
            stem = LOADER_NAMES.get(path.stem, path.stem)
            wanted.append(WantedFile(str(path.with_name(f"{stem}.safetensors")), files[name]))
    if len(wanted) == len(texts):
        endings = ", ".join((".safetensors", *PICKLES))
        raise PullRefusedError(f"{checkpoint}: the source has no weights ({endings}); use another")
    return wanted


def _missing(checkpoint: str, path: str) -> PullRefusedError:
    return PullRefusedError(
        f"{checkpoint}: the source has no {path}; use another source, or another --revision"
    )
