"""Recalibration: the decision fitted again, from validation alone, and written atomically."""

import json
import os
import re
import shutil
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

import textclf
from textclf import artifact, classifier, data, evaluation, recalibration
from textclf.cli import main
from textclf.config import Config
from textclf.errors import ArtifactError, ConfigError, DataError
from textclf.report import format_calibration
from textclf.tasks import THRESHOLD_METRICS, Decision


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# === The decision ===


@pytest.mark.parametrize("name", ["run", "several_run"])
def test_calibrating_a_fresh_model_changes_no_bit_of_its_decision_and_report(name, request):
    folder = request.getfixturevalue(name)
    before = artifact.read_card(folder)
    result = textclf.calibrate(folder)
    assert result.former == before.decision
    assert result.decision == before.decision
    assert result.report == result.former_report == before.validation
    after = artifact.read_card(folder)
    assert after.decision == before.decision and after.validation == before.validation


def test_calibrate_with_coverage_answers_this_share_of_validation(run):
    result = textclf.calibrate(run, coverage=0.6)
    point = result.report.abstention
    assert 0.6 <= point.coverage < 0.7
    assert point.abstain_below == result.decision.abstain_below > 0.5
    model = classifier.load(run)
    dataset = data.open_dataset(Config.from_dict(model.card.config).data)
    texts = [example.text for example in dataset.examples("validation")]
    assert (~model.answers(texts)["abstain"]).mean() == pytest.approx(point.coverage, abs=0.04)
    assert textclf.calibrate(run).decision.abstain_below is None, (
        "without options it never abstains"
    )


def test_calibrate_with_precision_reaches_this_precision_on_validation(several_run):
    everything = textclf.calibrate(several_run).report.coverage[0].accuracy
    wanted = (1 + everything) / 2
    result = textclf.calibrate(several_run, precision=wanted)
    point = result.report.abstention
    assert everything < wanted <= point.accuracy and 0 < point.coverage < 1


