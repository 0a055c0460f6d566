"""Layout: the exported version of a path."""

import pytest

from textclf import artifact
from textclf.errors import ArtifactError


def test_exported_version_of_a_folder_of_exports_is_the_newest(tmp_path):
    for version in ("2", "10", "x3"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").write_text("")
    assert artifact.exported_version(tmp_path) == tmp_path / "10"
    assert artifact.exported_version(tmp_path / "2") == tmp_path / "2"
    assert artifact.exported_version(tmp_path / "nothing") is None


def test_a_path_without_an_exported_version_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="holds no exported version; `textclf export` writes"):
        artifact.find_export(tmp_path)
    with pytest.raises(ArtifactError, match="does not exist; `textclf export` writes such"):
        artifact.find_export(tmp_path / "nothing")
