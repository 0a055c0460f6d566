"""Checksums: changed and missing files of a folder are found."""

import pytest

from textclf import artifact
from textclf.errors import ArtifactError


def test_check_of_checksums_names_changed_and_missing_files(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    files = artifact.checksums(tmp_path)
    assert artifact.check_files(tmp_path, files) is None
    (tmp_path / "a").write_text("A")
    (tmp_path / "b").unlink()
    with pytest.raises(ArtifactError, match="a: differs from its checksum[^\0]*b: is missing"):
        artifact.check_files(tmp_path, files)
