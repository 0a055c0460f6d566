"""Recipes: configurations made from data files."""

from pathlib import Path
from typing import Any

import pytest

import textclf
from textclf import config, recipes
from textclf.errors import DataError


def test_recipe_of_a_data_file_trains_and_writes_no_file(
    reviews: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipes.make_recipe(reviews, config_file=tmp_path / "reviews.yaml")
    progress: list[str] = []
    recipe.check(lambda stage, done, total: progress.append(stage))
    assert progress and (recipe.choices, recipe.open_settings) == ((), ())
    assert not list(tmp_path.iterdir()), "a recipe writes nothing"
    assert config.Config.from_yaml(recipe.text) == recipe.config
    assert recipe.config.data.text_columns == ["text"]
    assert "CSV, comma-separated" in recipe.description
    values = {f"{s}.{name}": value for s in tiny for name, value in tiny[s].items()}
    result = textclf.train(recipe.config.replace(values), tmp_path / "run")
    assert result.folder.is_dir()


def test_recipe_reports_an_unsafe_column_as_a_sentence_and_an_open_setting(tmp_path: Path) -> None:
    rows = [f"aa{i},b{i}b,{'xy'[i % 2]}" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["first,second,label", *rows]), encoding="utf-8")
    recipe = recipes.make_recipe(tmp_path / "a.csv", config_file="a.yaml")
    assert recipe.choices == ("first, second may contain the texts",)
    assert recipe.open_settings == ("data.text_columns",)
    assert 'text_columns: ["CHANGE_ME"]  # one or more of ["first", "second"]' in recipe.text
    assert recipe.config.data.label_column == "label"
    recipe.check()  # the data are not read before the choice


def test_recipe_check_refuses_data_refused_by_the_reader(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\ngood day,a\nbad day,a\n", encoding="utf-8")
    recipe = recipes.make_recipe(tmp_path / "a.csv", config_file="a.yaml")
    with pytest.raises(DataError, match="class"):
        recipe.check()


def test_make_recipe_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        recipes.make_recipe(tmp_path / "none.csv", config_file="a.yaml")
