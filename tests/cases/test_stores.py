"""Objects that a bucket's lifecycle rule has moved to an archive."""

import boto3
import pytest

from tasks.store.errors import StoreAccessError
from tasks.store.store import open_store
from tests.s3 import BUCKET, Server

pytest_plugins = ("tests.s3",)


def test_an_archived_document_is_named_with_both_ways_out(moto: Server) -> None:
    store = open_store(f"s3://{BUCKET}/cold")
    store.put_document("reports/a.html", b"<p>")
    client = boto3.client("s3", endpoint_url=moto.url, region_name="us-east-1")
    key = "cold/documents/reports/a.html"
    client.put_object(Bucket=BUCKET, Key=key, Body=b"x", StorageClass="GLACIER")
    with pytest.raises(StoreAccessError) as caught:
        store.get_document("reports/a.html")
    line = str(caught.value)
    assert "documents/reports/a.html" in line
    assert "(InvalidObjectState): the object is archived: restore it in the bucket" in line
    assert "`synthset store verify --remove-corrupt`" in line
