"""Pull checkpoints from the hub, or from a mirror of it, through huggingface_hub.

Three checkpoints of the catalog are single files outside the hub's repositories. They are fetched
by URL and verified in the same way.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm.auto import tqdm

from models.checkpoints.catalog import CatalogEntry, entry, successor
from models.checkpoints.choose_files import SourceFile, WantedFile, choose_files
from models.checkpoints.errors import CheckpointMissingError, PullFailedError, PullRefusedError
from models.checkpoints.local import LOCAL, PULL, describe_unknown, revisions, split
from models.checkpoints.publish import (
    Delivery,
    PulledCheckpoint,
    find_verified,
    publish,
    use_revision,
)
from models.checkpoints.verify import ProgressCallback
from models.data.settings import restrict_libraries, settings

HUB = "https://huggingface.co"
RELEASES = "https://github.com"
TIMEOUT_S = 30.0
POLL_S = 0.5
OTHER_SOURCES = "set HF_ENDPOINT to a mirror, or give --from FOLDER"
OTHER_RELEASES = "set SYNTHSET_RELEASES to a mirror, or give --from FOLDER"


def pull(
    reference: str, progress: ProgressCallback, endpoint: str | None = None
) -> PulledCheckpoint:
    """Bring a checkpoint into the models folder and verify it.

    A checkpoint that is here already is only verified, without the network. Without a revision the
    reference means the catalog's; where the catalog has none, the one that this models folder uses,
    and at first the newest.

    Args:
        reference: ``id`` or ``id@revision``.
        progress: receives the bytes done, the bytes of all files, and what is being done.
        endpoint: URL of a mirror; by default $HF_ENDPOINT, or huggingface.co.

    Raises:
        CheckpointMissingError: the id is unknown.
        PullRefusedError: the hub does not have it, or the models folder can't be written.
        PullFailedError: the hub did not answer or sent wrong bytes, or the disk is full.
    """
    checkpoint, explicit = split(reference)
    known = entry(checkpoint)
    if known is None:
        raise CheckpointMissingError(describe_unknown(checkpoint))
    revision = explicit or known.revision or _used_revision(checkpoint)
    names = {weights.path for weights in known.weights}
    pulled = find_verified(checkpoint, revision, names, progress)
    if pulled is None:
        hub = _Hub(known, (endpoint or settings().hf_endpoint or HUB).rstrip("/"), progress)
        pulled = hub.pull(revision)
    use_revision(pulled, known, explicit is not None)
    return pulled


@dataclass(frozen=True)
class _Hub:
    """A hub that one checkpoint is pulled from."""

    known: CatalogEntry
    endpoint: str
    progress: ProgressCallback

    def pull(self, revision: str | None) -> PulledCheckpoint:
        restrict_libraries()
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        if all(weights.url for weights in self.known.weights):
            return self._pull_released(revision)
        with self._errors_in_one_line(self.endpoint, OTHER_SOURCES):
            commit, files = self._list_files(revision or "main")
        wanted = choose_files(self.known.id, self.known, files)
        delivery = Delivery(self.known.id, self.known, commit, self.endpoint, wanted)
        fetch = lambda missing, folder: self._fetch_snapshot(commit, missing, folder)  # noqa: E731
        return publish(delivery, fetch, self.progress)

    def _list_files(self, revision: str) -> tuple[str, dict[str, SourceFile]]:
        """The commit of a revision, and its files with the checksums that the hub states."""
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint, library_name="synthset")
        info = api.model_info(
            self.known.id, revision=revision, files_metadata=True, timeout=TIMEOUT_S
        )
        commit = str(info.sha)
        if len(revision) == 40 and commit != revision:
            raise PullRefusedError(
                f"{self.endpoint} gives commit {commit} of {self.known.id} for {revision};"
                f" {OTHER_SOURCES}"
            )
        files = {}
        for file in info.siblings or ():
            checksum = file.lfs.sha256 if file.lfs else file.blob_id
            files[file.rfilename] = SourceFile(file.rfilename, file.size, checksum)
        return commit, files

    def _fetch_snapshot(
        self, commit: str, missing: Sequence[WantedFile], folder: Path
    ) -> list[Path]:
        from huggingface_hub import snapshot_download

        paths = [file.source.path for file in missing]
        total = sum(file.source.size or 0 for file in missing)

        def download(bar: type[Any]) -> None:
            snapshot_download(
                self.known.id,
                revision=commit,
                allow_patterns=paths,
                local_dir=folder,
                endpoint=self.endpoint,
                library_name="synthset",
                tqdm_class=bar,
            )

        if paths:
            with self._errors_in_one_line(self.endpoint, OTHER_SOURCES):
                self._run_download(download, folder, total)
        return [folder / path for path in paths]

    def _pull_released(self, revision: str | None) -> PulledCheckpoint:
        """Pull files that are published outside the hub's repositories, each at its URL."""
        known = self.known
        if revision != known.revision:
            raise PullRefusedError(
                f"{known.id} has one revision, {known.revision}; leave --revision out"
            )
        wanted, urls = [], {}
        for weights in known.weights:
            name = weights.choices[0]
            urls[name] = str(weights.url)
            wanted.append(WantedFile(weights.path, SourceFile(name, weights.size, weights.sha256)))

        def fetch(missing: Sequence[WantedFile], folder: Path) -> list[Path]:
            return [self._fetch_url(urls[file.source.path], file, folder) for file in missing]

        source = urlsplit(urls[wanted[0].source.path]).netloc
        return publish(Delivery(known.id, known, revision, source, wanted), fetch, self.progress)

    def _fetch_url(self, url: str, file: WantedFile, folder: Path) -> Path:
        from huggingface_hub.file_download import http_get

        hint = OTHER_RELEASES if url.startswith(RELEASES) else OTHER_SOURCES
        releases = (settings().releases or RELEASES).rstrip("/")
        mirrored = url.replace(RELEASES, releases, 1).replace(HUB, self.endpoint, 1)
        target = folder / file.source.path
        part = target.with_name(f"{target.name}.incomplete")
        folder.mkdir(parents=True, exist_ok=True)

        def download(bar: type[Any]) -> None:
            with part.open("wb") as stream:
                http_get(mirrored, stream, tqdm_class=bar)

        if not target.is_file():
            with self._errors_in_one_line(mirrored, hint):
                self._run_download(download, folder, file.source.size or self.known.size)
            part.replace(target)
        return target

    def _run_download(
        self, download: Callable[[type[Any]], None], folder: Path, total: int
    ) -> None:
        """Run a download in a thread, report the bytes in its folder, and stop it on Ctrl-C.

        huggingface_hub waits for all its threads before it lets an exception pass. The progress
        bar is the one place where they call code of ours, so it is there that they are stopped.
        """
        is_cancelled = threading.Event()

        class SilentBar(tqdm):  # type: ignore[type-arg]
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **{**options, "disable": True})

            def update(self, n: float | None = 1) -> None:
                if is_cancelled.is_set():
                    raise PullFailedError("the download was cancelled; run it again")

        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(download, SilentBar)
            try:
                while wait([future], POLL_S).not_done:
                    done = sum(_size_of(path) for path in folder.rglob("*"))
                    self.progress(min(done, total), max(total, 1), "downloading")
                future.result()
            except BaseException:
                is_cancelled.set()
                raise

    @contextlib.contextmanager
    def _errors_in_one_line(self, url: str, hint: str) -> Iterator[None]:
        from huggingface_hub import errors

        checkpoint, host = self.known.id, urlsplit(url).netloc
        try:
            yield
        except errors.OfflineModeIsEnabled:
            raise PullRefusedError(
                "HF_HUB_OFFLINE is set; unset it, or give --from FOLDER"
            ) from None
        except errors.RevisionNotFoundError:
            raise PullRefusedError(
                f"{checkpoint}: {host} does not have this revision; name another --revision, {hint}"
            ) from None
        except errors.HfHubHTTPError as error:
            raise self._refusal(error.response.status_code, url, hint) from None
        except (PullRefusedError, PullFailedError):
            raise
        except Exception as error:
            # An error of this machine, such as a full disk; those of HTTP have no errno.
            if isinstance(error, OSError) and error.errno:
                raise
            raise PullFailedError(
                f"{checkpoint}: {host} does not answer as a hub or broke off"
                f" ({type(error).__name__}); run it again: {PULL} {checkpoint}, {hint}"
            ) from None

    def _refusal(self, status: int, url: str, hint: str) -> Exception:
        checkpoint = self.known.id
        instead = successor(checkpoint)
        fix = f"it was withdrawn, use {instead}" if instead else hint
        if status in (401, 403) and url == self.endpoint:
            fix = f"accept its terms at {HUB}/{checkpoint} and set HF_TOKEN to your token"
        if status in (401, 403, 404):
            verb = "does not have" if status == 404 else "refuses"
            return PullRefusedError(f"{url} {verb} {checkpoint} ({status}); {fix}")
        return PullFailedError(f"{url} answers {status} for {checkpoint}; try later, or {hint}")


def _used_revision(checkpoint: str) -> str | None:
    """The published revision that this models folder uses."""
    revision = revisions().get(checkpoint)
    return None if revision is None or revision.startswith(LOCAL) else revision


def _size_of(path: Path) -> int:
    """Bytes of a file, 0 if it was renamed meanwhile."""
    with contextlib.suppress(OSError):
        return path.stat().st_size if path.is_file() else 0
    return 0
