"""The artifact store's S3 backend: the only file that knows boto3.

Keys and endpoint come from boto3's own chain (``AWS_*``, ``AWS_ENDPOINT_URL_S3``, profiles, roles).
No error or log line of this file repeats the words of the server or of botocore, because those can
hold a key or a token: it gives the error's code and the mend, and cuts the chain of causes.
"""

import logging
import mimetypes
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import exceptions as aws
from botocore.config import Config
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from tasks.store.backend import Entry, StoreRefused, StoreUnavailable
from tasks.store.layout import PART

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef, ListObjectsV2RequestTypeDef

log = logging.getLogger("synthset.store")

T = TypeVar("T")
Style = Literal["auto", "virtual", "path"]

OPENING_S = 5.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 4.0
# A write that fails inside the server for so long is no passing trouble: rclone's server answers
# 500 once in a while, where a folder is removed beside a write, and it answers 500 to a full disk.
FULL_AFTER_S = 5.0

# Seconds to connect, seconds without a byte, and tries of botocore's own per call.
_IMPATIENT = (3.0, 10.0, 1)
_PATIENT = (5.0, 60.0, 2)

_ENDPOINT = "check that the endpoint is up, and AWS_ENDPOINT_URL_S3"
_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_SESSION = "log in again, or mend AWS_SESSION_TOKEN"
_RIGHTS = "use a key that may list the bucket and get, put and delete objects in it"
_REGION = "set AWS_DEFAULT_REGION to the bucket's region"
_ROOM = "make room (synthset store gc) or raise the quota"
_ADDRESS = "mend AWS_ENDPOINT_URL_S3: http://host:port or https://host"
_UNKNOWN = "the endpoint refuses this request; its log says why"
_CERTIFICATE = "mend the endpoint's certificate, or name its authority in AWS_CA_BUNDLE"

# HEAD answers have no body, so botocore gives the bare status as their code.
_FINAL_CODES = {
    "InvalidAccessKeyId": "the endpoint does not know this key; mend AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret does not fit the key; mend AWS_SECRET_ACCESS_KEY",
    "InvalidToken": _SESSION,
    "ExpiredToken": _SESSION,
    "RequestTimeTooSkewed": "set this machine's clock",
    "NoSuchBucket": "there is no such bucket; create it, or mend its name in the store's address",
    "InvalidBucketName": "mend the bucket's name in the store's address",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "QuotaExceeded": _ROOM,
    "XMinioStorageFull": _ROOM,
    "507": _ROOM,
    "AccessDenied": _RIGHTS,
    "403": _RIGHTS,
    "401": _KEYS,
    "400": "log in again if the keys are temporary; otherwise the endpoint's log says why",
}
_PASSING_CODES = {
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "OperationAborted",
}
_ABSENT_CODES = {"404", "NoSuchKey"}

_FINAL_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (aws.NoCredentialsError, _KEYS),
    (aws.PartialCredentialsError, _KEYS),
    (aws.ProfileNotFound, "mend AWS_PROFILE: there is no such profile"),
    (aws.EndpointProviderError, _ADDRESS),
    (aws.ParamValidationError, "mend the bucket's name in the store's address"),
)
_PASSING_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (aws.SSLError, _CERTIFICATE),
    (aws.CredentialRetrievalError, _KEYS),
    (aws.MetadataRetrievalError, _KEYS),
    (aws.ConnectionError, _ENDPOINT),
    (aws.HTTPClientError, _ENDPOINT),
    (aws.IncompleteReadError, _ENDPOINT),
    (ResponseParserError, f"what answers does not speak S3; {_ADDRESS}"),
    (HTTPError, _ENDPOINT),
    (OSError, _ENDPOINT),
)
_FAILURES = (aws.ClientError, aws.BotoCoreError, ResponseParserError, HTTPError, OSError)


