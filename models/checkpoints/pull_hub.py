"""Checkpoints from the hub or a mirror of it, and files from the releases of repositories.

Listings and sums come through huggingface_hub, which knows tokens and endpoints. The bytes are
read here: that library begins a file anew after an interruption.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from models.checkpoints.catalog import CatalogEntry, successor
from models.checkpoints.pull_source import (
    Interrupted,
    Listing,
    NothingThere,
    Published,
    PullFailed,
    PullRefused,
)

HUB = "https://huggingface.co"
RELEASES = "https://github.com"
TIMEOUT_S = 30.0
ELSEWHERE = "set HF_ENDPOINT to a mirror, or give --from FOLDER"
RELEASED_ELSEWHERE = "set SYNTHSET_RELEASES to a mirror, or give --from FOLDER"


class HubSource:
    """The hub at ``endpoint`` ($HF_ENDPOINT, or huggingface.co).

    Released files outside the hub come from $SYNTHSET_RELEASES, or github.com.
    """

    is_folder = False

    def __init__(self, endpoint: str | None = None) -> None:
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        self.releases = (os.environ.get("SYNTHSET_RELEASES") or RELEASES).rstrip("/")
        self.name = self.endpoint

    def listing(self, checkpoint: str, revision: str | None, known: CatalogEntry | None) -> Listing:
        """The files of a commit with the hub's sums; ``revision`` may be a branch or a tag."""
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
            raise PullRefused("HF_HUB_OFFLINE is set; unset it, or give --from FOLDER")
        if known is not None and all(one.url for one in known.weights):
            return self._released(known, revision)
        info = self._ask(checkpoint, revision or "main")
        if not info.sha:
            raise PullFailed(f"{self.name} does not say which commit of {checkpoint} it has")
        if revision is not None and len(revision) == 40 and info.sha != revision:
            raise PullRefused(
                f"{self.name} gives commit {info.sha} of {checkpoint} for {revision}; {ELSEWHERE}"
            )
        files = [
            Published(
                path=one.rfilename,
                size=one.size,
                sha256=one.lfs.sha256 if one.lfs else None,
                blob=one.blob_id if one.lfs is None else None,
            )
            for one in info.siblings or ()
        ]
        return Listing(str(info.sha), {one.path: one for one in files})

    @contextlib.contextmanager
    def opened(
        self, checkpoint: str, listing: Listing, file: Published, start: int
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The bytes of a file from ``start`` on, over plain HTTP."""
        from huggingface_hub import get_session

        url = file.url or self._url(checkpoint, listing.revision or "main", file.path)
        headers = {**self._headers(url), "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with contextlib.ExitStack() as stack:
            try:
                answer = stack.enter_context(
                    get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S)
                )
            except (_transport_error(), OSError) as error:
                raise Interrupted(f"{_host(url)} does not answer") from error
            self._check(answer.status_code, url, f"{checkpoint}: {file.path}")
            yield (start if answer.status_code == 206 else 0), _chunks(answer, _host(url))

    def _ask(self, checkpoint: str, revision: str) -> Any:
        """The hub's record of a commit, with sizes and sums."""
        api_class, errors = _library()
        api = api_class(endpoint=self.endpoint, library_name="synthset")
        try:
            return api.model_info(
                checkpoint, revision=revision, files_metadata=True, timeout=TIMEOUT_S
            )
        except errors.RevisionNotFoundError:
            raise PullRefused(
                f"{self.name} has no revision {revision} of {checkpoint}; name another --revision,"
                f" {ELSEWHERE}"
            ) from None
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            raise self._refusal(status, self.endpoint, checkpoint) from None
        except (_transport_error(), OSError, ValueError, KeyError, TypeError) as error:
            raise PullFailed(
                f"{_host(self.endpoint)} does not answer as a hub ({type(error).__name__});"
                f" check the network, {ELSEWHERE}"
            ) from None

    def _check(self, status: int, url: str, what: str) -> None:
        """Raise unless the answer carries bytes of the file."""
        if status in (200, 206):
            return
        if status == 416:
            raise NothingThere
        if status in (408, 429) or status >= 500:
            raise Interrupted(f"{_host(url)} answers {status}")
        raise self._refusal(status, url, what)

    def _refusal(self, status: int, url: str, what: str) -> Exception:
        """The line for a status; ``what`` is a checkpoint, or ``checkpoint: file``."""
        checkpoint = what.partition(":")[0]
        instead = successor(checkpoint)
        hint = f"; it was withdrawn, use {instead}" if instead else ""
        released = url.startswith(f"{self.releases}/")
        where, elsewhere = (
            (self.releases, RELEASED_ELSEWHERE) if released else (self.name, ELSEWHERE)
        )
        if status in (401, 403) and released:
            return PullRefused(f"{where} refuses {what} ({status}); {elsewhere}")
        if status in (401, 403):
            mend = f"accept its terms at {HUB}/{checkpoint} and set HF_TOKEN to your token"
            return PullRefused(f"{where} refuses {what} ({status}): {mend}{hint}")
        if status == 404:
            return PullRefused(f"{where} has no {what} (404){hint or '; ' + elsewhere}")
        return PullFailed(f"{where} answers {status} for {what}; try later, or {elsewhere}")

    def _released(self, known: CatalogEntry, revision: str | None) -> Listing:
        if revision not in (None, known.revision):
            raise PullRefused(f"{known.id} has the one revision {known.revision}")
        files = {}
        for one in known.weights:
            path = one.choices[0]
            url = str(one.url).replace(RELEASES, self.releases, 1).replace(HUB, self.endpoint, 1)
            files[path] = Published(path, one.size, one.sha256, url=url)
        return Listing(known.revision, files)

    def _url(self, checkpoint: str, revision: str, path: str) -> str:
        return f"{self.endpoint}/{checkpoint}/resolve/{quote(revision, safe='')}/{quote(path)}"

    def _headers(self, url: str) -> dict[str, str]:
        """The token, for the hub only."""
        if not url.startswith(f"{self.endpoint}/"):
            return {}
        from huggingface_hub import get_token

        token = get_token()
        return {"Authorization": f"Bearer {token}"} if token else {}


def _library() -> tuple[Any, Any]:
    try:
        from huggingface_hub import HfApi, errors
    except ImportError:
        raise PullRefused(
            "pulling needs the extra of the networks: pip install 'synthset[diffusion]'"
        ) from None
    return HfApi, errors


def _transport_error() -> type[Exception]:
    """What the hub's HTTP client raises when a connection fails; its module changed its name."""
    from huggingface_hub.errors import HfHubHTTPError

    base: type[Exception] = HfHubHTTPError.__mro__[1]
    return base


def _chunks(answer: Any, host: str) -> Iterator[bytes]:
    try:
        # Without a size of its own it holds nothing back that a break would lose.
        yield from answer.iter_bytes()
    except (_transport_error(), OSError) as error:
        raise Interrupted(f"{host} broke the connection") from error


def _host(url: str) -> str:
    return urlsplit(url).netloc
