"""Fixtures for the tests of reading."""

import pytest


@pytest.fixture
def names(tmp_path):
    """Write ten names, a line each, into two files; return their folder."""
    (tmp_path / "a.txt").write_bytes(b"anna\nbert\r\ncleo\n\ndora\n")
    (tmp_path / "b.txt").write_bytes(b"emil\nfranz\ngerda\nhans\nida\njan")
    return tmp_path
