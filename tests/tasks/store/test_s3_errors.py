"""What S3's error codes mean, and that a status explains no code."""

import pytest
from botocore.exceptions import ClientError

from tasks.store.s3_errors import S3FailureError


def failure(code: str, status: int, operation: str = "PutObject", message: str = "") -> str:
    """The line for an answer of a server."""
    error = {"Code": code, "Message": message}
    answer = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}
    return str(S3FailureError(ClientError(answer, operation)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("InvalidRequest", 400),
        ("AllAccessDisabled", 403),
        ("AccountProblem", 403),
        ("UnauthorizedAccess", 401),
        ("XMinioObjectTampered", 404),
        ("SomethingNew", 418),
    ],
)
def test_an_unknown_code_is_shown_and_not_explained_by_its_status(code: str, status: int) -> None:
    line = failure(code, status)
    assert line == (
        f"({code}): the endpoint refuses this request; its documentation and log explain the code"
    )


@pytest.mark.parametrize(
    ("operation", "right"),
    [
        ("ListObjectsV2", "s3:ListBucket"),
        ("GetObject", "s3:GetObject"),
        ("HeadObject", "s3:GetObject"),
        ("PutObject", "s3:PutObject"),
        ("DeleteObject", "s3:DeleteObject"),
    ],
)
def test_a_denial_names_the_right_that_the_request_needs(operation: str, right: str) -> None:
    assert right in failure("AccessDenied", 403, operation)
    assert ("SYNTHSET_S3_SSE" in failure("AccessDenied", 403, operation)) is (right[3:6] == "Put")
    # The answer to HEAD has no body and so no code.
    assert right in failure("403", 403, operation)


def test_a_denial_of_the_kms_key_differs_from_one_of_the_bucket() -> None:
    message = "User: arn:secret is not authorized to perform: kms:GenerateDataKey on resource"
    line = failure("AccessDenied", 403, message=message)
    assert "kms:GenerateDataKey, kms:Decrypt" in line
    assert "arn:secret" not in line


@pytest.mark.parametrize(
    ("code", "status", "fix"),
    [
        ("InvalidObjectState", 403, "the object is archived: restore it"),
        ("KMS.NotFoundException", 400, "correct SYNTHSET_S3_KMS_KEY"),
        ("KMS.DisabledException", 400, "enable that KMS key"),
        ("InvalidEncryptionAlgorithmError", 400, "correct or unset SYNTHSET_S3_SSE"),
        ("NotImplemented", 501, "if SYNTHSET_S3_SSE is set, unset it"),
    ],
)
def test_codes_of_archives_and_encryption_have_their_own_fix(
    code: str, status: int, fix: str
) -> None:
    assert fix in failure(code, status)
