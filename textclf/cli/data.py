"""Command `data check`: report on data before training."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, note_all, show_check
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.config import Config
    from textclf.data import Dataset


@click.group()
def data() -> None:
    """Check data before training.

    \b
    Examples:
      textclf data check reviews.yaml
      textclf data check reviews.csv --set data.label_column=stars
    """


@data.command("check")
@click.argument("source", metavar="CONFIG|SOURCE")
@options.set_option
@options.json_option
def data_check(source: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Report rows, classes, lengths, duplicates and conflicts.

    SOURCE is a value of data.source: a file, a folder, tfds:NAME or demo. Token counts and cut
    tokens depend on the `text` settings.

    \b
    Examples:
      textclf data check reviews.yaml
      textclf data check tfds:imdb_reviews --set data.data_dir=~/tensorflow_datasets
      textclf data check reviews.csv --set 'data.text_columns=[title, body]' --json
    """
    show_check()
    from textclf import config as configuration

    if source.endswith((".yaml", ".yml")):
        resolved = options.load_config(Path(source), overrides)
    else:
        resolved, notices = configuration.from_dict({"data": {"source": source}}, overrides)
        note_all(notices)
    section = options.prepare_sources(configuration.with_paths(resolved))
    from textclf.data import open_dataset

    with Progress() as progress:
        progress.stage("reading the data")
        dataset = open_dataset(section, on_progress=progress.update)
        progress.clear()
        import_tensorflow()
        lengths = _lengths(resolved, dataset, progress)
    if not as_json:
        from textclf.report import format_data_check

        click.echo(format_data_check(dataset, lengths, resolved.text.sequence_length), nl=False)
        return
    summary = {
        "class_names": list(dataset.class_names),
        "multi_label": dataset.multi_label,
        "fingerprint": dataset.fingerprint,
        "splits": {
            name: {
                "num_examples": split.num_examples,
                "class_counts": [int(count) for count in split.class_counts],
                **lengths[name],
            }
            for name, split in dataset.splits.items()
        },
        "findings": dataset.findings.to_dict(),
    }
    click.echo(json.dumps(summary, ensure_ascii=False))


def _lengths(
    resolved: "Config", dataset: "Dataset", progress: Progress
) -> dict[str, dict[str, Any]]:
    """Return split -> token counts and the tokens cut by the length limit."""
    from textclf import classifier, text

    tokenizer = text.Tokenizer(**classifier.tokenizer_settings(resolved))
    limit = resolved.text.sequence_length
    counts = {}
    for split, summary in dataset.splits.items():
        stage = f"counting tokens of {split}"
        texts = (example.text for example in dataset.examples(split))
        lengths = text.token_lengths(
            progress.counted(texts, stage, summary.num_examples), tokenizer
        )
        shares = {"min": 0, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1}
        counts[split] = {
            "num_tokens": int(lengths.sum()),
            "length_quantiles": dict(
                zip(shares, _quantiles(lengths, shares.values()), strict=True)
            ),
            "truncated_texts": int((lengths > limit).sum()),
            "cut_tokens": int((lengths - limit).clip(min=0).sum()),
        }
    return counts


def _quantiles(lengths: Any, shares: Iterable[float]) -> list[int]:
    import numpy as np

    if not len(lengths):
        return [0 for _ in shares]
    return [int(value) for value in np.quantile(lengths, list(shares), method="nearest")]