def test_calibrate_with_an_unreachable_precision_is_an_error_and_changes_no_file(bag, tmp_path):
    for name in ("train", "validation"):  # one text, and half of its labels are wrong
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "same,x\nsame,y\n" * 5)
    files = {name: str(tmp_path / f"{name}.csv") for name in ("train", "validation")}
    textclf.train(Config.from_dict({**bag, "data": files}), tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(DataError, match=r"run: no confidence reaches precision 0.9 on validation "):
        textclf.calibrate(tmp_path / "run", precision=0.9)
    assert contents(tmp_path / "run") == before


def test_calibrated_micro_f1_thresholds_have_at_least_the_default_micro_f1(several_run):
    macro = textclf.calibrate(several_run, maximize="macro_f1")
    assert macro.decision == macro.former, "macro F1 is the default"
    micro = textclf.calibrate(several_run, maximize="micro_f1")
    assert micro.decision.thresholds != macro.decision.thresholds
    assert micro.decision.temperature == macro.decision.temperature
    assert micro.report.get("micro_f1") > macro.report.get("micro_f1")
    assert micro.report.get("macro_f1") < macro.report.get("macro_f1")


def test_calibrate_encodes_only_the_validation_split(run, monkeypatch):
    read, examples = [], data.Dataset.examples

    def recorded(dataset, split):
        read.append(split)
        return examples(dataset, split)

    monkeypatch.setattr(data.Dataset, "examples", recorded)
    result = textclf.calibrate(run)
    assert read == ["validation"]
    sizes = artifact.read_card(run).data.splits
    assert sizes["test"].num_examples > 0
    assert result.report.num_examples == sizes["validation"].num_examples


# === The folder ===


def test_calibrate_changes_only_card_and_card_page_and_checksums_are_valid(run):
    (run / "notes.txt").write_text("kept")
    before = contents(run)
    textclf.calibrate(run, coverage=0.5)
    after = contents(run)
    assert {name for name in after if after[name] != before.get(name)} == {"card.json", "card.md"}
    assert before.keys() == after.keys()
    card = artifact.read_card(run)
    artifact.check_files(run, card.files)
    assert card.files.keys() == json.loads(before["card.json"])["files"].keys()
    assert f"below {card.abstain_below:.3f}" in (run / "card.md").read_text()
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_links_and_cards_in_folders_inside_stay_as_they_are(run):
    (run / "data").symlink_to("../elsewhere")
    (run / "old").mkdir()
    for name in ("card.json", "card.md"):
        shutil.copy(run / name, run / "old")
    before = contents(run / "old")
    textclf.calibrate(run, coverage=0.5)
    assert (run / "data").readlink().as_posix() == "../elsewhere"
    assert contents(run / "old") == before


def test_a_copy_contains_what_links_lead_to(run, tmp_path):
    (run / "weights.npz").rename(tmp_path / "stored.npz")
    (run / "weights.npz").symlink_to("../stored.npz")
    (run / "dangling").symlink_to("nowhere")
    copy = tmp_path / "other" / "place"
    textclf.calibrate(run, coverage=0.5, output=copy)
    assert not (copy / "weights.npz").is_symlink() and not (copy / "dangling").exists()
    assert classifier.load(copy).predict(["good"]) == classifier.load(run).predict(["good"])


def test_a_file_that_cannot_be_copied_is_named(run):
    os.mkfifo(run / "pipe")
    with pytest.raises(ArtifactError, match=r"run/pipe: cannot be copied \(.*named pipe.*move it"):
        textclf.calibrate(run)
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_calibrate_is_reproducible_and_keeps_all_former_decisions(run):
    first = artifact.read_card(run)
    decisions = [textclf.calibrate(run, coverage=0.5).decision for _ in range(2)]
    textclf.calibrate(run)
    assert decisions[0] == decisions[1] != first.decision
    card = artifact.read_card(run)
    assert [past.decision for past in card.history] == [first.decision, *decisions]
    assert [past.options for past in card.history] == [{}, {"coverage": 0.5}, {"coverage": 0.5}]
    assert card.history[0].created == first.created == card.created
    assert card.calibration.options == {} and card.calibration.created >= first.created
    assert card.to_json() == (run / "card.json").read_text(encoding="utf-8")


def test_calibrate_with_output_does_not_change_the_model(run, tmp_path):
    before = contents(run)
    result = textclf.calibrate(run, coverage=0.5, output=tmp_path / "copy")
    assert result.folder == tmp_path / "copy"
    assert contents(run) == before
    assert artifact.read_card(tmp_path / "copy").decision == result.decision
    assert (tmp_path / "copy" / "weights.npz").read_bytes() == before["weights.npz"]
    with pytest.raises(ArtifactError, match="copy: exists already; name another folder or add"):
        textclf.calibrate(run, output=tmp_path / "copy")
    textclf.calibrate(run, output=tmp_path / "copy", overwrite=True)
    assert artifact.read_card(tmp_path / "copy").abstain_below is None


def test_a_folder_changed_during_a_calibration_is_not_replaced(run):
    plan = recalibration.check(run, coverage=0.5)
    dataset = recalibration.open_data(plan)
    card = msgspec.structs.replace(artifact.read_card(run), created="later")
    (run / "card.json").write_text(card.to_json())
    before = contents(run)
    with pytest.raises(ArtifactError, match="another process changed it in the meantime"):
        recalibration.refit(plan, dataset)
    assert contents(run) == before and [path.name for path in run.parent.iterdir()] == ["run"]


def test_a_folder_that_changes_while_it_is_checked_is_not_replaced(run, monkeypatch):
    check_sources = data.check_sources

    def change(settings):
        card = msgspec.structs.replace(artifact.read_card(run), created="later")
        (run / "card.json").write_text(card.to_json())
        check_sources(settings)

    monkeypatch.setattr(data, "check_sources", change)
    with pytest.raises(ArtifactError, match="another process changed it in the meantime"):
        textclf.calibrate(run, coverage=0.5)
    assert artifact.read_card(run).created == "later"


# Write a card with a new decision in a forked process that is killed at the nth opening, renaming or
# removal of a file, for each n, and print a line for each.
_KILLED = """
import os, shutil, sys
from pathlib import Path
from textclf import artifact, model_card, recalibration
from textclf.tasks import THRESHOLD_METRICS, Decision
original, parent = Path(sys.argv[1]), Path(sys.argv[2])
run, pages = parent / "run", set()
former = (original / "card.json").read_bytes(), (original / "card.md").read_bytes()
for number in range(1, 1000):
    shutil.rmtree(parent, ignore_errors=True)
    parent.mkdir()
    shutil.copytree(original, run)
    plan = recalibration.check(run, coverage=0.5)
    pid = os.fork()
    if pid == 0:
        count = 0
        def killed(event, arguments):
            global count
            is_ours = any(str(parent) in str(argument) for argument in arguments)
            if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir") and is_ours:
                count += 1
                if count == number:
                    os.kill(os.getpid(), 9)
        sys.addaudithook(killed)
        decision = Decision(temperature=3.0, abstain_below=0.625)
        recalibration._write(plan, decision, plan.card.validation)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    is_missing = not run.exists()
    card = artifact.read_card(run)
    artifact.check_files(run, card.files)
    is_new = card.temperature == 3.0
    content = (run / "card.json").read_bytes(), (run / "card.md").read_bytes()
    assert is_new == (content[0] != former[0]) == (content[1] != former[1]), number
    assert is_new == (b"below 0.625" in content[1]), number
    print("new" if is_new else "old", "missing" if is_missing else "there", status)
    if os.WIFEXITED(status):
        break
"""


def test_calibration_killed_at_any_file_keeps_the_former_or_the_new_folder(trained, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(trained), str(tmp_path / "parent")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *killed, last = (line.split() for line in done.stdout.splitlines())
    assert last == ["new", "there", "0"]
    assert {status for _, _, status in killed} == {"9"}
    assert len(killed) > 20
    ages = [age for age, _, _ in killed]
    assert ages == sorted(ages, reverse=True), "old until the exchange, new after it"
    assert ages.count("old") > 10 and ages.count("new") > 1
    places = [place for _, place, _ in killed]
    assert places.count("missing") == 1, "no kill between the two renames of the exchange"


# === Refusals ===


def test_calibrate_refuses_data_not_used_in_training(run, reviews, tmp_path):
    before = contents(run)
    text = reviews.read_text(encoding="utf-8")
    changed = tmp_path / "changed.csv"
    changed.write_text(text + "one more,positive\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"changed.csv: these are not the data that .*run was tr"):
        textclf.calibrate(run, overrides={"data.source": str(changed)})
    with pytest.raises(DataError, match="these are not the data"):
        textclf.calibrate(run, overrides=["data.split_seed=5"])
    with pytest.raises(DataError, match="none.csv: no such file"):
        textclf.calibrate(run, overrides={"data.source": str(tmp_path / "none.csv")})
    assert contents(run) == before
    moved = tmp_path / "moved.csv"
    moved.write_text(text, encoding="utf-8")
    before = artifact.read_card(run)
    assert textclf.calibrate(run, overrides={"data.source": str(moved)}).decision == before.decision
    assert artifact.read_card(run).config == before.config, "the card names the data as before"


def test_calibrate_refuses_an_exported_version_and_names_export(exports):
    for folder in (exports / "reviews", exports / "reviews" / "1"):
        with pytest.raises(ArtifactError, match="exported SavedModel.*again with `textclf export`"):
            textclf.calibrate(folder)


def test_numbers_of_numpy_are_options(run):
    coverage = np.float64(0.6)
    assert textclf.calibrate(run, coverage=coverage).options == {"coverage": 0.6}
    assert artifact.read_card(run).calibration.options == {"coverage": 0.6}


def test_calibrate_refuses_invalid_and_conflicting_options(run, tmp_path):
    before = contents(run)
    with pytest.raises(ConfigError) as caught:
        textclf.calibrate(run, precision=1.5, coverage=0.5, maximize="f1")
    assert caught.value.problems == (
        "precision=1.5: expected a number above 0 and at most 1",
        "coverage: cannot be combined with precision; remove one of them",
        "maximize=f1: expected one of macro_f1, micro_f1",
    )
    with pytest.raises(ConfigError, match="has one class per text and no thresholds; omit"):
        textclf.calibrate(run, maximize="micro_f1")
    with pytest.raises(ConfigError, match=r"model.units: only settings of data can be overridden"):
        textclf.calibrate(run, overrides={"model.units": 3})
    with pytest.raises(ArtifactError, match="is inside the trained folder"):
        textclf.calibrate(run, output=run / "copy")
    assert contents(run) == before


# === The command ===


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
def test_calibration_table_shows_former_and_new_decision(multi_label, golden):
    y_true, p = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    one, other = Decision(temperature=1.25), Decision(temperature=2.0, abstain_below=0.75)
    if multi_label:
        y_true = np.eye(2, dtype=bool)[y_true]
        one = Decision(temperature=(1.0, 1.5), thresholds=(0.5, 0.5))
        other = Decision(temperature=(1.0, 1.5), thresholds=(0.5, 0.25), abstain_below=0.65)
    before, now = (
        evaluation.evaluate(
            y_true,
            p,
            class_names=("no", "是"),
            multi_label=multi_label,
            thresholds=decision.thresholds,
            abstain_below=decision.abstain_below,
            bootstrap_samples=0,
        )
        for decision in (one, other)
    )
    text = format_calibration((one, before), (other, now), title="runs/x")
    golden(f"calibration{'_multi_label' if multi_label else ''}.txt", text)
    assert "-" in format_calibration((one, None), (other, now), title="x")


def test_the_command_offers_the_metrics_of_the_library():
    [option] = [option for option in main.commands["calibrate"].params if option.name == "maximize"]
    assert option.type.choices == THRESHOLD_METRICS
    assert option.help.endswith(f"[default: {THRESHOLD_METRICS[0]}]")


def test_calibrate_command_prints_the_table(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    result = CliRunner().invoke(main, ["calibrate", "run", "--coverage", "0.5"])
    assert (result.exit_code, result.stderr) == (0, "reading the data\n")
    assert result.stdout.startswith("run: decision fitted on 30 examples of validation\n")
    below = artifact.read_card(run).abstain_below
    assert re.search(rf"^abstains below +never +{below:.4f}$", result.stdout, re.MULTILINE)


def test_calibrate_command_prints_json(run):
    result = CliRunner().invoke(main, ["calibrate", str(run), "--coverage", "0.5", "--json"])
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert list(values) == [
        *("model", "folder", "former", "decision", "former_report", "report", "options"),
        "notices",
    ]
    card = artifact.read_card(run)
    assert values["decision"] == {
        "temperature": card.temperature,
        "thresholds": None,
        "abstain_below": card.abstain_below,
    }
    assert values["options"] == {"coverage": 0.5} and values["folder"] == str(run)
    assert values["report"] == card.validation.to_dict()


def test_export_of_a_calibrated_folder_abstains(run, tmp_path):
    decision = textclf.calibrate(run, coverage=0.5).decision
    version = textclf.export(classifier.load(run), tmp_path / "exports", is_verified=False)
    answers = textclf.load(version).answers(["good", "not good", "bad", "?", "x y z"])
    limit = np.float32(decision.abstain_below)
    np.testing.assert_array_equal(answers["abstain"], answers["confidence"] < limit)
    assert textclf.load(version).card.history == artifact.read_card(run).history
