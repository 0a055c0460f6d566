"""The command line: parse, call, print.

Results go to stdout, everything else to stderr. Exit codes: 0; 1 the command could not do it;
2 wrong usage. Nothing heavy is imported before a command has checked what can be checked
without it.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

import textclf
from textclf.errors import ArtifactError, ConfigError, DataError, TextclfError

_set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.SETTING=VALUE",
    help="Override one setting; may be repeated.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


class _Group(click.Group):
    """Turns the mistakes of a user into messages with exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TextclfError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(textclf.__version__, prog_name="textclf")
def main() -> None:
    """Train, evaluate and export recurrent text classifiers.

    \b
    Examples:
      textclf demo
      textclf init reviews.csv reviews.yaml
      textclf train reviews.yaml runs/reviews
      textclf evaluate runs/reviews
      textclf predict runs/reviews "not bad at all"
      textclf export runs/reviews saved_models/reviews
    """


# === From a file to a configuration ===


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace an existing configuration.")
def init(file: Path, config: Path, overwrite: bool) -> None:
    """Recognise how FILE is written and write a commented CONFIG for it.

    \b
    Examples:
      textclf init reviews.csv reviews.yaml
      textclf init texts/ texts.yaml          # texts/train/positive/1.txt ...
    """
    from textclf import config as configuration
    from textclf import data

    if config.exists() and not overwrite:
        raise ArtifactError(f"{config}: exists already; name another file or add --overwrite")
    if not config.parent.is_dir():
        raise ArtifactError(f"{config.parent}: no such folder; create it first")
    recognised = data.recognise(str(file))
    text = _commented_config(file, config, recognised)
    resolved, _ = configuration.from_yaml(text, place=str(config))
    data.check_sources(**resolved.data.model_dump())
    _write_text(config, text)
    for note in recognised.notes:
        _say(f"note: {note}")
    click.echo(config)
    _say(f"next: textclf train {config} runs/{config.stem}")


def _commented_config(file: Path, config: Path, recognised: Any) -> str:
    """YAML text of what was recognised, with a comment on each line."""
    quoted = json.dumps  # a JSON string is a YAML string
    lines = [
        f"# Made by: textclf init {file} {config}",
        f"# Train:   textclf train {config} runs/{config.stem}",
        "# Every setting and its default: textclf config show " + str(config),
        "data:",
        f"  source: {quoted(str(file), ensure_ascii=False)}",
        f"  format: {recognised.format}",
    ]
    if recognised.format in ("csv", "tsv"):
        lines += [
            f"  delimiter: {quoted(recognised.delimiter)}",
            f"  quoting: {recognised.quoting}  # whether \" quotes a field",
            f"  header: {quoted(recognised.header)}  # whether the first row names the columns",
        ]
    if recognised.format != "folder":
        columns = quoted(list(recognised.text_columns), ensure_ascii=False)
        label = quoted(recognised.label_column, ensure_ascii=False)
        lines += [
            f"  text_columns: {columns}  # several are joined",
            f"  label_column: {label}",
        ]
        if recognised.multi_label:
            lines.append("  multi_label: true  # a text may have several labels")
            lines.append(f"  label_separator: {quoted(recognised.label_separator)}")
    if recognised.encoding not in ("utf-8", "utf-8-sig"):
        lines.append(f"  encoding: {recognised.encoding}")
    classes = recognised.class_names_seen
    if classes:
        shown = ", ".join(str(name) for name in classes[:10])
        more = f" and {len(classes) - 10} more" if len(classes) > 10 else ""
        lines.append(f"  # labels seen in the first {recognised.num_rows_seen} rows: {shown}{more}")
        if all(str(name).isdecimal() for name in classes):
            lines.append("  # class_names: [...]       # names for the numbers, in order, and then")
            first = min(int(name) for name in classes)
            ids = "from_one" if first == 1 else "from_zero"
            lines.append(f"  # label_ids: {ids}")
    lines += [
        "text:",
        f"  unit: word  # script seen: {recognised.script}; Han characters are words of their own",
        "model:",
        "  encoder: lstm  # simple_rnn, lstm, gru or bag",
        "training:",
        "  epochs: 10  # at most; it stops when validation no longer improves",
    ]
    return "\n".join(lines) + "\n"


@main.group()
def config() -> None:
    """Show, check and describe configurations.

    \b
    Examples:
      textclf config check configs/*.yaml
      textclf config show reviews.yaml --set model.encoder=gru
      textclf config schema > textclf.schema.json
    """


