"""The page of a benchmark, in a browser."""

from collections.abc import Iterator
from pathlib import Path

import chromium
import msgspec
import pytest
from studies import MIXTURES, summarized, typed, with_network_alone, write_grids

from textclf.study import summary
from textclf.study.page import render


@pytest.fixture
def folder(reviews: Path, tmp_path: Path) -> Path:
    return write_grids(tmp_path, reviews)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    if chromium.PROGRAM is None:
        pytest.skip("Chromium is not installed: this test opens the report with it")
    with chromium.page(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, False), (360, True)])
def test_benchmark_page_has_no_external_resources_and_fits_the_window(
    page: chromium.Page, folder: Path, width: int, dark: bool
):
    benchmark, results, report = summarized(folder, {"gru": [0.8, 0.81, 0.82], "bigru": 0.9})
    report.notes.append("<b>a note</b>")
    html = render(benchmark, folder, typed(results), report)
    (folder / "report.html").write_text(html, encoding="utf-8")
    page.open(f"file://{folder}/report.html", width=width, height=800, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    images = page.evaluate(
        "[...document.querySelectorAll('svg')].map(s => [s.getAttribute('role'), "
        "s.getAttribute('aria-label'), s.getBoundingClientRect().width])"
    )
    assert len(images) == 7
    for role, label, shown in images:
        assert role == "img" and len(label) > 30 and 200 < shown < width
    names = ("BiGRU", "GRU", "BiSimpleRNN", "TF-IDF + logistic regression", "a bag of embeddings")
    for picture in page.evaluate("[...document.querySelectorAll('svg')].map(s => s.textContent)"):
        assert all(name in picture for name in names[:3])
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids)), "two plots share an id"
    colours = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, "
        "getComputedStyle(document.querySelector('svg text')).fill]"
    )
    dark_colours = ["rgb(13, 17, 23)", "rgb(230, 237, 243)"]
    assert colours == (dark_colours if dark else ["rgb(255, 255, 255)", "rgb(27, 31, 36)"])
    text = page.evaluate("document.body.innerText")
    assert "<b>a note</b>" in text and "BiGRU is better than GRU" in text
    assert "Comparison of architectures" in text and "Confusion matrix" in text
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0
    assert page.problems == []


COST = {
    "weights": 1_234_567, "training_seconds": 1234.5, "tokens_per_second": 123_456.0,
    "peak_memory_mb": 1234.0, "latency_p50_ms": 2.0, "latency_p99_ms": 3.0,
    "texts_per_second": 12_345.0, "size_mb": 3.3,
}  # fmt: skip


def test_scores_table_of_a_benchmark_fits_1280_pixels_and_scrolls_visibly_on_a_phone(
    page: chromium.Page, folder: Path
):
    benchmark, results, report = summarized(folder, {"gru": [0.8, 0.81, 0.82], "bigru": 0.9})
    [dataset] = report.datasets.values()
    for index, cell in enumerate(dataset.cells):
        cost = msgspec.structs.replace(cell.cost, **COST)
        dataset.cells[index] = msgspec.structs.replace(cell, cost=cost)
    file = folder / "report.html"
    file.write_text(render(benchmark, folder, typed(results), report), encoding="utf-8")
    box = "document.querySelector('.wide')"
    page.open(file.as_uri(), width=1280, height=800)
    assert page.evaluate(f"{box}.scrollWidth - {box}.clientWidth") == 0
    page.open(file.as_uri(), width=390, height=800)
    assert page.evaluate(f"{box}.scrollWidth - {box}.clientWidth") > 0
    assert page.evaluate(f"{box}.offsetHeight - {box}.clientHeight") >= 6, "no scrollbar is visible"
    assert page.evaluate(f"{box}.focus(), document.activeElement === {box}")


def test_captions_of_a_benchmark_page_describe_only_what_is_drawn(
    page: chromium.Page, folder: Path
):
    captions = {}
    for num_epochs, accuracies in ((1, {"bigru": 0.9}), (2, {"gru": 0.8, "bigru": 0.9})):
        benchmark, results, report = summarized(folder, accuracies)
        report.notes.append("install <it> with `pip install 'x[y]'`")
        for result in results.values():
            if "history" in result:
                result["history"] = result["history"][:num_epochs]
        [dataset] = report.datasets.values()
        for index, cell in enumerate(dataset.cells):
            front = ["training_seconds"] if index < num_epochs else []
            # Each point of the front has a different cost.
            cost = msgspec.structs.replace(cell.cost, training_seconds=9.0 - index)
            dataset.cells[index] = msgspec.structs.replace(cell, pareto=front, cost=cost)
        file = folder / "report.html"
        file.write_text(render(benchmark, folder, typed(results), report), encoding="utf-8")
        page.open(file.as_uri(), width=1280, height=800)
        captions[num_epochs] = page.evaluate(
            "[...document.querySelectorAll('figcaption')].map(e => e.textContent)"
        )
        codes = page.evaluate("[...document.querySelectorAll('p code')].map(e => e.textContent)")
        assert codes == ["pip install 'x[y]'"]
        assert "install <it> with pip" in page.evaluate("document.body.innerText")
        texts = page.evaluate(
            "[...document.querySelectorAll('svg')[1].querySelectorAll('text')]"
            ".map(e => e.textContent)"
        )
        assert texts[: texts.index("epoch")] == [str(epoch + 1) for epoch in range(num_epochs)]
    for caption in (*captions[1], *captions[2]):
        assert caption[0].isupper(), caption
    assert [("band" in c[1], "dotted" in c[5]) for c in captions.values()] == [
        (False, False),
        (True, True),
    ]


def test_benchmark_page_of_mixtures_has_a_part_for_the_networks_alone(
    page: chromium.Page, folder: Path
):
    benchmark, results, _ = summarized(folder, {"gru": 0.8}, MIXTURES)
    for run in benchmark.runs:
        if run.linear is not None:
            results[run.name] = with_network_alone(results[run.name], run, 0.6)
    records = typed(results)
    report = summary.summarize(benchmark, records, {})
    file = folder / "report.html"
    file.write_text(render(benchmark, folder, records, report), encoding="utf-8")
    page.open(file.as_uri(), width=1280, height=800)
    headings = page.evaluate("[...document.querySelectorAll('h3')].map(e => e.textContent)")
    assert headings == ["Network alone", "Mixture with the linear model"]
    groups = page.evaluate("[...document.querySelectorAll('h4')].map(e => e.textContent)")
    assert groups == 2 * ["Between cells", "With the simple classifiers", "Confusion matrix"]
    labels = page.evaluate(
        "[...document.querySelectorAll('svg')].map(s => s.getAttribute('aria-label'))"
    )
    assert sum(label.startswith("Network alone: ") for label in labels) == 3
    assert len(labels) == 3 + 7
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids)), "two plots share an id"
    assert page.problems == []
