"""What a failed S3 request means: whether a retry may help, and what the user can do.

Nothing here repeats the message of the server or of botocore, which can hold a key or a token. The
lines give the error's code and the fix.
"""

import re

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

ENDPOINT = "check that the endpoint is up, and AWS_ENDPOINT_URL_S3"
KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
ROOM = "make room (synthset store gc) or raise the quota"
ADDRESS = "correct AWS_ENDPOINT_URL_S3: http://host:port or https://host"
_SESSION = "log in again, or correct AWS_SESSION_TOKEN"
_RIGHTS = "use a key that may list the bucket and get, put and delete objects in it"
_READ_RIGHTS = "use a key that may read (s3:GetObject) below the store's prefix"
_RIGHTS_OF = {
    "ListObjectsV2": "use a key that may list (s3:ListBucket) the store's prefix",
    "GetObject": _READ_RIGHTS,
    "HeadObject": _READ_RIGHTS,
    "PutObject": "use a key that may write (s3:PutObject) below the store's prefix; if the bucket"
    " refuses what is not encrypted, set SYNTHSET_S3_SSE",
    "DeleteObject": "use a key that may delete (s3:DeleteObject) below the store's prefix",
}
_KMS_RIGHTS = (
    "use a key that may encrypt and decrypt (kms:GenerateDataKey, kms:Decrypt) with the bucket's"
    " KMS key"
)
_KMS_KEY = "correct SYNTHSET_S3_KMS_KEY, or enable that KMS key"
_ENCRYPTION = "correct or unset SYNTHSET_S3_SSE and SYNTHSET_S3_KMS_KEY"
_REGION = "set AWS_DEFAULT_REGION to the bucket's region"
_BUCKET = "correct the bucket's name in the store's address"

# The answer to HEAD has no body, so that botocore gives the status as its code.
ABSENT_CODES = {"404", "NoSuchKey"}
# Conditional writes: the object exists, or another request for it is under way.
EXISTS_CODES = {"412", "409", "PreconditionFailed", "ConditionalRequestConflict"}
_PASSING_CODES = {
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "OperationAborted",
}
_FIXES = {
    "InvalidAccessKeyId": "the endpoint does not know this key; correct AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret does not fit the key; correct AWS_SECRET_ACCESS_KEY",
    "InvalidToken": _SESSION,
    "ExpiredToken": _SESSION,
    "RequestTimeTooSkewed": "set this machine's clock",
    "NoSuchBucket": f"there is no such bucket; create it, or {_BUCKET}",
    "InvalidBucketName": _BUCKET,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "QuotaExceeded": ROOM,
    "XMinioStorageFull": ROOM,
    "507": ROOM,
    "AccessDenied": _RIGHTS,
    "InvalidObjectState": "the object is archived: restore it in the bucket, or delete it with"
    " `synthset store verify --remove-corrupt`, and run again",
    "KMS.NotFoundException": _KMS_KEY,
    "KMS.DisabledException": _KMS_KEY,
    "KMS.KMSInvalidStateException": _KMS_KEY,
    "KMS.InvalidKeyUsageException": _KMS_KEY,
    "InvalidEncryptionAlgorithmError": _ENCRYPTION,
    "KMSNotConfigured": _ENCRYPTION,
    "NotImplemented": "the endpoint lacks what this request uses; if SYNTHSET_S3_SSE is set, unset"
    " it",
    "403": _RIGHTS,
    "401": KEYS,
    "400": "log in again if the keys are temporary; otherwise the endpoint's log says why",
}
# By class of exception: whether a retry may help, and the fix. The first match counts.
_FAILURES: tuple[tuple[type[Exception], bool, str], ...] = (
    (aws.NoCredentialsError, False, KEYS),
    (aws.PartialCredentialsError, False, KEYS),
    (aws.ProfileNotFound, False, "correct AWS_PROFILE: there is no such profile"),
    (aws.EndpointProviderError, False, ADDRESS),
    (aws.ParamValidationError, False, _BUCKET),
    (
        aws.SSLError,
        True,
        "correct the endpoint's certificate, or name its authority in AWS_CA_BUNDLE",
    ),
    (aws.CredentialRetrievalError, True, KEYS),
    (aws.MetadataRetrievalError, True, KEYS),
    (aws.ConnectionError, True, ENDPOINT),
    (aws.HTTPClientError, True, ENDPOINT),
    (aws.IncompleteReadError, True, ENDPOINT),
    (ResponseParserError, True, f"the server that answers does not speak S3; {ADDRESS}"),
    (HTTPError, True, ENDPOINT),
    (OSError, True, ENDPOINT),
    (aws.BotoCoreError, False, f"{KEYS}; {ENDPOINT}"),
)
FAILURES = (aws.ClientError, aws.BotoCoreError, ResponseParserError, HTTPError, OSError)


class S3FailureError(Exception):
    """A failed request, explained.

    ``is_passing``: a retry may help. ``is_internal``: the server itself failed at it (status 500).
    """

    def __init__(self, error: BaseException) -> None:
        self.code = code_of(error)
        self.is_internal = False
        if isinstance(error, aws.ClientError):
            status = _status(error)
            is_away = status in (408, 429) or (status >= 500 and status not in (501, 507))
            self.is_passing = self.code not in _FIXES and (is_away or self.code in _PASSING_CODES)
            self.is_internal = self.is_passing and status == 500
            self.fix = ENDPOINT if self.is_passing else _fix_of(error, self.code)
        else:
            self.is_passing, self.fix = next(
                (is_passing, fix) for kind, is_passing, fix in _FAILURES if isinstance(error, kind)
            )
        super().__init__(f"({self.code}): {self.fix}")


def _fix_of(error: aws.ClientError, code: str) -> str:
    """What the user can do about a refusal. The status explains it only where there is no code."""
    if code in ("AccessDenied", "403"):
        if "kms:" in str(error.response.get("Error", {}).get("Message", "")):
            return _KMS_RIGHTS
        return _RIGHTS_OF.get(error.operation_name, _RIGHTS)
    unknown = "the endpoint refuses this request; its documentation and log explain the code"
    return _FIXES.get(code, unknown)


def code_of(error: BaseException) -> str:
    """Return the S3 error code, as the server wrote it, or the name of the exception's class.

    A code with spaces or of more than 60 characters may be free text: its status is returned.
    """
    if isinstance(error, aws.ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        return code if re.fullmatch(r"[\w.:-]{1,60}", code) else str(_status(error))
    return type(error).__name__


def _status(error: aws.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
