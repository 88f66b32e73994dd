"""Fixtures: a tiny catalog and a mirror that serves it."""

from tests.published import catalog, mirror

__all__ = ["catalog", "mirror"]
