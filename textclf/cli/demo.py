"""Command `demo`: train, evaluate, export and predict on built-in data."""

from pathlib import Path

import click

from textclf.cli.export import WRITING
from textclf.cli.terminal import Progress, say, show_check
from textclf.cli.train import run_training
from textclf.errors import ArtifactError

DEMO_CONFIG = """\
# The built-in opinions, English and Chinese, two classes.
# Train:    textclf train configs/demo.yaml runs/demo
# Expect:   half a minute on two cores, test accuracy 0.998 to 1.000 (seed 0, by processor);
#           the linear baseline has 0.619
data:
  source: demo
model:
  linear: none  # for the comparison with the linear baseline
  units: 32
  embedding_dim: 32
  pooling: max
  embedding_dropout: 0.0
  output_dropout: 0.0
training:
  epochs: 3
  batch_size: 32
  learning_rate: 0.005
"""
DEMO_TEXTS = ("not bad at all", "not good at all", "一点也不差", "I loved it")


@click.command()
def demo() -> None:
    """Train, evaluate, export and predict on built-in data.

    It takes about a minute and downloads nothing. It writes runs/demo.yaml, runs/demo and a new
    version in saved_models/demo, relative to the current folder.

    \b
    Examples:
      textclf demo
    """
    show_check()
    from textclf import artifact, config, data, saved_model

    config_file, folder, exports = Path("runs/demo.yaml"), Path("runs/demo"), Path("saved_models")
    exports /= "demo"
    artifact.check_output(folder, overwrite=True, is_ours=(artifact.CARD,))
    saved_model.check(exports)
    _check_demo_output(config_file, folder)
    resolved = config.Config.from_yaml(DEMO_CONFIG, name="the demo's configuration")
    folder.parent.mkdir(exist_ok=True)
    artifact.write_file(config_file, DEMO_CONFIG)
    run_training(resolved, folder, overwrite=True)

    from textclf import baselines, classifier

    say("evaluating both on the test split")
    dataset = data.open_dataset(resolved.data)
    settings = resolved.evaluation.to_dict()
    model = classifier.load(folder)
    report = model.evaluate(dataset, "test", **settings)
    with Progress() as progress:
        (linear,) = baselines.evaluate_baselines(
            dataset,
            names=("tfidf_logistic_regression",),
            settings=settings,
            on_progress=progress.update,
        )
    say(WRITING)
    version = saved_model.export(model, exports)
    answers = classifier.load_predictor(version).predict(DEMO_TEXTS)

    accuracy = linear.report.get("accuracy")
    click.echo(f"test accuracy of the LSTM: {report.get('accuracy'):.3f}")
    click.echo(f"test accuracy of TF-IDF + logistic regression: {accuracy:.3f}")
    click.echo(f"predictions of the SavedModel {version}:")
    for text, label in zip(DEMO_TEXTS, answers, strict=True):
        click.echo(f"  {text} -> {label}")
    click.echo("the equivalent commands:")
    for command in (
        f"textclf train {config_file} {folder} --overwrite",
        f"textclf evaluate {folder}",
        f"textclf export {folder} {exports}",
        f'textclf predict {version} "{DEMO_TEXTS[0]}"',
    ):
        click.echo(f"  {command}")
    say("to use your own file: textclf init FILE.csv FILE.yaml")


def _check_demo_output(config_file: Path, folder: Path) -> None:
    """Check that the demo replaces only its own files.

    Raises:
        ArtifactError: a file or folder was not written by the demo.
    """
    from textclf import artifact

    advice = "move it, or run the demo in another folder"
    first_line = DEMO_CONFIG.partition("\n")[0].encode()
    if config_file.exists() and not config_file.read_bytes().startswith(first_line):
        raise ArtifactError(f"{config_file}: exists and was not written by the demo; {advice}")
    is_trained = (folder / artifact.CARD).exists()
    if is_trained and artifact.read_card(folder).config["data"].get("source") != "demo":
        raise ArtifactError(f"{folder}: exists and was not trained on the demo; {advice}")
