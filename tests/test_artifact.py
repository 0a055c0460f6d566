"""A trained folder reaches the disk whole, or not at all."""

import ctypes
import dataclasses
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from textclf import artifact
from textclf.errors import ArtifactError

CARD = artifact.Card(class_names=("no", "yes"), multi_label=False, config={"model": {"units": 3}})


def write(folder, text):
    with artifact.write_folder(folder, overwrite=True) as temporary:
        (temporary / "weights").write_text(text)
        (temporary / "card.json").write_text(CARD.to_json())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_card_comes_back_as_it_was(tmp_path):
    card = dataclasses.replace(
        CARD, thresholds=(0.1, 0.30000001192092896), temperature=(1.0, 2.0), files={"a": "b"}
    )
    (tmp_path / "card.json").write_text(card.to_json())
    assert artifact.read_card(tmp_path) == card


def test_a_folder_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    write(tmp_path / "run", "1")
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["card.json", "weights"]


def test_a_new_folder_takes_the_place_of_the_old_one(tmp_path):
    write(tmp_path / "run", "1")
    (tmp_path / "run" / "only in the old one").write_text("")
    write(tmp_path / "run", "2")
    assert names(tmp_path / "run") == ["card.json", "weights"]
    assert (tmp_path / "run" / "weights").read_text() == "2"
    assert names(tmp_path) == ["run"]


def test_an_interrupted_write_leaves_the_old_folder_and_nothing_else(tmp_path):
    write(tmp_path / "run", "1")
    with (
        pytest.raises(KeyboardInterrupt),
        artifact.write_folder(tmp_path / "run", overwrite=True) as temporary,
    ):
        (temporary / "weights").write_text("2")
        raise KeyboardInterrupt
    assert (tmp_path / "run" / "weights").read_text() == "1"
    assert names(tmp_path) == ["run"]


def test_a_process_killed_while_writing_leaves_the_old_folder(tmp_path):
    write(tmp_path / "run", "1")
    code = (
        "import os, sys; from textclf import artifact\n"
        "with artifact.write_folder(sys.argv[1], overwrite=True) as temporary:\n"
        "    (temporary / 'weights').write_text('2'); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")])
    assert (tmp_path / "run" / "weights").read_text() == "1"


