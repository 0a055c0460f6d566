"""The page of a model: `textclf report` and `textclf.write_report`, also in a browser."""

import csv
import html.parser
import json
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import numpy as np
import pytest
from click.testing import CliRunner, Result

import textclf
from textclf import artifact, evaluation, model_page, recalibration
from textclf.cli import main
from textclf.errors import ArtifactError, ConfigError, DataError, TextclfError
from textclf.model_page.curves import curves_to_show

SCRIPT = "<script>window.hacked = 1</script>"
HOSTILE = (f"{SCRIPT}</title>", '$a$ 正面 & "b"')
VOID = {"meta", "link", "br", "input", "img", "hr"}


class WellFormed(html.parser.HTMLParser):
    """Check that every element is closed in order; collects addresses and ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.getpos())


def run_command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def figures_of(page: Path) -> dict[str, Any]:
    """Return the figures that a page embeds for its explorers."""
    text = page.read_text(encoding="utf-8")
    return json.loads(text.partition('id="figures">')[2].partition("</script>")[0])


def text_of(page: Path) -> str:
    """Return the words of a page, without tags and with single blanks."""
    text = re.sub(r"<(style|script)\b.*?</\1>", " ", page.read_text(encoding="utf-8"), flags=re.S)
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", text)).split())


def train(bag: dict[str, Any], data: dict[str, Any], folder: Path, **model: Any) -> Path:
    values = {**bag, "data": data, "model": {**bag["model"], **model}}
    if model.get("encoder") == "none":
        values["model"] = model
        values["training"] = {}
    textclf.train(textclf.Config.from_dict(values), folder)
    return folder


@pytest.fixture(scope="module")
def hostile(bag: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a trained folder whose texts, classes, columns and name are HTML."""
    folder = tmp_path_factory.mktemp("hostile")
    rng = random.Random(0)
    with open(folder / "<b>rows.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "<i>country"])
        for number in range(400):
            name = rng.choice(HOSTILE)
            word = "good" if name == HOSTILE[0] else "bad"
            if rng.random() < 0.2:
                word = "strange"
            country = f"{SCRIPT}{rng.choice('ab')}"
            writer.writerow([f"</script>{SCRIPT} {word} {number}", name, country])
    return train(bag, {"source": str(folder / "<b>rows.csv")}, folder / "<i>run")


@pytest.fixture(scope="module")
def many(bag: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a trained folder with 40 classes."""
    folder = tmp_path_factory.mktemp("many")
    rng = random.Random(0)
    rows = [(f"w{c} x{rng.randrange(9)}", f"class {c}") for c in range(40) for _ in range(20)]
    rng.shuffle(rows)
    with open(folder / "rows.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return train(bag, {"source": str(folder / "rows.csv")}, folder / "run")


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that writes the page of a model once."""
    pages: dict[Path, Path] = {}

    def write(model: Path, **settings: Any) -> Path:
        if model not in pages:
            pages[model] = tmp_path_factory.mktemp("page") / "out.html"
            textclf.write_report(model, pages[model], **settings)
        return pages[model]

    return write


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    if chromium.PROGRAM is None:
        pytest.skip("Chromium is not installed: this test opens the page with it")
    with chromium.page(tmp_path_factory.mktemp("chromium")) as page:
        yield page


# === Content ===


def test_report_has_the_figures_of_evaluate(trained: Path, tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    before = contents(trained)
    done = run_command("report", trained, page, "--no-audit", "--json")
    assert done.exit_code == 0, done.output
    expected = json.loads(run_command("evaluate", trained, "--json").stdout)
    assert json.loads(done.stdout)["report"] == expected["report"]
    figures = json.loads((tmp_path / "out_files" / "report.json").read_text())
    assert figures["report"] == expected["report"]
    by = ["length", "unknown_fraction", "script"]
    options = [part for name in by for part in ("--by", name)]
    sliced = json.loads(run_command("evaluate", trained, "--json", *options).stdout)
    assert figures["slices"] == sliced["slices"]
    text = text_of(page)
    for name in ("accuracy", "macro_f1", "log_loss", "roc_auc"):
        assert f"{expected['report']['metrics'][name]:.4f}" in text
    low, high = expected["report"]["intervals"]["accuracy"]
    assert f"{low:.3f} to {high:.3f}" in text
    assert f"{artifact.read_card(trained).validation.get('log_loss'):.4f}" in text
    assert contents(trained) == before


def test_report_of_a_network_alone_names_the_baseline_command(trained: Path, page_of: Any) -> None:
    text = text_of(page_of(trained))
    assert "has no linear model beside it" in text
    assert f"textclf baseline {trained}/config.yaml" in text


def test_report_of_a_mixture_has_the_linear_model_on_the_same_rows(
    reviews: Path, bag: dict[str, Any], page_of: Any, tmp_path: Path
) -> None:
    data = {"source": str(reviews)}
    run = train(bag, data, tmp_path / "run", linear="mixture")
    page = page_of(run, audit=False)
    figures = json.loads((page.parent / "out_files" / "report.json").read_text())
    gain = figures["report"]["gain"]
    assert figures["linear"]["metrics"]["accuracy"] == pytest.approx(gain["linear"])
    assert figures["linear"]["num_examples"] == figures["report"]["num_examples"]
    # Both may have the same accuracy on so few texts.
    assert figures["linear"]["metrics"]["log_loss"] != figures["report"]["metrics"]["log_loss"]
    text = text_of(page)
    assert f"{gain['difference']:+.4f} accuracy to the linear model alone" in text
    assert "Left out by --no-audit" in text


def test_report_of_a_linear_model_has_no_learning_curves(
    reviews: Path, bag: dict[str, Any], page_of: Any, tmp_path: Path
) -> None:
    run = train(bag, {"source": str(reviews)}, tmp_path / "run", encoder="none")
    page = page_of(run, audit=False)
    text = text_of(page)
    assert "A linear model has no epochs." in text
    assert "This model is a linear model; there is no network beside it." in text
    assert not (page.parent / "out_files" / "losses.svg").exists()


def test_report_of_one_epoch_has_learning_curves(
    reviews: Path, bag: dict[str, Any], page_of: Any, tmp_path: Path
) -> None:
    one = {**bag, "training": {**bag["training"], "epochs": 1}}
    run = train(one, {"source": str(reviews)}, tmp_path / "run")
    page = page_of(run, audit=False)
    losses = (page.parent / "out_files" / "losses.svg").read_text()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", losses)
    assert texts[: texts.index("epoch")] == ["1"]
    assert "the dotted line marks epoch 1, which was kept" in text_of(page)


def test_report_of_data_without_a_test_split_is_on_validation(
    reviews: Path, bag: dict[str, Any], tmp_path: Path
) -> None:
    one = {**bag, "training": {**bag["training"], "epochs": 1}}
    lines = reviews.read_text(encoding="utf-8").splitlines()
    for name, rows in (("train", lines[1:200]), ("validation", lines[200:])):
        (tmp_path / f"{name}.csv").write_text("\n".join([lines[0], *rows]), encoding="utf-8")
    files = {name: str(tmp_path / f"{name}.csv") for name in ("train", "validation")}
    run = train(one, files, tmp_path / "run")
    assert textclf.write_report(run, tmp_path / "out.html", audit=False).split == "validation"


def test_worst_mistakes_are_the_wrong_rows_with_the_highest_loss(
    hostile: Path, page_of: Any, tmp_path: Path
) -> None:
    page = page_of(hostile)
    shown = json.loads((page.parent / "out_files" / "report.json").read_text())["mistakes"]
    file = tmp_path / "errors.jsonl"
    assert run_command("evaluate", hostile, "--errors", file).exit_code == 0
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    wrong = [row for row in rows if not row["is_correct"]][:20]
    assert len(wrong) > 2
    assert [row["row"] for row in wrong] == [example["row"] for example in shown]
    for row, example in zip(wrong, shown, strict=True):
        assert (row["text"], row["location"]) == (example["text"], example["location"])
        assert ([row["true"]], [row["predicted"]]) == (example["true"], example["predicted"])
        assert example["loss"] == pytest.approx(row["loss"], rel=1e-5)
        (part,) = example["explanation"]["classes"]
        assert part["class"] == row["predicted"]
    losses = re.findall(r"loss ([\d.]+)", text_of(page).partition("Worst mistakes Wrong")[2])
    assert losses[: len(wrong)] == [f"{row['loss']:.3f}" for row in wrong]


def test_suspected_label_errors_are_found_in_the_reported_split(
    reviews: Path, bag: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("cleanlab", reason="cleanlab is not installed: suspects need it")
    rng = random.Random(0)
    rows = [[f"{word} n{i % 7}", label] for i in range(400)
            for word, label in [rng.choice([("fine", "yes"), ("awful", "no")])]]  # fmt: skip
    splits = {"train": rows[:200], "validation": rows[200:300], "test": rows[300:]}
    for row in (splits["test"][5], splits["test"][50]):
        row[1] = "no" if row[1] == "yes" else "yes"
    data = {}
    for name, part in splits.items():
        data[name] = str(tmp_path / f"{name}.csv")
        with open(data[name], "w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *part])
    run = train(bag, data, tmp_path / "run", encoder="none")
    written = textclf.write_report(run, tmp_path / "out.html", audit=False)
    figures = json.loads((tmp_path / "out_files" / "report.json").read_text())
    examples = figures["suspects"]["examples"]
    # Confident learning counts the errors conservatively, so it may miss one of two.
    assert examples and {example["row"] for example in examples} <= {5, 50}
    for example in examples:
        assert example["suggested_labels"] == example["predicted"] != example["true"]
    assert written.num_suspects == len(examples)
    on_train = textclf.write_report(run, tmp_path / "train.html", split="train", audit=False)
    assert on_train.num_suspects is None
    assert "the model was trained with these labels" in text_of(tmp_path / "train.html")


def test_report_without_cleanlab_says_how_to_install_it(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    textclf.write_report(trained, tmp_path / "out.html", audit=False)
    text = text_of(tmp_path / "out.html")
    assert "Not computed: cleanlab is not installed; install it with .venv/bin/pip" in text


def test_audit_findings_are_those_of_data_check(hostile: Path, page_of: Any) -> None:
    page = page_of(hostile)
    figures = json.loads((page.parent / "out_files" / "report.json").read_text())
    done = run_command("data", "check", hostile / "config.yaml", "--json")
    expected = json.loads(done.stdout)
    assert [f["title"] for f in figures["audit"]["findings"]] == [
        finding["title"] for finding in expected["findings"]
    ]
    text = text_of(page)
    assert expected["findings"]
    assert all(" ".join(f["title"].split()) in text for f in expected["findings"])


def test_commands_of_the_audit_are_quoted_and_have_the_settings_of_the_data(
    trained: Path, reviews: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(trained, tmp_path / "my model")
    source = str(shutil.copy(reviews, tmp_path / "my reviews.csv"))
    textclf.write_report(model, tmp_path / "out.html", overrides={"data.source": source})
    figures = json.loads((tmp_path / "out_files" / "report.json").read_text())
    fixes = " ".join(finding["fix"] for finding in figures["audit"]["findings"])
    expected = f"textclf data clean '{model}/config.yaml' --set 'data.source={source}' OUTPUT"
    assert expected in fixes


def test_report_of_several_labels_has_no_confusion_matrix(several: Path, page_of: Any) -> None:
    page = page_of(several)
    text = text_of(page)
    assert "A text can have several classes, so there is no confusion matrix." in text
    assert figures_of(page)["coverage"] is None
    assert [entry["name"] for entry in figures_of(page)["classes"]] == ["a", "b", "c"]


def test_report_of_many_classes_has_a_picture_of_the_matrix_and_a_coverage_explorer(
    many: Path, page_of: Any
) -> None:
    page = page_of(many)
    names = {path.name for path in (page.parent / "out_files").iterdir()}
    assert {"confusion_matrix.svg", "roc_curves.svg", "coverage.svg", "report.json"} <= names
    picture = (page.parent / "out_files" / "roc_curves.svg").read_text()
    assert "micro average" in picture and "macro average" in picture
    figures = figures_of(page)
    assert figures["classes"] == []
    shares, accuracy = figures["coverage"]["share"], figures["coverage"]["accuracy"]
    validation = artifact.read_card(many).validation
    assert (shares[0], accuracy[0]) == (1, pytest.approx(validation.get("accuracy")))
    assert "Most frequent confusions" in text_of(page)
    assert "and the 5 classes with the lowest average precision" in text_of(page)
    result = textclf.calibrate(many, coverage=shares[50], output=page.parent / "copy")
    assert result.report.abstention.accuracy == pytest.approx(accuracy[50])


def test_curves_of_many_classes_are_averages_and_the_worst_classes() -> None:
    rng = np.random.default_rng(0)
    classes, names = rng.integers(0, 8, 400), tuple("abcdefgh")
    p = rng.random((400, 8)) + np.arange(8) / 4 * np.equal.outer(classes, np.arange(8))
    is_positive = np.equal.outer(classes, np.arange(8))
    curves = evaluation.class_curves(is_positive, p, names)
    shown = curves_to_show(curves, is_positive, p)
    assert [curve.name for curve in shown] == ["micro average", "macro average", *"abcde"]
    recall, precision = shown[1].precision_recall
    # At each recall, the mean over the classes of the highest threshold that reaches it.
    for at in (0.0, 0.37, 1.0):
        means = []
        for c in range(8):
            order = np.argsort(-p[:, c])
            hits = np.cumsum(is_positive[order, c])
            k = np.argmax(hits / hits[-1] >= max(at - 1e-12, 1e-12))
            means.append(hits[k] / (k + 1))
        assert precision[recall.index(at)] == pytest.approx(np.mean(means), abs=0.02)


def test_threshold_of_two_classes_has_no_coverage_explorer_whose_command_would_remove_it(
    trained: Path, page_of: Any, tmp_path: Path
) -> None:
    assert figures_of(page_of(trained))["coverage"] is not None
    name = artifact.read_card(trained).class_names[0]
    textclf.calibrate(trained, positive=name, beta=1, output=tmp_path / "copy")
    textclf.write_report(tmp_path / "copy", tmp_path / "out.html", audit=False)
    figures = figures_of(tmp_path / "out.html")
    assert figures["coverage"] is None
    assert [entry["name"] for entry in figures["classes"] if entry["in_use"]] == [name]
    assert "Coverage explorer" not in text_of(tmp_path / "out.html")


def test_report_scores_the_values_of_a_column(hostile: Path, tmp_path: Path) -> None:
    done = run_command(
        "report", hostile, tmp_path / "out.html", "--by", "<i>country", "--no-audit", "--split",
        "validation",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    text = text_of(tmp_path / "out.html")
    assert "By <i>country" in text and f"{SCRIPT}a" in text
    command = text.rpartition("Written by textclf")[2].partition(" with ")[2]
    assert command.endswith("out.html --split validation --by '<i>country' --no-audit"), command


# === The explorer ===


@pytest.mark.parametrize("name", ["trained", "several"])
def test_threshold_explorer_has_the_figures_of_the_command_thresholds(
    name: str, request: pytest.FixtureRequest, page_of: Any
) -> None:
    run = request.getfixturevalue(name)
    entries = figures_of(page_of(run))["classes"]
    assert len(entries) == len(artifact.read_card(run).class_names)
    for entry in entries:
        positive = [] if name == "several" else ["--positive", entry["name"]]
        done = run_command("thresholds", run, *positive, "--json")
        points = json.loads(done.stdout)["points"][entry["name"]]
        for point in points:
            i = entry["t"].index(point["threshold"])
            assert entry["n"][i] == point["num_predicted"]
            assert entry["n"][i] - entry["r"][i] == point["false_positives"]
            assert entry["support"] - entry["r"][i] == point["false_negatives"]
            assert entry["pb"][i] == pytest.approx(point["precision_bound"], abs=1.1e-6)
            assert (entry["in_use"] == i) == point["is_in_use"]


def table_of(browser: chromium.Page, box: str) -> dict[str, str]:
    rows = browser.evaluate(
        f"[...document.querySelectorAll('#{box} tbody tr')].map("
        "r => [r.cells[0].textContent, r.cells[1].textContent])"
    )
    return dict(rows)


def test_threshold_explorer_shows_the_figures_and_a_command_that_sets_the_threshold(
    browser: chromium.Page, trained: Path, page_of: Any, tmp_path: Path
) -> None:
    page = page_of(trained)
    browser.open(page.as_uri(), width=1280, height=900)
    name = browser.evaluate("document.querySelector('#threshold-explorer select').value")
    entry = figures_of(page)["classes"][int(name)]
    assert "most probable class: 0.5" in browser.evaluate("document.body.innerText")
    browser.evaluate(
        "(() => { const n = document.querySelector('#threshold-explorer [type=number]');"
        "n.value = '0.25'; n.dispatchEvent(new Event('change')); })()"
    )
    i = entry["t"].index(0.25)
    n, r = entry["n"][i], entry["r"][i]
    shown = table_of(browser, "threshold-explorer")
    assert shown["precision"] == f"{r / n:.4f}"
    assert shown["recall"] == f"{r / entry['support']:.4f}"
    assert shown["F1"] == f"{2 * r / (n + entry['support']):.4f}"
    assert shown["false positives"] == str(n - r)
    assert shown["false negatives"] == str(entry["support"] - r)
    command = browser.evaluate("document.querySelector('#threshold-explorer pre').textContent")
    program, *arguments = shlex.split(command)
    copy = tmp_path / "copy"
    assert program == "textclf"
    assert run_command(*arguments, "--output", copy).exit_code == 0
    done = run_command("thresholds", copy, "--positive", entry["name"], "--json")
    (used,) = [p for p in json.loads(done.stdout)["points"][entry["name"]] if p["is_in_use"]]
    assert used["false_negatives"] == entry["support"] - r
    assert used["false_positives"] <= n - r and used["threshold"] >= 0.25


def test_threshold_explorer_follows_the_keyboard(
    browser: chromium.Page, several: Path, page_of: Any
) -> None:
    browser.open(page_of(several).as_uri(), width=1280, height=900)
    slider = "document.querySelector('#threshold-explorer [type=range]')"
    number = "Number(document.querySelector('#threshold-explorer [type=number]').value)"
    before = browser.evaluate(number)
    browser.evaluate(f"{slider}.focus()")
    for kind in ("rawKeyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight",
            windowsVirtualKeyCode=39,
        )  # fmt: skip
    after = browser.evaluate(number)
    assert after > before
    assert browser.evaluate(f"Number({slider}.getAttribute('aria-valuetext'))") == after


# === The page ===


@pytest.mark.parametrize("name", ["trained", "several", "many", "hostile"])
def test_report_is_well_formed_and_has_no_external_resource(
    name: str, request: pytest.FixtureRequest, page_of: Any
) -> None:
    page = page_of(request.getfixturevalue(name))
    parser = WellFormed()
    parser.feed(page.read_text(encoding="utf-8"))
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids)), "two elements share an id"
    assert all(address.startswith(("#", "data:")) for address in parser.addresses)
    for address in parser.addresses:
        assert not address.startswith("#") or address[1:] in parser.ids, address
    for picture in (page.parent / "out_files").glob("*.svg"):
        assert not re.search(r'href="(?!#|data:)', picture.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["trained", "several", "many", "hostile"])
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (375, True)])
def test_report_fits_the_window_and_loads_nothing(
    browser: chromium.Page, name: str, width: int, dark: bool, request: pytest.FixtureRequest,
    page_of: Any,
) -> None:  # fmt: skip
    page = page_of(request.getfixturevalue(name))
    browser.open(page.as_uri(), width=width, height=800, dark=dark)
    assert browser.problems == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("performance.getEntriesByType('resource').length") == 0
    colours = browser.evaluate(
        "[getComputedStyle(document.body).backgroundColor, "
        "getComputedStyle(document.querySelector('svg text')).fill]"
    )
    dark_colours = ["rgb(13, 17, 23)", "rgb(230, 237, 243)"]
    assert colours == (dark_colours if dark else ["rgb(255, 255, 255)", "rgb(27, 31, 36)"])


def test_report_escapes_texts_classes_columns_and_paths(
    browser: chromium.Page, hostile: Path, page_of: Any
) -> None:
    page = page_of(hostile)
    assert SCRIPT not in page.read_text(encoding="utf-8")
    browser.open(page.as_uri(), width=1280, height=800)
    assert browser.problems == []
    assert browser.evaluate("window.hacked === undefined")
    text = browser.evaluate("document.body.textContent")
    assert HOSTILE[0] in text and HOSTILE[1] in text and "<b>rows.csv" in text
    picture = browser.evaluate("document.querySelector('#curves svg').textContent")
    assert "$a$ 正面" in picture, "a name is not a formula"
    options = browser.evaluate(
        "[...document.querySelectorAll('option')].map(o => o.textContent).sort()"
    )
    assert options == sorted(HOSTILE)


def test_table_of_the_classes_is_sorted_by_a_click_on_a_header(
    browser: chromium.Page, many: Path, page_of: Any
) -> None:
    browser.open(page_of(many).as_uri(), width=1280, height=800)
    column = "[...document.querySelectorAll('.sortable tbody tr')].map(r => r.cells[{}].dataset.v)"
    sizes = [int(value) for value in browser.evaluate(column.format(1))]
    assert sizes == sorted(sizes, reverse=True)
    button = "document.querySelectorAll('.sortable th button')[5]"
    for is_reversed in (True, False):
        browser.evaluate(f"{button}.click()")
        scores = [float(value) for value in browser.evaluate(column.format(5))]
        assert scores == sorted(scores, reverse=is_reversed) and len(set(scores)) > 1
    assert browser.evaluate(f"{button}.parentNode.ariaSort") == "ascending"
    browser.evaluate("document.querySelector('.sortable th button').click()")
    names = browser.evaluate(
        "[...document.querySelectorAll('.sortable tbody th')].map(e => e.textContent)"
    )
    assert names == sorted(names)


# === Output ===


def test_report_refuses_wrong_outputs_and_models_before_the_work(
    trained: Path, exports: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=r"out\.txt: is an HTML page; name a file"):
        textclf.write_report(trained, tmp_path / "out.txt")
    with pytest.raises(ArtifactError, match="is inside the trained folder"):
        textclf.write_report(trained, trained / "out.html")
    (tmp_path / "mine_files").mkdir()
    (tmp_path / "mine_files" / "letter.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="was not written by textclf"):
        textclf.write_report(trained, tmp_path / "mine.html", overwrite=True)
    with pytest.raises(TextclfError, match=r"is an exported SavedModel(.|\n)*out\.txt"):
        textclf.write_report(exports / "reviews", tmp_path / "out.txt")
    with pytest.raises(DataError, match="no column 'countr'"):
        textclf.write_report(trained, tmp_path / "out.html", by=["countr"])
    with pytest.raises(ConfigError, match=r"model\.units"):
        textclf.write_report(trained, tmp_path / "out.html", overrides={"model.units": 3})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine_files"]


@pytest.fixture
def former(trained: Path, page_of: Any, tmp_path: Path) -> Path:
    """Return a copy of a page of `trained`, with its folder and one more file in it."""
    page = page_of(trained)
    shutil.copy(page, tmp_path)
    shutil.copytree(page.parent / "out_files", tmp_path / "out_files")
    (tmp_path / "out_files" / "former.svg").write_text("former")
    return tmp_path / page.name


def test_report_replaces_a_former_one_only_with_overwrite(trained: Path, former: Path) -> None:
    before = contents(former.parent)
    refused = run_command("report", trained, former)
    assert refused.exit_code == 1 and "exists already" in refused.stderr
    assert contents(former.parent) == before
    page = former.rename(former.with_name("other.html"))
    refused = run_command("report", trained, former)  # its folder still exists
    assert refused.exit_code == 1 and "out_files: exists already" in refused.stderr
    page.rename(former)
    assert contents(former.parent) == before
    done = run_command("report", trained, former, "--no-audit", "--overwrite")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{former}\n"
    assert "Left out by --no-audit" in text_of(former)
    assert sorted(path.name for path in former.parent.iterdir()) == ["out.html", "out_files"]
    assert contents(former.parent).keys() == before.keys() - {"out_files/former.svg"}


def test_report_replaces_no_page_that_appears_during_the_work(
    trained: Path, tmp_path: Path
) -> None:
    page = tmp_path / "out.html"
    plan = model_page.check(trained, page, audit=False)
    page.write_text("mine")
    with pytest.raises(ArtifactError, match=r"out\.html: exists already"):
        model_page.make_report(plan, recalibration.open_data(plan.trained))
    assert page.read_text() == "mine"


def test_failed_report_leaves_the_former_one(trained: Path, former: Path, full_disk: Any) -> None:
    before = contents(former.parent)
    with full_disk(60_000), pytest.raises(ArtifactError, match="cannot be written"):
        textclf.write_report(trained, former, audit=False, overwrite=True)
    assert contents(former.parent) == before


KILLED = """
import os, signal, sys
def kill(event, arguments):
    if event == "os.rename" and "out_files" in str(arguments[0]):
        count.append(event)
        if len(count) == 2:  # the former folder was moved away, the new one is not in its place
            os.kill(os.getpid(), signal.SIGKILL)
count = []
sys.addaudithook(kill)
import textclf
textclf.write_report(sys.argv[1], sys.argv[2], audit=False, overwrite=True)
"""


def test_killed_report_leaves_the_former_one(trained: Path, former: Path) -> None:
    before = contents(former.parent)
    done = subprocess.run([sys.executable, "-c", KILLED, trained, former], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert former.read_bytes() == before["out.html"]
    # The next command puts the folder back.
    assert "exists already" in run_command("report", trained, former).stderr
    after = contents(former.parent)
    assert {name: after[name] for name in before} == before


def test_train_prints_a_command_that_writes_the_report(
    reviews: Path, bag: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = reviews.read_text(encoding="utf-8").splitlines()
    Path("train.csv").write_text("\n".join(rows[:200]), encoding="utf-8")
    Path("dev.csv").write_text("\n".join([rows[0], *rows[200:]]), encoding="utf-8")
    values = {**bag, "data": {"train": "train.csv", "validation": "dev.csv"}}
    Path("a b.yaml").write_text(json.dumps(values), encoding="utf-8")
    done = run_command("train", "a b.yaml", "a run")
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("report: ")]
    program, *arguments = shlex.split(line.removeprefix("report: "))
    assert program == "textclf"
    written = run_command(*arguments, "--json")
    assert written.exit_code == 0, written.output
    # There is no test split.
    assert json.loads(written.stdout)["split"] == "validation"
    assert Path("a run.html").is_file()
    with pytest.raises(DataError, match="have no split test; use --split with one of"):
        textclf.write_report("a run", "test.html", split="test")


def test_report_of_moved_data_names_them_in_its_commands(
    reviews: Path, trained: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.csv"
    shutil.copy(reviews, moved)
    page = tmp_path / "out.html"
    done = run_command("report", trained, page, "--no-audit", "--set", f"data.source={moved}")
    assert done.exit_code == 0, done.output
    entry = figures_of(page)["classes"][0]
    assert f"--set data.source={moved}" in entry["command"]
    with open(moved, "a", encoding="utf-8") as file:
        file.write("another,positive\n")
    done = run_command("report", trained, tmp_path / "b.html", "--set", f"data.source={moved}")
    assert done.exit_code == 1 and "these are not the data" in done.stderr
