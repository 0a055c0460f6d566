"""Output folders: written completely or not at all, also if the process is killed."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from textclf import artifact
from textclf.artifact import folders
from textclf.errors import ArtifactError


def write(folder, content):
    with artifact.write_folder(folder, overwrite=True) as temporary:
        (temporary / "weights").write_text(content)
        (temporary / "card.json").write_text("{}")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def before_rename(monkeypatch):
    """Return a function that runs an action before the nth rename: `before_rename(n, action)`."""

    def run_before(number, action):
        calls, rename = [], os.rename

        def renamed(*paths):
            calls.append(paths)
            if len(calls) == number:
                action()
            rename(*paths)

        monkeypatch.setattr(os, "rename", renamed)

    return run_before


def test_a_written_folder_is_complete_and_leaves_no_temporary_files(tmp_path):
    write(tmp_path / "run", "1")
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["card.json", "weights"]


def test_a_written_folder_replaces_all_files_of_the_former_folder(tmp_path):
    write(tmp_path / "run", "1")
    (tmp_path / "run" / "only in the former one").write_text("")
    write(tmp_path / "run", "2")
    assert names(tmp_path / "run") == ["card.json", "weights"]
    assert (tmp_path / "run" / "weights").read_text() == "2"
    assert names(tmp_path) == ["run"]


def test_an_interrupted_write_keeps_the_former_folder_without_temporary_files(tmp_path):
    write(tmp_path / "run", "1")
    with (
        pytest.raises(KeyboardInterrupt),
        artifact.write_folder(tmp_path / "run", overwrite=True) as temporary,
    ):
        (temporary / "weights").write_text("2")
        raise KeyboardInterrupt
    assert (tmp_path / "run" / "weights").read_text() == "1"
    assert names(tmp_path) == ["run"]


def test_a_process_killed_while_writing_keeps_the_former_folder(tmp_path):
    write(tmp_path / "run", "1")
    code = (
        "import os, sys; from textclf import artifact\n"
        "with artifact.write_folder(sys.argv[1], overwrite=True) as temporary:\n"
        "    (temporary / 'weights').write_text('2'); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")])
    assert (tmp_path / "run" / "weights").read_text() == "1"


def test_a_process_killed_while_writing_leaves_files_only_in_its_staging_folder(tmp_path):
    (tmp_path / "work").mkdir()
    code = (
        "import os, sys, pathlib; from textclf import artifact\n"
        "work = pathlib.Path(sys.argv[2])\n"
        "with artifact.write_folder(sys.argv[1], overwrite=True, staging=work) as temporary:\n"
        "    (temporary / 'weights').write_text('2'); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run"), str(tmp_path / "work")])
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    assert len(list((tmp_path / "work").iterdir())) == 1


def test_a_staged_folder_replaces_the_former_one_and_leaves_nothing(tmp_path):
    (tmp_path / "work").mkdir()
    for content in ("1", "2"):
        with artifact.write_folder(
            tmp_path / "run", overwrite=True, staging=tmp_path / "work"
        ) as temporary:
            (temporary / "weights").write_text(content)
        assert (tmp_path / "run" / "weights").read_text() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "work"]
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("command", ["read_card", "check_output", "write_folder"])
def test_a_process_killed_at_any_rename_loses_nothing(tmp_path, number, command):
    run = tmp_path / "run"
    write(run, "1")
    code = (
        "import os, sys; from textclf import artifact\n"
        "rename, count = os.rename, 0\n"
        "def killed(*paths):\n"
        "    global count; count += 1\n"
        f"    if count == {number}: os.kill(os.getpid(), 9)\n"
        "    rename(*paths)\n"
        "os.rename = killed\n"
        "with artifact.write_folder(sys.argv[1], overwrite=True) as temporary:\n"
        "    (temporary / 'weights').write_text('2')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)])
    assert done.returncode == (-9 if number <= 3 else 0), "a replacement has three renames"
    assert run.exists() == (number != 2), "the folder is missing between the first two renames"
    if command == "read_card":
        with pytest.raises(ArtifactError, match=r"card.json: has no format_version|has no card"):
            artifact.read_card(run)
    elif command == "check_output":
        with pytest.raises(ArtifactError, match="exists already"):
            artifact.check_output(run, overwrite=False, is_ours=("weights",))
    else:
        with (
            pytest.raises(ArtifactError, match="what was there before is unchanged"),
            artifact.write_folder(run, overwrite=False),
        ):
            pass
    assert (run / "weights").read_text() == ("1" if number <= 2 else "2")
    write(run, "3")
    assert (run / "weights").read_text() == "3"


def test_a_folder_exists_at_every_moment_of_its_replacement(tmp_path, before_rename):
    write(tmp_path / "run", "1")
    contents = []

    def read():
        artifact.restore_folder(tmp_path / "run")
        contents.append((tmp_path / "run" / "weights").read_text())

    before_rename(2, read)
    write(tmp_path / "run", "2")
    assert contents == ["1"], "the former folder was not read between the two renames"
    assert (tmp_path / "run" / "weights").read_text() == "2"
    assert names(tmp_path) == ["run"]


def test_the_folder_of_the_last_concurrent_writer_is_kept(tmp_path, before_rename):
    write(tmp_path / "run", "1")
    before_rename(2, lambda: write(tmp_path / "run", "2"))
    write(tmp_path / "run", "3")
    assert (tmp_path / "run" / "weights").read_text() == "3"
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("number", [1, 2])
def test_a_failed_rename_keeps_the_former_folder(tmp_path, before_rename, number, error):
    def fail():
        raise error

    write(tmp_path / "run", "1")
    before_rename(number, fail)
    with pytest.raises((ArtifactError, KeyboardInterrupt)):
        write(tmp_path / "run", "2")
    assert (tmp_path / "run" / "weights").read_text() == "1"
    assert names(tmp_path) == ["run"]


def test_a_removed_folder_is_not_restored_after_a_replacement(tmp_path):
    write(tmp_path / "run", "1")
    write(tmp_path / "run", "2")
    for path in (tmp_path / "run").iterdir():
        path.unlink()
    (tmp_path / "run").rmdir()
    artifact.restore_folder(tmp_path / "run")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["run", "run-7", "r*n"])
def test_the_newest_former_folder_of_the_same_name_is_restored(tmp_path, name):
    formers = (".run-a-0", ".run-b-0", ".run-7-a-0", ".run-7-b-0", ".r*n-a-0", ".r*n-b-0")
    for seconds, former in enumerate((*reversed(formers), ".other-a-0")):
        write(tmp_path / f"{former}{folders._FORMER}", former)
        # The first of two is the newer one.
        os.utime(tmp_path / f"{former}{folders._FORMER}", (seconds, seconds))
    artifact.restore_folder(tmp_path / name)
    assert (tmp_path / name / "weights").read_text() == f".{name}-a-0"


def test_a_full_disk_keeps_the_former_folder_without_temporary_files(tmp_path):
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


def test_an_existing_trained_folder_is_replaced_only_with_overwrite(tmp_path):
    write(tmp_path / "run", "1")
    with pytest.raises(ArtifactError, match="exists already; name another folder or add --over"):
        artifact.check_output(tmp_path / "run", overwrite=False, is_ours=("card.json",))
    artifact.check_output(tmp_path / "run", overwrite=True, is_ours=("card.json",))


def test_a_folder_not_written_by_textclf_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("")
    with pytest.raises(ArtifactError, match="was not written by textclf"):
        artifact.check_output(tmp_path / "photos", overwrite=True, is_ours=("card.json",))


def test_a_file_at_the_path_of_the_output_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(ArtifactError, match="is a file"):
        artifact.check_output(tmp_path / "run", overwrite=True, is_ours=("card.json",))


def test_an_output_folder_without_permission_is_refused_before_the_work(open_folder):
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


def test_all_files_and_folders_are_synced_before_the_replacement(tmp_path, monkeypatch):
    synced, fsync = set(), os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda number: (synced.add(os.fstat(number).st_ino), fsync(number))
    )
    write(tmp_path / "run", "1")
    paths = [tmp_path, tmp_path / "run", *(tmp_path / "run").iterdir()]
    assert {path.stat().st_ino for path in paths} <= synced


def test_a_folder_written_in_the_meantime_is_not_replaced_without_overwrite(tmp_path):
    with (
        pytest.raises(ArtifactError, match="unchanged"),
        artifact.write_folder(tmp_path / "run", overwrite=False) as temporary,
    ):
        (temporary / "weights").write_text("this process")
        write(tmp_path / "run", "another process")
    assert (tmp_path / "run" / "weights").read_text() == "another process"
    assert names(tmp_path) == ["run"]


def test_a_symbolic_link_remains_a_link_to_the_written_folder(tmp_path):
    write(tmp_path / "run-7", "1")
    (tmp_path / "latest").symlink_to("run-7")
    write(tmp_path / "latest", "2")
    assert (tmp_path / "latest").is_symlink()
    assert (tmp_path / "run-7" / "weights").read_text() == "2"
    assert names(tmp_path) == ["latest", "run-7"]


def test_the_former_folder_of_a_symbolic_link_is_restored(tmp_path):
    (tmp_path / "latest").symlink_to("run-7")
    write(tmp_path / f".run-7-a-0{folders._FORMER}", "1")
    artifact.restore_folder(tmp_path / "latest")
    assert (tmp_path / "latest" / "weights").read_text() == "1"


@pytest.fixture
def tree(tmp_path):
    """Return a folder with a trained folder `run`, an export `exports/1`, a benchmark `cells`, and links."""
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
        *((f"{name}/1", "saved_model.pb", INSIDE_RUN) for name in ("run", "run/exports")),
        *((f"{name}/1", "saved_model.pb", INSIDE_RUN) for name in ("link", "out", "link/../run")),
        *((name, "card.json", INSIDE_RUN) for name in ("run/again", "link/a/b", "out/c")),
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
def test_output_inside_an_artifact_is_refused(tree, folder, is_ours, message):
    before = sorted(tree.rglob("*"))
    with pytest.raises(ArtifactError, match=message):
        artifact.check_output(tree / folder, overwrite=True, is_ours=(is_ours,))
    assert sorted(tree.rglob("*")) == before


def test_outputs_next_to_artifacts_are_accepted(tree, monkeypatch):
    for folder, is_ours in (
        ("exports/2", "saved_model.pb"),
        ("run-exports/1", "saved_model.pb"),
        ("run/../other/1", "saved_model.pb"),
        ("other", "card.json"),
        ("cells/models/b", "card.json"),
    ):
        artifact.check_output(tree / folder, overwrite=False, is_ours=(is_ours,))
    # A folder with only a card is not a trained folder.
    (tree / "card.json").write_text("{}")
    # A folder with versions is a folder of exports, unless it is the current folder.
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