def test_a_full_disk_leaves_the_old_folder_and_nothing_else(tmp_path):
    write(tmp_path / "run", "1")
    code = (
        "import resource, signal, sys; from textclf import artifact\n"
        "from textclf.errors import ArtifactError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    with artifact.write_folder(sys.argv[1], overwrite=True) as temporary:\n"
        "        (temporary / 'weights').write_text('2' * 2000)\n"
        "except ArtifactError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True
    )
    assert "cannot be written (File too large)" in done.stdout, done.stderr
    assert (tmp_path / "run" / "weights").read_text() == "1"
    assert names(tmp_path) == ["run"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_an_existing_run_is_replaced_only_when_asked_for(tmp_path):
    write(tmp_path / "run", "1")
    with pytest.raises(ArtifactError, match="exists already; name another folder or add --over"):
        artifact.check_output(tmp_path / "run", overwrite=False, is_ours=("card.json",))
    artifact.check_output(tmp_path / "run", overwrite=True, is_ours=("card.json",))


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("")
    with pytest.raises(ArtifactError, match="was not written by textclf"):
        artifact.check_output(tmp_path / "photos", overwrite=True, is_ours=("card.json",))


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(ArtifactError, match="is a file"):
        artifact.check_output(tmp_path / "run", overwrite=True, is_ours=("card.json",))


@pytest.fixture
def tree(tmp_path):
    """A trained folder `run`, its export `exports/1`, a benchmark `cells`, and links to them."""
    for name in (
        *("run/card.json", "run/weights.npz", "exports/1/saved_model.pb"),
        *("exports/1/assets.extra/card.json", "cells/benchmark.json"),
        *("cells/models/a/card.json", "cells/models/a/weights.npz"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "link").symlink_to("run")
    (tmp_path / "run" / "sub").mkdir()
    (tmp_path / "out").symlink_to("run/sub")
    return tmp_path


INSIDE_RUN = "is inside the trained folder .*/run, which `textclf train --overwrite` replaces"


@pytest.mark.parametrize(
    ("folder", "is_ours", "message"),
    [
        *((f"{place}/1", "saved_model.pb", INSIDE_RUN) for place in ("run", "run/exports")),
        *((f"{place}/1", "saved_model.pb", INSIDE_RUN) for place in ("link", "out", "link/../run")),
        *((place, "card.json", INSIDE_RUN) for place in ("run/again", "link/a/b", "out/c")),
        ("cells/models/a/1", "saved_model.pb", "is inside the trained folder .*/cells/models/a,"),
        ("exports/1/1", "saved_model.pb", "is inside the exported version .*/exports/1, whose"),
        (
            "exports/1/assets.extra/1",
            "saved_model.pb",
            "is inside the exported version .*/1, whose",
        ),
        ("exports/1/run", "card.json", "is inside the exported version .*/exports/1, whose"),
        ("exports/run", "card.json", "is inside .*/exports, a folder of exported versions"),
        ("exports/2", "card.json", "is inside .*/exports, a folder of exported versions"),
        ("exports/a/b", "card.json", "is inside .*/exports, a folder of exported versions"),
        ("exports/1", "card.json", "is inside .*/exports, a folder of exported versions"),
        ("exports", "card.json", "holds an exported model; name another folder"),
    ],
)
def test_a_folder_inside_another_one_of_ours_is_refused(tree, folder, is_ours, message):
    before = sorted(tree.rglob("*"))
    with pytest.raises(ArtifactError, match=message):
        artifact.check_output(tree / folder, overwrite=True, is_ours=(is_ours,))
    assert sorted(tree.rglob("*")) == before


def test_folders_beside_those_of_ours_are_accepted(tree, monkeypatch):
    for folder, is_ours in (
        ("exports/2", "saved_model.pb"),
        ("run-exports/1", "saved_model.pb"),
        ("run/../other/1", "saved_model.pb"),
        ("other", "card.json"),
        ("cells/models/b", "card.json"),
    ):
        artifact.check_output(tree / folder, overwrite=False, is_ours=(is_ours,))
    # Somebody else's card is no trained folder.
    (tree / "card.json").write_text("{}")
    # Versions that lie in the folder where the user works are beside what is written there.
    (tree / "1").mkdir()
    (tree / "1" / "saved_model.pb").write_text("")
    with pytest.raises(ArtifactError, match="a folder of exported versions"):
        artifact.check_output(tree / "other", overwrite=False, is_ours=("card.json",))
    monkeypatch.chdir(tree)
    artifact.check_output("other", overwrite=False, is_ours=("card.json",))


@pytest.mark.parametrize("inner", ["sub/exports/1/saved_model.pb", "cells/benchmark.json"])
def test_overwriting_removes_no_export_and_no_benchmark(tree, inner):
    artifact.check_output(tree / "run", overwrite=True, is_ours=("card.json",))
    (tree / "run" / inner).parent.mkdir(parents=True)
    (tree / "run" / inner).write_text("")
    with pytest.raises(ArtifactError, match=f"would remove .*{Path(inner).parent} too; move"):
        artifact.check_output(tree / "run", overwrite=True, is_ours=("card.json",))


def test_a_place_without_permission_is_refused_before_the_work(open_folder):
    (open_folder / "locked").mkdir(mode=0o500)
    code = (
        "import os, sys; from textclf import artifact\n"
        "from textclf.errors import ArtifactError\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "try: artifact.check_output(sys.argv[1], overwrite=False, is_ours=('card.json',))\n"
        "except ArtifactError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(open_folder / "locked" / "run")],
        capture_output=True,
        text=True,
    )
    assert "does not allow it (Permission denied)" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; `textclf train` writes such a folder"),
        ("", "cannot be read"),
        ("[1]", "is not a card of textclf"),
        ('{"format_version": 99}', "format 99 is newer than format 1"),
        ('{"format_version": 1}', "is damaged"),
    ],
)
def test_a_card_that_cannot_be_used_says_why(tmp_path, content, message):
    folder = tmp_path / "run"
    if content is not None:
        folder.mkdir()
        (folder / "card.json").write_text(content)
    with pytest.raises(ArtifactError, match=message):
        artifact.read_card(folder)


