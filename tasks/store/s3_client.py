"""Addresses of S3 stores, and the settings of the client that reaches them."""

import re
from typing import Literal, cast

import botocore.session
from botocore.config import Config

from tasks.store.errors import StoreAccessError
from tasks.store.s3_errors import KEYS

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
