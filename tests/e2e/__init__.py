"""The whole stack: a server on PostgreSQL, S3, and workers on two hosts, one of which dies."""