class S3Backend:
    """Objects below ``s3://bucket/prefix``. One client serves all threads.

    Under every call lie botocore's own tries (mode "standard"). A call that still fails for a
    passing reason (no connection, time-out, 5xx, slow-down, an answer cut short) is tried again,
    with growing pauses, until ``patience_s`` after its first failure: that long an endpoint may be
    down.

    A write to which the server keeps answering 500, while it answers reads and takes no other bytes
    either, is given up within seconds: waiting makes no room on a disk.

    Only the first look has a patience of its own, ``opening_s``: whoever is about to start work
    wants to hear of a wrong endpoint at once, and who is at work waits as with any other call.

    Raises:
        StoreRefused: bad address, no or wrong keys, no such bucket; within seconds.
        StoreUnavailable: nothing answers at the endpoint, for ``opening_s``.
    """

    parallel = 16

    def __init__(self, url: str, patience_s: float = 90.0, opening_s: float = OPENING_S) -> None:
        self._bucket, self._prefix = _split(url)
        self.url = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        self._patience_s = opening_s
        self._down_since: float | None = None
        self._lock = threading.Lock()
        try:
            self._client = self._connect()
        except ValueError:
            raise StoreRefused(f"store {self.url} can't be opened: {_ADDRESS}") from None
        except aws.BotoCoreError as error:
            raise StoreRefused(self._line("can't be opened", _diagnose(error))) from None
        self._patience_s = patience_s

    def get(self, name: str) -> bytes | None:
        """The bytes of an object; None if it is not there."""
        key = self._prefix + name

        def fetch() -> bytes:
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

        return self._call(f"reading {name}", fetch)

    def put(self, name: str, blob: bytes) -> None:
        """Write an object; S3 shows it whole or not at all."""
        key = self._prefix + name
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"

        def send() -> bool:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=blob, ContentType=kind)
            return True

        def give_up(trouble: "_Trouble", failing_s: float) -> None:
            if trouble.inside and failing_s >= FULL_AFTER_S and self._is_full_for(len(blob)):
                raise StoreRefused(
                    f"store {self.url}: writing {name} failed ({trouble.code}): the server answers"
                    f" but takes no {len(blob):,} bytes: its disk may be full or read-only;"
                    f" {_ROOM}, and rerun"
                )

        if self._call(f"writing {name}", send, give_up) is None:
            raise StoreRefused(f"store {self.url}: writing {name} failed (404): {_ADDRESS}")

    def size(self, name: str) -> int | None:
        """The bytes of an object; None if it is not there."""
        key = self._prefix + name

        def look() -> int:
            return self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]

        return self._call(f"looking for {name}", look)

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The objects whose names start with ``prefix``, in the order of their names."""
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
        """None: objects are no files."""
        return None

    def delete(self, name: str) -> None:
        """Remove an object if it is there."""
        key = self._prefix + name

        def remove() -> None:
            self._client.delete_object(Bucket=self._bucket, Key=key)

        self._call(f"deleting {name}", remove)

    def _is_full_for(self, size: int) -> bool:
        """Whether the store can be read but fails to take so many bytes, under whatever name.

        Asked once each, without patience: a store that is away is not full.
        """
        probe = f"{self._prefix}.room.{secrets.token_hex(8)}{PART}"
        try:
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        except _FAILURES:
            return False
        try:
            self._client.put_object(Bucket=self._bucket, Key=probe, Body=bytes(size))
        except _FAILURES as error:
            return _diagnose(error).inside
        finally:
            with suppress(*_FAILURES):
                self._client.delete_object(Bucket=self._bucket, Key=probe)
        return False

    def _page(self, prefix: str, token: str, limit: int = 1000) -> "ListObjectsV2OutputTypeDef":
        start = self._prefix + prefix
        ask: ListObjectsV2RequestTypeDef = {
            "Bucket": self._bucket,
            "Prefix": start,
            "MaxKeys": limit,
        }
        if token:
            ask["ContinuationToken"] = token

        def fetch() -> "ListObjectsV2OutputTypeDef":
            return self._client.list_objects_v2(**ask)

        page = self._call(f"listing {prefix or 'the store'}", fetch)
        if page is None:
            raise StoreRefused(f"store {self.url}: listing failed (404): {_ADDRESS}")
        return page

    def _connect(self) -> "S3Client":
        """A client for the run, after an impatient one has found bucket, keys and endpoint good."""
        session = botocore.session.get_session()
        factory = boto3.Session(botocore_session=session)
        self._client = factory.client("s3", config=_config("path", *_IMPATIENT))
        endpoint = urlsplit(self._client.meta.endpoint_url)
        if endpoint.username is not None:
            raise StoreRefused(
                f"store {self.url} can't be opened: there is a user or a password in"
                f" AWS_ENDPOINT_URL_S3; take it out and {_KEYS}"
            )
        style = _addressing_style(session, endpoint.hostname or "")
        if style != "path":
            self._client = factory.client("s3", config=_config(style, *_IMPATIENT))
        self._page("", "", limit=1)
        return factory.client("s3", config=_config(style, *_PATIENT))

    def _call(
        self,
        doing: str,
        call: Callable[[], T],
        give_up: "Callable[[_Trouble, float], None] | None" = None,
    ) -> T | None:
        """What ``call`` returns, after as many tries as it takes; None if S3 says: not there.

        ``give_up`` is told of every passing trouble, and for how many seconds there has been one;
        it may raise.
        """
        failing_since: float | None = None
        pause_s = _FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                result = call()
            except _FAILURES as error:
                if _code(error) in _ABSENT_CODES:
                    return None
                trouble = _diagnose(error)
            else:
                self._note_answer(began)
                return result
            now = time.monotonic()
            failing_since = now if failing_since is None else failing_since
            if not trouble.passing:
                raise StoreRefused(self._line(f"{doing} failed", trouble))
            if give_up is not None:
                give_up(trouble, now - failing_since)
            patience_s = failing_since + self._patience_s - now
            if patience_s <= 0:
                waited = f"{doing} failed for {now - failing_since:.0f} s"
                raise StoreUnavailable(self._line(waited, trouble))
            self._note_outage(trouble)
            time.sleep(min(pause_s * _jitter.uniform(0.8, 1.2), patience_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _line(self, what: str, trouble: "_Trouble") -> str:
        return f"store {self.url}: {what} ({trouble.code}): {trouble.mend}"

    def _note_outage(self, trouble: "_Trouble") -> None:
        with self._lock:
            if self._down_since is not None:
                return
            self._down_since = time.monotonic()
        log.warning(
            "store %s does not answer (%s); trying for up to %.0f s. Meanwhile: %s",
            *(self.url, trouble.code, self._patience_s, trouble.mend),
        )

    def _note_answer(self, began: float) -> None:
        """Only a call that began after the outage was noticed tells that the outage is over."""
        with self._lock:
            since = self._down_since
            if since is None or began < since:
                return
            self._down_since = None
        log.warning("store %s answers again after %.0f s", self.url, time.monotonic() - since)


class _Trouble(NamedTuple):
    """A failed call: whether it may pass, whether the server itself failed at it, and the mend."""

    passing: bool
    code: str
    mend: str
    inside: bool = False


# An own generator: the jitter of the pauses must not disturb a seed that someone gave to `random`.
_jitter = random.Random()


def _config(style: Style, connect_s: float, read_s: float, attempts: int) -> Config:
    return Config(
        connect_timeout=connect_s,
        read_timeout=read_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        s3={"addressing_style": style},
        max_pool_connections=64,
        tcp_keepalive=True,
        user_agent_extra="synthset",
        # Many S3-compatible stores refuse the checksum trailers that botocore has sent since 1.36;
        # the artifact's digest does their work.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _addressing_style(session: botocore.session.Session, host: str) -> Style:
    """What ``~/.aws/config`` says; else path style for other endpoints than Amazon's, whose host
    name seldom resolves with a bucket in front."""
    configured = session.get_scoped_config().get("s3")
    style = configured.get("addressing_style") if isinstance(configured, dict) else None
    if style in ("virtual", "path"):
        return cast(Style, style)
    return "auto" if "amazonaws" in host else "path"


def _split(url: str) -> tuple[str, str]:
    bucket, _, path = url.removeprefix("s3://").partition("/")
    if "@" in bucket:
        raise StoreRefused(
            "there is a user or a password in the store's address; use s3://bucket/prefix and"
            f" {_KEYS}"
        )
    parts = path.strip("/").split("/") if path.strip("/") else []
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]", bucket):
        raise StoreRefused(f"store {url!r}: {bucket!r} is no bucket's name; use s3://bucket/prefix")
    if any(not re.fullmatch(r"(?!\.\.?$)[\w .=+@-]+", part) for part in parts):
        raise StoreRefused(
            f"store {url!r}: use plain letters in the prefix; use s3://bucket/prefix"
        )
    return bucket, "".join(f"{part}/" for part in parts)


def _code(error: BaseException) -> str:
    """The S3 error code or the exception's name; never a text that the server wrote freely."""
    if isinstance(error, aws.ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        return code if re.fullmatch(r"[A-Za-z0-9.]{1,60}", code) else str(_status(error))
    return type(error).__name__


def _status(error: aws.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _diagnose(error: BaseException) -> _Trouble:
    code = _code(error)
    if isinstance(error, aws.ClientError):
        status = _status(error)
        if code in _FINAL_CODES:
            return _Trouble(False, code, _FINAL_CODES[code])
        away = status >= 500 and status not in (501, 507)
        if status in (408, 429) or away or code in _PASSING_CODES:
            return _Trouble(True, code, _ENDPOINT, inside=status == 500)
        return _Trouble(False, code, _FINAL_CODES.get(str(status), _UNKNOWN))
    for passing, table in ((False, _FINAL_FAILURES), (True, _PASSING_FAILURES)):
        for kind, mend in table:
            if isinstance(error, kind):
                return _Trouble(passing, code, mend)
    return _Trouble(False, code, f"{_KEYS}; {_ENDPOINT}")