@config.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@_set_option
@_json_option
def config_show(file: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print every setting that FILE resolves to.

    \b
    Examples:
      textclf config show reviews.yaml
      textclf config show reviews.yaml --set model.encoder=gru --json
    """
    from textclf.config import to_yaml

    values = _load_config(file, overrides).to_dict()
    text = json.dumps(values, ensure_ascii=False) if as_json else to_yaml(values).rstrip("\n")
    click.echo(text)


@config.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_set_option
def config_check(files: tuple[Path, ...], overrides: tuple[str, ...]) -> None:
    """Check FILES and report every mistake in them; the data need not be there.

    \b
    Examples:
      textclf config check reviews.yaml
      textclf config check configs/*.yaml --set training.epochs=3
    """
    problems: list[str] = []
    for file in files:
        try:
            _load_config(file, overrides)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    for file in files:
        click.echo(f"{file}: ok")


@config.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of a configuration, for editors.

    \b
    Examples:
      textclf config schema > textclf.schema.json
    """
    from textclf.config import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@main.group("data")
def data_group() -> None:
    """Look at data before training on them.

    \b
    Examples:
      textclf data check reviews.yaml
      textclf data check reviews.csv --set data.label_column=stars
    """


@data_group.command("check")
@click.argument("source")
@_set_option
@_json_option
def data_check(source: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Count rows, classes, lengths, duplicates and conflicts of SOURCE.

    SOURCE is a configuration, or anything that data.source may be.

    \b
    Examples:
      textclf data check reviews.yaml
      textclf data check tfds:imdb_reviews --set data.data_dir=~/tensorflow_datasets
      textclf data check reviews.csv --set 'data.text_columns=[title, body]' --json
    """
    from textclf import config as configuration
    from textclf import data

    if source.endswith((".yaml", ".yml")):
        resolved = _load_config(Path(source), overrides)
    else:
        resolved, notices = configuration.from_dict({"data": {"source": source}}, overrides)
        _say_all(notices)
    settings = configuration.with_paths(resolved)
    data.check_sources(**settings.data.model_dump())
    dataset = data.open_dataset(**settings.data.model_dump())
    lengths = _lengths(resolved, dataset)
    found = {
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
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    from textclf.report import format_data_check

    click.echo(format_data_check(dataset, lengths, resolved.text.sequence_length), nl=False)


def _lengths(resolved: Any, dataset: Any) -> dict[str, dict[str, Any]]:
    """Token counts of every split and what the length limit cuts, by split."""
    _import_tensorflow()
    from textclf import classifier, text

    tokenizer = text.Tokenizer(**classifier.tokenizer_settings(resolved))
    limit = resolved.text.sequence_length
    found = {}
    with _Bar() as bar:
        for split, summary in dataset.splits.items():
            texts = (example.text for example in dataset.examples(split))
            lengths = text.token_lengths(
                bar.counted(texts, f"counting tokens of {split}", summary.num_examples), tokenizer
            )
            found[split] = {
                "num_tokens": int(lengths.sum()),
                "length_quantiles": {
                    name: int(value)
                    for name, value in zip(
                        ("min", "25%", "median", "75%", "95%", "max"),
                        _quantiles(lengths, (0, 0.25, 0.5, 0.75, 0.95, 1)),
                        strict=True,
                    )
                },
                "truncated_texts": int((lengths > limit).sum()),
                "cut_tokens": int((lengths - limit).clip(min=0).sum()),
            }
    return found


def _quantiles(values: Any, shares: Iterable[float]) -> Any:
    import numpy as np

    return np.quantile(values, list(shares), method="nearest") if len(values) else [0] * 6


# === From a configuration to a trained folder ===


@main.command()
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@_set_option
@click.option("--overwrite", is_flag=True, help="Replace an existing trained folder.")
def train(config_file: Path, output: Path, overrides: tuple[str, ...], overwrite: bool) -> None:
    """Train the classifier that CONFIG describes and write it to the folder OUTPUT.

    Ctrl-C stops at the next step and keeps the best epoch so far.

    \b
    Examples:
      textclf train reviews.yaml runs/reviews
      textclf train reviews.yaml runs/gru --set model.encoder=gru --set training.epochs=3
    """
    _train(_load_config(config_file, overrides), output, overwrite)
    click.echo(output)


def _train(resolved: Any, output: Path, overwrite: bool) -> None:
    from textclf import artifact, data
    from textclf.config import with_paths

    artifact.check_output(output, overwrite=overwrite, is_ours=(artifact.CARD,))
    data.check_sources(**with_paths(resolved).data.model_dump())
    _import_tensorflow()
    from textclf import training

    finished = None
    with _stop_on_interrupt() as should_stop, _Bar() as bar:
        events = training.train(
            resolved,
            output,
            overwrite=overwrite,
            should_stop=should_stop,
            on_progress=bar.update,
        )
        for event in events:
            if isinstance(event, training.Started):
                bar.clear()
                sizes = ", ".join(f"{name} {n:,}" for name, n in event.splits.items())
                _say(f"{len(event.class_names)} classes; examples: {sizes}")
                _say(
                    f"{event.vocabulary_size:,} token ids; {event.num_weights:,} weights; "
                    f"{event.steps_per_epoch:,} steps an epoch"
                )
                _say_all(event.notices)
                _say(
                    f"{'epoch':>7} {'loss':>8} {'val_loss':>9} {'val_accuracy':>13} "
                    f"{'val_macro_f1':>13} {'seconds':>8}"
                )
            elif isinstance(event, training.Step):
                stage = f"epoch {event.epoch}/{resolved.training.epochs} loss {event.loss:.3f}"
                bar.update(stage, event.step, event.steps_per_epoch, key=event.epoch)
            elif isinstance(event, training.Epoch):
                bar.clear()
                figures = event.figures
                _say(
                    f"{event.epoch:>3}/{resolved.training.epochs:<3} {figures['loss']:>8.4f} "
                    f"{figures['val_loss']:>9.4f} {figures['val_accuracy']:>13.4f} "
                    f"{figures['val_macro_f1']:>13.4f} {event.seconds:>8.1f}"
                    + ("  best" if event.is_best else "")
                )
            else:
                finished = event
    assert finished is not None
    if finished.message:
        raise TextclfError(
            f"{finished.message}; the best epoch so far ({finished.best_epoch}) is saved in "
            f"{finished.folder}"
        )
    ended = "stopped early" if finished.why == "early stopping" else "ended"
    _say(f"{ended} after epoch {finished.epochs}; kept epoch {finished.best_epoch}")


@main.command()
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@_set_option
@click.option("--split", default="test", show_default=True, help="The split to report on.")
@_json_option
def baseline(config_file: Path, overrides: tuple[str, ...], split: str, as_json: bool) -> None:
    """Train the majority class and TF-IDF + logistic regression on the data of CONFIG.

    \b
    Examples:
      textclf baseline reviews.yaml
      textclf baseline reviews.yaml --json --split validation
    """
    from textclf import baselines, data, evaluation
    from textclf.config import with_paths
    from textclf.report import format_comparison, format_report

    resolved = _load_config(config_file, overrides)
    settings = with_paths(resolved)
    data.check_sources(**settings.data.model_dump())
    dataset = data.open_dataset(**settings.data.model_dump())
    if split not in dataset.splits:
        raise DataError(f"the data have no {split} split; they have {', '.join(dataset.splits)}")
    texts, y = _texts_and_classes(dataset, "train")
    split_texts, y_true = _texts_and_classes(dataset, split)
    reports, described, without_leaked, seconds = {}, {}, {}, {}
    unit = "character" if resolved.text.unit == "character" else "auto"
    leaked = dataset.leaked(split)
    for name in baselines.BASELINES:
        started = time.monotonic()
        _say(f"fitting {name} on {len(texts):,} texts")
        model = baselines.fit(
            name,
            texts,
            y,
            class_names=dataset.class_names,
            multi_label=dataset.multi_label,
            unit=unit,
            seed=resolved.training.seed,
        )
        p = model.predict_proba(split_texts)
        seconds[name] = time.monotonic() - started
        described[name] = model.describe()

        def evaluated(rows: Any, p: Any = p) -> Any:
            return evaluation.evaluate(
                y_true[rows],
                p[rows],
                class_names=dataset.class_names,
                multi_label=dataset.multi_label,
                **resolved.evaluation.model_dump(),
            )

        reports[name] = evaluated(slice(None))
        if 0 < leaked.sum() < len(leaked):
            without_leaked[name] = evaluated(~leaked)
    if as_json:
        values = {
            name: {
                "description": described[name],
                "seconds": round(seconds[name], 1),
                "report": reports[name].to_dict(),
                "without_leaked": (
                    without_leaked[name].to_dict() if name in without_leaked else None
                ),
            }
            for name in reports
        }
        click.echo(json.dumps({"split": split, "baselines": values}, ensure_ascii=False))
        return
    click.echo(format_comparison(reports), nl=False)
    if without_leaked:
        click.echo(f"\nWithout the {leaked.sum()} {split} rows whose text stands in train:\n")
        click.echo(format_comparison(without_leaked), nl=False)
    for name, report in reports.items():
        click.echo("\n" + format_report(report, title=f"{name}, {described[name]}"), nl=False)


def _texts_and_classes(dataset: Any, split: str) -> tuple[list[str], Any]:
    """The texts of a split, and their ids [n], or indicators [n, classes] for multi-label."""
    import numpy as np

    texts, labels = [], []
    for example in dataset.examples(split):
        texts.append(example.text)
        labels.append(example.label_ids)
    if not dataset.multi_label:
        return texts, np.array([ids[0] for ids in labels], np.int64)
    y = np.zeros((len(texts), len(dataset.class_names)), bool)
    for row, ids in enumerate(labels):
        y[row, list(ids)] = True
    return texts, y


# === From a trained folder to scores, answers and exports ===


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("source", metavar="[DATA]", required=False)
@click.option("--split", default="test", show_default=True, help="The split to report on.")
@_set_option
@_json_option
@click.option(
    "--require",
    "requirements",
    multiple=True,
    metavar="METRIC=VALUE",
    help="Exit with 1 if METRIC is below VALUE; may be repeated.",
)
def evaluate(
    model: Path,
    source: str | None,
    split: str,
    overrides: tuple[str, ...],
    as_json: bool,
    requirements: tuple[str, ...],
) -> None:
    """Report how good MODEL is on DATA; default: the data it was trained on.

    MODEL is a trained folder or an exported SavedModel. DATA is a file whose rows are all
    scored, or anything else that data.source may be.

    \b
    Examples:
      textclf evaluate runs/reviews
      textclf evaluate runs/reviews new.csv --set data.label_column=stars
      textclf evaluate saved_models/reviews/1 --json --require macro_f1=0.85
    """
    from textclf import data
    from textclf.config import from_dict, with_paths

    needed = [_requirement(text) for text in requirements]
    card = _read_card(model)
    if source is None:
        resolved, notices = from_dict(card.config, overrides)
        _say_all(notices)
        arguments = with_paths(resolved).data.model_dump()
    else:
        resolved, arguments = _other_data(card, source, split, overrides)
    data.check_sources(**arguments)
    dataset = data.open_dataset(**arguments)
    if source is None and dataset.fingerprint != card.data["fingerprint"]:
        _say("note: the data have changed since the training; their splits may differ from its own")
    _import_tensorflow()
    from textclf import classifier
    from textclf.report import format_report

    predictor = classifier.load_predictor(model)
    with _Bar() as bar:
        scores = predictor.score(dataset, split, bar.update)
    evaluation_settings = resolved.evaluation.model_dump()
    report = predictor.report(scores, **evaluation_settings)
    leaked = dataset.leaked(split)
    clean = None
    if 0 < leaked.sum() < len(leaked):
        kept = classifier.Scores(*(values[~leaked] for values in scores))
        clean = predictor.report(kept, **evaluation_settings)
    if as_json:
        values = {
            "model": str(model),
            "split": split,
            "report": report.to_dict(),
            "without_leaked": None if clean is None else clean.to_dict(),
        }
        click.echo(json.dumps(values, ensure_ascii=False))
    else:
        click.echo(format_report(report, title=f"{model} on {split}"), nl=False)
        if clean is not None:
            first = "micro_f1" if card.multi_label else "accuracy"
            click.echo(
                f"\nWithout the {leaked.sum()} rows whose text stands in train: "
                f"{first.replace('_f1', ' F1')} {clean.get(first):.4f}, "
                f"macro F1 {clean.get('macro_f1'):.4f}"
            )
    failed = [
        f"{name} is {report.get(name):.4f}, below the required {least:g}"
        for name, least in needed
        if not report.get(name) >= least
    ]
    if failed:
        raise TextclfError("\n".join(failed))


def _requirement(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise click.UsageError(
            f"--require {text}: expected METRIC=VALUE, for instance macro_f1=0.85"
        ) from None


def _other_data(
    card: Any, source: str, split: str, overrides: tuple[str, ...]
) -> tuple[Any, dict[str, Any]]:
    """The card's configuration, and arguments for the data, with DATA in the place of its own."""
    from textclf.config import from_dict, with_paths

    cleared = [f"data.{name}=" for name in ("train", "validation", "test")]
    moved = [*cleared, f"data.source={source}", "data.format=auto", *overrides]
    # What this drops are settings of the other source's format: nobody asked for them here.
    resolved, _ = from_dict(card.config, moved)
    arguments = with_paths(resolved).data.model_dump()
    if not (Path(source).is_dir() or source == "demo" or source.startswith("tfds:")):
        arguments |= {"source": None, split: arguments["source"]}  # all its rows are scored
        arguments |= {"class_names": list(card.class_names), "class_names_file": None}
    return resolved, arguments


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1)
@click.option(
    "--input",
    "input_file",
    metavar="FILE",
    help="Texts to answer: a file of lines, CSV, TSV, JSON lines or Parquet; - for stdin.",
)
@click.option("--top-k", type=click.IntRange(min=1), help="Print the K most probable classes.")
@_set_option
@_json_option
def predict(
    model: Path,
    texts: tuple[str, ...],
    input_file: str | None,
    top_k: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the label of each of TEXTS, or of each row of --input, in order.

    MODEL is a trained folder or an exported SavedModel. The other columns of a table come
    back beside the answers.

    \b
    Examples:
      textclf predict runs/reviews "not bad at all" "never again"
      textclf predict runs/reviews --input new.csv --set data.text_columns=review > answered.csv
      cat lines.txt | textclf predict saved_models/reviews/1 --input - --json
    """
    if bool(texts) == (input_file is not None):
        raise click.UsageError("give either TEXTS or --input FILE")
    card = _read_card(model)
    from textclf import config as configuration

    resolved, notices = configuration.from_dict(card.config, overrides)
    _say_all(notices)
    rows: Iterable[tuple[str, dict[str, Any]]]
    writer: Callable[[dict[str, Any], str], None] = _print_label
    if input_file is None:
        rows = ((text, {}) for text in texts)
    else:
        rows, delimiter = _open_input(input_file, resolved, bool(overrides))
        if delimiter is not None:
            writer = _table_writer(delimiter)
    _import_tensorflow()
    from textclf import classifier

    predictor = classifier.load_predictor(model)
    show = _print_json if as_json else writer
    for chunk in classifier.chunks(rows, 1024):
        answers = predictor.answers([text for text, _ in chunk])
        for index, (text, columns) in enumerate(chunk):
            answer = _answer(predictor, answers, index, top_k)
            show({"text": text, **answer, "columns": columns}, _label_text(answer, top_k))
        sys.stdout.flush()


def _answer(predictor: Any, answers: dict[str, Any], index: int, top_k: int | None) -> dict:
    p = answers["probabilities"][index]
    names = predictor.class_names
    order = sorted(range(len(names)), key=lambda i: -p[i])[: top_k or len(names)]
    if top_k is None:
        order = list(range(len(names)))
    values: dict[str, Any] = {
        "label": answers["label"][index].decode(),
        "confidence": float(answers["confidence"][index]),
        "probabilities": {names[i]: float(p[i]) for i in order},
        "num_tokens": int(answers["num_tokens"][index]),
        "unknown_fraction": float(answers["unknown_fraction"][index]),
        "truncated": bool(answers["truncated"][index]),
        "abstain": bool(answers["abstain"][index]),
    }
    if predictor.card.multi_label:
        chosen = answers["selected"][index]
        values["labels"] = [name for name, is_in in zip(names, chosen, strict=True) if is_in]
    return values


def _label_text(answer: dict[str, Any], top_k: int | None) -> str:
    if top_k is not None:
        return "\t".join(f"{name} {p:.4f}" for name, p in answer["probabilities"].items())
    return ", ".join(answer["labels"]) if "labels" in answer else answer["label"]


def _print_label(answer: dict[str, Any], label: str) -> None:
    click.echo(label)


def _print_json(answer: dict[str, Any], label: str) -> None:
    if not answer["columns"]:
        del answer["columns"]
    click.echo(json.dumps(answer, ensure_ascii=False, default=str))


def _table_writer(delimiter: str) -> Callable[[dict[str, Any], str], None]:
    """Prints the row's own columns and then `predicted` and `confidence`, under a header."""
    import csv

    writer = csv.writer(sys.stdout, delimiter=delimiter, lineterminator="\n")
    started = False

    def write(answer: dict[str, Any], label: str) -> None:
        nonlocal started
        if not started:
            writer.writerow([*answer["columns"], "predicted", "confidence"])
            started = True
        values = [*answer["columns"].values(), label, f"{answer['confidence']:.4f}"]
        writer.writerow(["" if value is None else value for value in values])

    return write


def _open_input(
    path: str, resolved: Any, has_overrides: bool
) -> tuple[Iterator[tuple[str, dict[str, Any]]], str | None]:
    """Rows of (text, all columns) of a file, and the delimiter of the table to print."""
    from textclf import data

    if path == "-":
        return ((line.rstrip("\r\n"), {}) for line in sys.stdin), None
    if not Path(path).exists():
        raise DataError(f"{path}: no such file; --input takes a file, or - for stdin")
    if Path(path).suffix.lower() in (".txt", ""):
        return _lines(path, resolved.data.encoding), None
    recognised = data.recognise(path)
    columns = resolved.data.text_columns
    rows = data.read_table(
        path,
        format=recognised.format,
        delimiter=recognised.delimiter,
        quoting=recognised.quoting,
        header=recognised.header,
        encoding=recognised.encoding,
    )
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: holds no rows")
    names = list(first[1])
    missing = [name for name in columns if name not in names]
    if missing and not has_overrides and len(columns) == 1:
        columns = list(recognised.text_columns)
        _say(f"note: no column {missing[0]!r} in {path}; the text is taken from {columns[0]!r}")
    elif missing:
        raise DataError(
            f"{path}: no column {missing[0]!r}; found {', '.join(names)}; use "
            f"--set 'data.text_columns=[{names[0]}]'"
        )

    def texts() -> Iterator[tuple[str, dict[str, Any]]]:
        for _, row in _chain(first, rows):
            values = ["" if row[name] is None else str(row[name]) for name in columns]
            yield resolved.data.text_separator.join(values), row

    tables = {"csv": ",", "tsv": "\t"}
    delimiter = (recognised.delimiter or tables[recognised.format]) if (
        recognised.format in tables
    ) else ("\t" if recognised.format in ("jsonl", "parquet") else None)
    return texts(), delimiter


def _lines(path: str, encoding: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with open(path, encoding="utf-8-sig" if encoding == "utf-8" else encoding) as file:
            for line in file:
                yield line.rstrip("\r\n"), {}
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not {encoding} ({error.reason}); name its encoding with "
            "--set data.encoding=..."
        ) from None


def _chain(first: Any, rest: Iterator) -> Iterator:
    yield first
    yield from rest


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--version", type=click.IntRange(min=1), help="Default: the largest there + 1.")
def export(model: Path, output: Path, version: int | None) -> None:
    """Write the trained folder MODEL as the SavedModel OUTPUT/VERSION.

    It takes raw strings, loads with TensorFlow alone, and is verified in a fresh process
    before it appears.

    \b
    Examples:
      textclf export runs/reviews saved_models/reviews
      textclf export runs/reviews saved_models/reviews --version 7
    """
    click.echo(_export(model, output, version))


def _export(model: Path, output: Path, version: int | None) -> Path:
    from textclf import artifact
    from textclf import export as exporting

    card = artifact.read_card(model)
    exporting.check(output, version)
    _import_tensorflow()
    from textclf import classifier

    loaded = classifier.load(model)
    golden = card.config["export"]["golden_texts"]
    _say("writing the SavedModel and verifying it in a fresh process")
    return exporting.export(loaded, output, version=version, golden_texts=golden)


@main.command()
@click.argument("saved_model", type=click.Path(path_type=Path))
def verify(saved_model: Path) -> None:
    """Check every file of SAVED_MODEL and its answers to its golden samples.

    \b
    Examples:
      textclf verify saved_models/reviews/1
    """
    from textclf import export as exporting

    count = exporting.verify(saved_model)
    click.echo(f"{saved_model}: verified, {count} golden samples")


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
def info(model: Path) -> None:
    """Print the card of MODEL, a trained folder or an export, as JSON.

    \b
    Examples:
      textclf info runs/reviews
    """
    click.echo(_read_card(model).to_json().rstrip("\n"))


def _read_card(model: Path) -> Any:
    """The card of a trained folder, of an exported version, or of the newest version in it."""
    from textclf import artifact

    version = artifact.exported_version(model)
    return artifact.read_card(model if version is None else version / "assets.extra")


# === The demo ===

DEMO_TEXTS = ("not bad at all", "not good at all", "一点也不差", "I loved it")


@main.command()
def demo() -> None:
    """Train, evaluate, export and predict on the built-in data, in about a minute.

    Writes runs/demo.yaml, runs/demo and saved_models/demo below the current folder.

    \b
    Examples:
      textclf demo
    """
    from textclf import demo as built_in

    config_file, folder = Path("runs/demo.yaml"), Path("runs/demo")
    exports = Path("saved_models/demo")
    with contextlib.suppress(FileExistsError):
        config_file.parent.mkdir(parents=True)
    _write_text(config_file, built_in.CONFIG)
    resolved = _load_config(config_file, ())
    _train(resolved, folder, overwrite=True)

    from textclf import baselines, classifier, data, evaluation

    dataset = data.open_dataset(**resolved.data.model_dump())
    report = classifier.load(folder).evaluate(dataset, "test")
    texts, y = _texts_and_classes(dataset, "train")
    test_texts, y_true = _texts_and_classes(dataset, "test")
    linear = baselines.fit(
        "tfidf_logistic_regression",
        texts,
        y,
        class_names=dataset.class_names,
        multi_label=False,
        seed=0,
    )
    linear_report = evaluation.evaluate(
        y_true,
        linear.predict_proba(test_texts),
        class_names=dataset.class_names,
        multi_label=False,
    )
    version = _export(folder, exports, None)
    predictor = classifier.load_predictor(version)
    click.echo(
        f"test accuracy: LSTM {report.get('accuracy'):.3f}, "
        f"TF-IDF + logistic regression {linear_report.get('accuracy'):.3f}"
    )
    click.echo(f"answers of the SavedModel {version}:")
    for text, label in zip(DEMO_TEXTS, predictor.predict(DEMO_TEXTS), strict=True):
        click.echo(f"  {text} -> {label}")
    click.echo("the same, step by step, and the way on with your own file:")
    for command in (
        f"textclf train {config_file} {folder} --overwrite",
        f"textclf evaluate {folder}",
        f"textclf export {folder} {exports}",
        f'textclf predict {version} "{DEMO_TEXTS[0]}"',
    ):
        click.echo(f"  {command}")
    _say("your own file: textclf init FILE.csv FILE.yaml")


# === What the commands share ===


def _load_config(file: Path, overrides: tuple[str, ...]) -> Any:
    from textclf.config import load

    resolved, notices = load(file, overrides)
    _say_all(notices)
    return resolved


def _say(message: str) -> None:
    click.echo(message, err=True)


def _say_all(messages: Iterable[str]) -> None:
    for message in messages:
        _say(f"note: {message}")


def _write_text(path: Path, text: str) -> None:
    """Writes a file at once and whole."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be written ({error.strerror}); name another file"
        ) from None


@contextlib.contextmanager
def _stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks to stop at the next step, the second stops at once."""
    interrupted = False

    def on_interrupt(number: int, frame: Any) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        _say("stopping at the next step; Ctrl-C again stops at once and saves nothing")

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _import_tensorflow() -> None:
    """Imports TensorFlow without its start-up noise, which no setting of its own silences."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            import tensorflow as tf

            tf.constant(0)
        except BaseException:
            os.dup2(saved, 2)
            held_back.seek(0)
            sys.stderr.buffer.write(held_back.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


class _Bar:
    """A progress bar with an ETA on a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        self._progress: Any = None
        self._task: Any = None
        self._key: Any = None

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    def update(self, stage: str, done: int, total: int, key: Any = None) -> None:
        """Shows that `done` of `total` are done; a new `key` (default: the stage) starts anew."""
        if not sys.stderr.isatty():
            return
        if self._progress is None or (key or stage) != self._key:
            self.clear()
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._key = key or stage
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._progress.add_task(stage, total=total)
            self._progress.start()
        self._progress.update(self._task, completed=done, description=stage)

    def clear(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def counted(self, items: Iterable, stage: str, total: int) -> Iterator:
        """The items, counted while they are taken."""
        for done, item in enumerate(items, start=1):
            yield item
            if done % 1024 == 0 or done == total:
                self.update(stage, done, total)
