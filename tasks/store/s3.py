"""The artifact store's S3 backend: this file, `s3_client` and `s3_errors` use boto3, no other.

Keys and endpoint come from boto3's own chain (``AWS_*``, ``AWS_ENDPOINT_URL_S3``, profiles, roles).
Error and log lines give codes and fixes only, and cut the chain of causes: see `s3_errors`.
"""

import logging
import mimetypes
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import exceptions as aws
from tenacity import Future, RetryCallState, RetryError, Retrying, retry_if_exception

from tasks.store.backend import Entry
from tasks.store.errors import StoreAccessError, StoreUnavailableError
from tasks.store.layout import PART
from tasks.store.s3_client import (
    OPENING_LIMITS,
    RUNNING_LIMITS,
    addressing_style,
    client_config,
    encryption_options,
    split_url,
)
from tasks.store.s3_errors import (
    ABSENT_CODES,
    ADDRESS,
    EXISTS_CODES,
    FAILURES,
    KEYS,
    ROOM,
    S3FailureError,
    code_of,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef, ListObjectsV2RequestTypeDef

log = logging.getLogger("synthset.store")

T = TypeVar("T")

OPENING_S = 5.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 4.0
# A write that the server fails at for so long does not pass by itself. rclone's server answers 500
# to a full disk; it also does so now and then when a folder is deleted during a write.
FULL_AFTER_S = 5.0

# A generator of its own: the jitter of pauses must not change a sequence that a seed determines.
_jitter = random.Random()


class S3Backend:
    """Objects below ``s3://bucket/prefix``. One client serves all threads.

    A call that fails for a passing reason (no connection, time-out, 5xx, slow-down, an incomplete
    answer) is repeated with growing pauses, for up to ``wait_s`` seconds after its first failure.
    A write that the server keeps answering with 500, although it answers reads, is given up within
    seconds: the disk is probably full.

    The first request is repeated for ``opening_s`` only, by default `OPENING_S`, so that a wrong
    endpoint is reported soon.

    Raises:
        StoreAccessError: bad address, no or wrong keys, no such bucket; within seconds.
        StoreUnavailableError: no answer from the endpoint, for ``opening_s``.
    """

    parallel = 16

    def __init__(self, url: str, wait_s: float = 90.0, opening_s: float | None = None) -> None:
        self._bucket, self._prefix = split_url(url)
        self._encryption = encryption_options()
        self.url = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        self._wait_s = OPENING_S if opening_s is None else opening_s
        self._down_since: float | None = None
        self._lock = threading.Lock()
        self._creates: bool | None = None
        try:
            self._client = self._connect()
        except ValueError:
            raise StoreAccessError(f"store {self.url} can't be opened: {ADDRESS}") from None
        except aws.BotoCoreError as error:
            line = f"store {self.url} can't be opened {S3FailureError(error)}"
            raise StoreAccessError(line) from None
        self._wait_s = wait_s

    def get(self, name: str) -> bytes | None:
        """Return the bytes of an object; None if there is no such object."""
        key = self._prefix + name
        return self._call(
            f"reading {name}",
            lambda: self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read(),
        )

    def put(self, name: str, blob: bytes) -> None:
        """Write an object; S3 shows it whole or not at all."""
        key = self._prefix + name
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"

        def send() -> bool:
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=blob, ContentType=kind, **self._encryption
            )
            return True

        def check_room(failure: S3FailureError, failing_s: float) -> None:
            if failure.is_internal and failing_s >= FULL_AFTER_S and self._is_full_for(len(blob)):
                raise StoreAccessError(
                    f"store {self.url}: writing {name} failed ({failure.code}): the server answers"
                    f" but takes no {len(blob):,} bytes: its disk may be full or read-only;"
                    f" {ROOM}, and rerun"
                )

        if self._call(f"writing {name}", send, check_room) is None:
            raise StoreAccessError(f"store {self.url}: writing {name} failed (404): {ADDRESS}")

    def create(self, name: str, blob: bytes) -> bool | None:
        """Write an object, unless it exists; None if the server ignores that condition.

        The first object that this backend creates is sent twice: a server that takes it twice, such
        as rclone's, does not support conditional writes.
        """
        if self._creates is False:
            return None
        key = self._prefix + name

        def send() -> bool:
            try:
                self._client.put_object(
                    Bucket=self._bucket, Key=key, Body=blob, IfNoneMatch="*", **self._encryption
                )
            except aws.ClientError as error:
                if code_of(error) in EXISTS_CODES:
                    return False
                if code_of(error) == "NotImplemented":
                    self._creates = False
                    return False
                raise
            return True

        is_created = bool(self._call(f"writing {name}", send))
        if is_created and self._creates is None:
            self._creates = not self._call(f"writing {name}", send)
            if not self._creates:
                self.delete(name)
        if self._creates is False:
            log.warning("store %s has no conditional writes: workers use no leases", self.url)
            return None
        return is_created

    def size(self, name: str) -> int | None:
        """Return the size of an object in bytes; None if there is no such object."""
        key = self._prefix + name
        return self._call(
            f"looking for {name}",
            lambda: self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"],
        )

    def entries(self, prefix: str, unlisted: list[str] | None = None) -> Iterator[Entry]:
        """Yield the objects whose names start with ``prefix``, in the order of their names.

        A listing works as a whole or not at all: ``unlisted`` stays as it is.
        """
        token = ""
        while True:
            page = self._page(prefix, token)
            for item in page.get("Contents", ()):
                name = item["Key"].removeprefix(self._prefix)
                yield Entry(name, item["Size"], item["LastModified"].timestamp())
            token = page.get("NextContinuationToken", "")
            if not token:
                return

    def path(self, name: str) -> Path | None:
        """Return None: objects are no files."""
        return None

    def delete(self, name: str) -> None:
        """Delete an object; do nothing if there is no such object."""
        key = self._prefix + name
        self._call(
            f"deleting {name}", lambda: self._client.delete_object(Bucket=self._bucket, Key=key)
        )

    def _is_full_for(self, size: int) -> bool:
        """Whether the server answers a listing but fails to take ``size`` bytes under a new name.

        Each request is sent once: a store that is unreachable is not full.
        """
        probe = f"{self._prefix}.room.{secrets.token_hex(8)}{PART}"
        try:
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        except FAILURES:
            return False
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=probe, Body=bytes(size), **self._encryption
            )
        except FAILURES as error:
            return S3FailureError(error).is_internal
        finally:
            with suppress(*FAILURES):
                self._client.delete_object(Bucket=self._bucket, Key=probe)
        return False

    def _page(self, prefix: str, token: str, limit: int = 1000) -> "ListObjectsV2OutputTypeDef":
        request: ListObjectsV2RequestTypeDef = {
            "Bucket": self._bucket,
            "Prefix": self._prefix + prefix,
            "MaxKeys": limit,
        }
        if token:
            request["ContinuationToken"] = token
        page = self._call(
            f"listing {prefix or 'the store'}", lambda: self._client.list_objects_v2(**request)
        )
        if page is None:
            raise StoreAccessError(f"store {self.url}: listing failed (404): {ADDRESS}")
        return page

    def _connect(self) -> "S3Client":
        """Return a client, after one with short time-outs has checked bucket, keys and endpoint."""
        session = botocore.session.get_session()
        factory = boto3.Session(botocore_session=session)
        self._client = factory.client("s3", config=client_config("path", *OPENING_LIMITS))
        endpoint = urlsplit(self._client.meta.endpoint_url)
        if endpoint.username is not None:
            raise StoreAccessError(
                f"store {self.url} can't be opened: there is a user or a password in"
                f" AWS_ENDPOINT_URL_S3; remove it and {KEYS}"
            )
        style = addressing_style(session, endpoint.hostname or "")
        if style != "path":
            self._client = factory.client("s3", config=client_config(style, *OPENING_LIMITS))
        self._page("", "", limit=1)
        return factory.client("s3", config=client_config(style, *RUNNING_LIMITS))

    def _call(
        self,
        action: str,
        call: Callable[[], T],
        on_failure: Callable[[S3FailureError, float], None] = lambda _failure, _failing_s: None,
    ) -> T | None:
        """Return what ``call`` returns, after retries; None if S3 has no such object.

        ``on_failure`` gets every passing failure, and for how many seconds the call has been
        failing. It may raise.
        """
        failing_since: float | None = None

        def attempt() -> T | None:
            nonlocal failing_since
            began = time.monotonic()
            try:
                result = call()
            except FAILURES as error:
                if code_of(error) in ABSENT_CODES:
                    return None
                failure = S3FailureError(error)
            else:
                self._note_answer(began)
                return result
            failing_since = failing_since or time.monotonic()
            raise failure

        def failing_s() -> float:
            return time.monotonic() - (failing_since or time.monotonic())

        def note_failure(state: RetryCallState) -> None:
            failure = _failure_of(state.outcome)
            on_failure(failure, failing_s())
            self._note_outage(failure)

        retrying = Retrying(
            retry=retry_if_exception(_is_passing),
            stop=lambda _: failing_s() >= self._wait_s,
            wait=lambda state: min(_pause_s(state), max(self._wait_s - failing_s(), 0.0)),
            before_sleep=note_failure,
        )
        try:
            return retrying(attempt)
        except S3FailureError as failure:
            raise StoreAccessError(f"store {self.url}: {action} failed {failure}") from None
        except RetryError as error:
            line = f"{action} failed for {failing_s():.0f} s {_failure_of(error.last_attempt)}"
            raise StoreUnavailableError(f"store {self.url}: {line}") from None

    def _note_outage(self, failure: S3FailureError) -> None:
        with self._lock:
            if self._down_since is not None:
                return
            self._down_since = time.monotonic()
        log.warning(
            "store %s does not answer (%s); retrying for up to %.0f s. Meanwhile: %s",
            self.url,
            failure.code,
            self._wait_s,
            failure.fix,
        )

    def _note_answer(self, began: float) -> None:
        """Log the end of an outage. A call that began before it was noticed proves no end."""
        with self._lock:
            since = self._down_since
            if since is None or began < since:
                return
            self._down_since = None
        log.warning("store %s answers again after %.0f s", self.url, time.monotonic() - since)


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, S3FailureError) and error.is_passing


def _failure_of(outcome: Future | None) -> S3FailureError:
    failure = None if outcome is None else outcome.exception()
    assert isinstance(failure, S3FailureError)
    return failure


def _pause_s(state: RetryCallState) -> float:
    pause_s = min(_FIRST_PAUSE_S * 2.0 ** min(state.attempt_number - 1, 10), _LONGEST_PAUSE_S)
    return pause_s * _jitter.uniform(0.8, 1.2)
