"""Choice of settings by properties of the training data."""

import itertools
from pathlib import Path

import pytest
import tensorflow as tf

from textclf import data, recipes, text
from textclf.config import Config
from textclf.errors import ConfigError
from textclf.recipes import choice
from textclf.recipes.choice import MIN_TEXTS_FOR_NETWORK, Properties


def properties(num_texts: int = 10_000, length: int | None = 50, **others: object) -> Properties:
    values = {"num_classes": 2, "is_multi_label": False, **others}
    return Properties(num_texts=num_texts, length=length, **values)  # type: ignore[arg-type]


def chosen(measured: Properties, **options: bool) -> dict[str, object]:
    return {setting: value for setting, value, _ in choice.choose(measured, **options)}


def test_few_texts_give_the_linear_model_alone_and_more_the_mixture() -> None:
    assert chosen(properties(MIN_TEXTS_FOR_NETWORK - 1)) == {"model.encoder": "none"}
    settings = chosen(properties(MIN_TEXTS_FOR_NETWORK))
    assert (settings["model.encoder"], settings["model.linear"]) == ("lstm", "mixture")
    assert chosen(properties(5), with_network=True)["model.encoder"] == "lstm"


@pytest.mark.parametrize(
    ("length", "limit"), [(1, 100), (100, 100), (101, 200), (400, 400), (401, 400), (9999, 400)]
)
def test_sequence_length_is_the_smallest_limit_that_99_of_100_texts_do_not_exceed(
    length: int, limit: int
) -> None:
    assert chosen(properties(length=length))["text.sequence_length"] == limit
    assert "text.sequence_length" not in chosen(properties(length=None))


def test_every_choice_is_a_valid_configuration_with_short_reasons() -> None:
    for num_texts, length, num_classes, is_multi_label in itertools.product(
        (1, 300, 3_000, 30_000, 3_000_000), (None, 5, 5_000), (2, 5, 500), (False, True)
    ):
        measured = Properties(num_texts, num_classes, is_multi_label, length)
        sections: dict[str, dict[str, object]] = {"data": {"source": "a.csv"}}
        for setting, value, reason in choice.choose(measured):
            section, name = setting.split(".")
            sections.setdefault(section, {})[name] = value
            assert len(reason) < 90
        Config.from_dict(sections)


@pytest.mark.parametrize("unit", ["word", "character"])
def test_estimated_numbers_of_tokens_are_close_to_those_of_the_tokenizer(unit: str) -> None:
    texts = [
        "Not bad at all, isn't it? Don't miss it!!",
        "房间很大，服务也不错！ 下次还来。",
        "I paid 3 euros for 2 beers (in Köln).",
        "Всё хорошо. Ça va bien",
        "",
    ]
    tokenizer = text.Tokenizer(unit=unit, lowercase=True, fold_width=True, unescape_entities=True)
    exact = tokenizer(tf.constant(texts)).row_lengths().numpy()
    for item, number in zip(texts, exact, strict=True):
        assert choice.count_tokens(item, unit) == pytest.approx(number, rel=0.15), item


def test_properties_are_those_of_the_training_split(tmp_path: Path) -> None:
    rows = [f"{'word ' * (i % 50 + 1)}{i},{'abc'[i % 3]}" for i in range(400)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]))
    dataset = data.open_dataset(
        Config.from_dict({"data": {"source": str(tmp_path / "a.csv")}}).data
    )
    measured = choice.measure(dataset, "word")
    assert measured.num_texts == dataset.splits["train"].num_examples == 320
    assert (measured.num_classes, measured.is_multi_label) == (3, False)
    assert measured.length in (50, 51)


def write_numbered(path: Path, num_rows: int) -> Path:
    rows = [f"{'good' if i % 2 else 'bad'} day {i},{'ab'[i % 2]}" for i in range(num_rows)]
    path.write_text("\n".join(["text,label", *rows]))
    return path


def test_recipe_of_a_file_has_the_settings_chosen_for_its_rows(tmp_path: Path) -> None:
    few = write_numbered(tmp_path / "few.csv", 100)
    recipe = recipes.make_recipe(few, config_file=tmp_path / "few.yaml")
    assert recipe.config.model.encoder == "none"
    assert "train has 80" in recipe.text
    many = write_numbered(tmp_path / "many.csv", 5100)
    recipe = recipes.make_recipe(many, config_file=tmp_path / "many.yaml")
    assert (recipe.config.model.encoder, recipe.config.model.linear) == ("lstm", "mixture")
    assert recipe.config.text.sequence_length == 100


def test_a_setting_of_the_network_asks_for_one_also_on_few_rows(tmp_path: Path) -> None:
    few = write_numbered(tmp_path / "few.csv", 100)
    arguments = {"config_file": tmp_path / "few.yaml", "overrides": {"model.units": 8}}
    recipe = recipes.make_recipe(few, **arguments)  # type: ignore[arg-type]
    assert (recipe.config.model.encoder, recipe.config.model.units) == ("lstm", 8)
    with pytest.raises(ConfigError, match=r"^model\.units: .*model\.encoder is none"):
        recipes.make_recipe(
            few,
            config_file=tmp_path / "few.yaml",
            overrides={"model.units": 8, "model.encoder": "none"},
        )


def test_classes_are_weighed_if_labels_of_several_a_text_are_rare() -> None:
    imbalance = data.Imbalance("usual", 1000, {"rare": 10})
    several = chosen(properties(is_multi_label=True, imbalance=imbalance))
    assert several["training.class_weights"] == "effective"
    for others in ({"is_multi_label": True}, {"imbalance": imbalance}):
        assert "training.class_weights" not in chosen(properties(**others))


def test_every_network_keeps_the_mean_of_epochs_where_it_is_better() -> None:
    for is_multi_label, num_texts in itertools.product((False, True), (5_000, 50_000)):
        settings = chosen(properties(num_texts, is_multi_label=is_multi_label))
        assert settings["training.average"] == "swa"
