"""Addresses of S3 stores, and the settings of the client that reaches them."""

import re
from typing import TYPE_CHECKING, Literal, TypedDict, cast

import botocore.session
from botocore.config import Config

from models.data.settings import settings
from tasks.store.errors import StoreAccessError
from tasks.store.s3_errors import KEYS

if TYPE_CHECKING:
    from mypy_boto3_s3.literals import ServerSideEncryptionType

Style = Literal["auto", "virtual", "path"]

# Seconds to connect, seconds without a byte, and botocore's own tries per call.
OPENING_LIMITS = (3.0, 10.0, 1)
RUNNING_LIMITS = (5.0, 60.0, 2)


def client_config(style: Style, connect_s: float, read_s: float, attempts: int) -> Config:
    """Return botocore's settings for a client."""
    return Config(
        connect_timeout=connect_s,
        read_timeout=read_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        s3={"addressing_style": style},
        max_pool_connections=64,
        tcp_keepalive=True,
        user_agent_extra="synthset",
        # Many S3-compatible stores refuse the checksum trailers that botocore sends since 1.36. The
        # artifact's digest does their work.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


class EncryptionOptions(TypedDict, total=False):
    """The arguments of a write with which the server encrypts the object."""

    ServerSideEncryption: "ServerSideEncryptionType"
    SSEKMSKeyId: str


def encryption_options() -> EncryptionOptions:
    """Return how the server is to encrypt objects; empty: as the bucket's default says.

    Raises:
        StoreAccessError: a key of KMS is set together with another kind of encryption.
    """
    kind, key = settings().s3_sse, settings().s3_kms_key
    if key is None:
        return {} if kind is None else {"ServerSideEncryption": kind}
    if kind == "AES256":
        raise StoreAccessError(
            f"SYNTHSET_S3_KMS_KEY={key}: SYNTHSET_S3_SSE=AES256 uses no key; set it to aws:kms, or"
            " unset the key"
        )
    return {"ServerSideEncryption": kind or "aws:kms", "SSEKMSKeyId": key}


def addressing_style(session: botocore.session.Session, host: str) -> Style:
    """Return the style that ``~/.aws/config`` names; else path style, except for Amazon's hosts.

    The host name of another endpoint seldom resolves with a bucket in front.
    """
    configured = session.get_scoped_config().get("s3")
    style = configured.get("addressing_style") if isinstance(configured, dict) else None
    if style in ("virtual", "path"):
        return cast(Style, style)
    return "auto" if "amazonaws" in host else "path"


def split_url(url: str) -> tuple[str, str]:
    """Return the bucket and the prefix of an address; the prefix is empty or ends with a slash."""
    bucket, _, path = url.removeprefix("s3://").partition("/")
    if "@" in bucket:
        raise StoreAccessError(
            "there is a user or a password in the store's address; use s3://bucket/prefix and"
            f" {KEYS}"
        )
    parts = path.strip("/").split("/") if path.strip("/") else []
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]", bucket):
        raise StoreAccessError(
            f"store {url!r}: {bucket!r} is no bucket's name; use s3://bucket/prefix"
        )
    if any(not re.fullmatch(r"(?!\.\.?$)[\w .=+@-]+", part) for part in parts):
        raise StoreAccessError(f"store {url!r}: use plain letters: s3://bucket/prefix")
    return bucket, "".join(f"{part}/" for part in parts)