def test_an_export_given_for_a_trained_folder_is_named_as_such(tmp_path):
    (tmp_path / "saved_model.pb").write_text("")
    with pytest.raises(ArtifactError, match="is an exported SavedModel"):
        artifact.read_card(tmp_path)


def test_a_flipped_byte_and_a_missing_file_are_both_named(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    files = artifact.checksums(tmp_path)
    assert artifact.check_files(tmp_path, files) is None
    (tmp_path / "a").write_text("A")
    (tmp_path / "b").unlink()
    with pytest.raises(ArtifactError, match="a: differs from its checksum[^\0]*b: is missing"):
        artifact.check_files(tmp_path, files)


def test_the_newest_version_stands_for_a_folder_of_exports(tmp_path):
    for version in ("2", "10", "x3"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").write_text("")
    assert artifact.exported_version(tmp_path) == tmp_path / "10"
    assert artifact.exported_version(tmp_path / "2") == tmp_path / "2"
    assert artifact.exported_version(tmp_path / "nothing") is None


def test_a_card_is_json_that_any_program_reads():
    assert json.loads(CARD.to_json())["class_names"] == ["no", "yes"]


def test_there_is_no_instant_without_the_old_or_the_new_folder(tmp_path, monkeypatch):
    write(tmp_path / "run", "1")

    def rename(*paths):
        raise AssertionError(f"two renames leave an instant without either: {paths}")

    monkeypatch.setattr(os, "rename", rename)
    write(tmp_path / "run", "2")
    assert (tmp_path / "run" / "weights").read_text() == "2"


def test_without_an_atomic_exchange_a_failed_rename_brings_the_old_folder_back(
    tmp_path, monkeypatch
):
    def missing(*arguments, **keywords):
        raise OSError

    write(tmp_path / "run", "1")
    monkeypatch.setattr(ctypes, "CDLL", missing)
    write(tmp_path / "run", "2")
    assert (tmp_path / "run" / "weights").read_text() == "2"
    calls, rename = [], os.rename

    def fails_once(*paths):
        calls.append(paths)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(*paths)

    monkeypatch.setattr(os, "rename", fails_once)
    with pytest.raises(ArtifactError, match="Input/output error"):
        write(tmp_path / "run", "3")
    assert (tmp_path / "run" / "weights").read_text() == "2"


def test_every_file_and_folder_is_on_the_disk_before_the_old_folder_goes(tmp_path, monkeypatch):
    synced, fsync = set(), os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda number: (synced.add(os.fstat(number).st_ino), fsync(number))
    )
    write(tmp_path / "run", "1")
    paths = [tmp_path, tmp_path / "run", *(tmp_path / "run").iterdir()]
    assert {path.stat().st_ino for path in paths} <= synced


def test_a_folder_that_came_in_between_is_not_replaced_unasked(tmp_path):
    with (
        pytest.raises(ArtifactError, match="unchanged"),
        artifact.write_folder(tmp_path / "run", overwrite=False) as temporary,
    ):
        (temporary / "weights").write_text("mine")
        write(tmp_path / "run", "of another process")
    assert (tmp_path / "run" / "weights").read_text() == "of another process"
    assert names(tmp_path) == ["run"]


def test_a_link_stays_a_link_to_the_new_folder(tmp_path):
    write(tmp_path / "run-7", "1")
    (tmp_path / "latest").symlink_to("run-7")
    write(tmp_path / "latest", "2")
    assert (tmp_path / "latest").is_symlink()
    assert (tmp_path / "run-7" / "weights").read_text() == "2"
    assert names(tmp_path) == ["latest", "run-7"]


@pytest.mark.parametrize("name", ["files", "config", "validation"])
def test_a_card_with_a_part_of_another_kind_is_damaged(tmp_path, name):
    (tmp_path / "card.json").write_text(json.dumps(json.loads(CARD.to_json()) | {name: None}))
    with pytest.raises(ArtifactError, match=f"is damaged \\({name} is no object\\)"):
        artifact.read_card(tmp_path)
