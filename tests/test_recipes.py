"""Recipes: configurations made from data files."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import textclf
from textclf import artifact, config, recipes
from textclf.cli import main
from textclf.errors import ConfigError, DataError, TextclfError


def test_recipe_of_a_data_file_trains_and_writes_no_file(reviews: Path, tmp_path: Path) -> None:
    progress: list[str] = []
    recipe = recipes.make_recipe(
        reviews,
        config_file=tmp_path / "reviews.yaml",
        on_progress=lambda stage, done, total: progress.append(stage),
    )
    assert progress and (recipe.choices, recipe.open_settings) == ((), ())
    assert not list(tmp_path.iterdir()), "a recipe writes nothing"
    assert config.Config.from_yaml(recipe.text) == recipe.config
    assert recipe.config.data.text_columns == ["text"]
    assert "CSV, comma-separated" in recipe.description
    result = textclf.train(recipe.config, tmp_path / "run")
    assert result.folder.is_dir()


def test_recipe_reports_an_unsafe_column_as_a_sentence_and_an_open_setting(tmp_path: Path) -> None:
    rows = [f"aa{i},b{i}b,{'xy'[i % 2]}" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["first,second,label", *rows]), encoding="utf-8")
    recipe = recipes.make_recipe(tmp_path / "a.csv", config_file="a.yaml")
    assert recipe.choices == ("first, second may contain the texts",)
    assert recipe.open_settings == ("data.text_columns",)
    assert 'text_columns: ["CHANGE_ME"]  # one or more of ["first", "second"]' in recipe.text
    assert recipe.config.data.label_column == "label"


def test_make_recipe_refuses_data_refused_by_the_reader(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\ngood day,a\nbad day,a\n", encoding="utf-8")
    with pytest.raises(DataError, match="class"):
        recipes.make_recipe(tmp_path / "a.csv", config_file="a.yaml")


def test_make_recipe_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        recipes.make_recipe(tmp_path / "none.csv", config_file="a.yaml")


def numbered(rows: str) -> str:
    """Return 20 copies of rows, whose texts differ by a number."""
    return "".join(rows.replace("#", str(i)) for i in range(20))


@pytest.mark.parametrize(
    ("content", "settings", "detected", "seen"),
    [
        # The first row would be taken as the header.
        (
            "opinion;verdict\n" + numbered("good day #;fine\nbad day #;poor\n"),
            ["data.header=false", "data.label_column=2"],
            {"header": False, "delimiter": ";", "text_columns": ["1"]},
            '"fine", "poor", "verdict"',
        ),
        # A comma would be the delimiter.
        (
            "so,said|label\n" + numbered("so, so #|fine\nwell, no #|poor\n"),
            ["data.delimiter=|"],
            {"delimiter": "|", "text_columns": ["so,said"]},
            '"fine", "poor"',
        ),
        # Quotes would delimit fields.
        (
            "text,label\n" + numbered('so #,"fine"\nno #,"poor"\n'),
            ["data.quoting=none"],
            {"quoting": "none"},
            r'"\"fine\"", "\"poor\""',
        ),
        # Other bytes would be a guess.
        (
            ("text,label\n" + numbered("dobra #,mąka\nmała #,żaba\n")).encode("iso8859_2"),
            ["data.encoding=iso8859_2"],
            {"encoding": "iso8859_2"},
            '"mąka", "żaba"',
        ),
        # The commas would separate labels.
        (
            "text;label\n" + numbered("one day #;a,b\ntwo days;a\nno day #;b\n"),
            ["data.multi_label=false"],
            {"multi_label": False},
            '"a", "a,b", "b"',
        ),
        # Without a separator, one label a text.
        (
            "text;label\n" + numbered("one day #;a/b\ntwo days;a\nno day #;b\n"),
            ["data.multi_label=true", "data.label_separator=/"],
            {"multi_label": True, "label_separator": "/"},
            '"a", "b"',
        ),
    ],
)
def test_set_formats_are_used_to_recognise_the_columns(
    tmp_path: Path,
    content: str | bytes,
    settings: list[str],
    detected: dict[str, object],
    seen: str,
):
    file = tmp_path / "rows.dat"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    recipe = recipes.make_recipe(file, config_file=tmp_path / "a.yaml", overrides=settings)
    values = recipe.config.data.to_dict()
    assert {name: values[name] for name in detected} == detected
    assert f"rows: {seen}\n" in recipe.text
    assert not any("is a guess" in note for note in recipe.notes)


def test_overrides_may_be_values_by_name(reviews: Path, tmp_path: Path) -> None:
    overrides = {"model.units": 8, "data.class_names": ["positive", "negative"]}
    file = tmp_path / "a.yaml"
    recipe = recipes.make_recipe(reviews, config_file=file, overrides=overrides)
    assert (recipe.config.model.units, recipe.config.data.class_names) == (
        8,
        ["positive", "negative"],
    )
    assert recipe.text.splitlines()[0].endswith(
        """ --set model.units=8 --set 'data.class_names=["positive", "negative"]'"""
    )
    with pytest.raises(ConfigError, match="^model.units: expected a whole number"):
        recipes.make_recipe(reviews, config_file=file, overrides={"model.units": 0})


# === A configuration or a data file ===


def test_a_data_file_trains_like_the_configuration_that_init_writes(
    reviews: Path, bag: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    shutil.copyfile(reviews, tmp_path / "reviews.csv")
    values = {f"{s}.{name}": value for s in bag for name, value in bag[s].items()}
    sets = [f"--set={name}={value}" for name, value in values.items()] + ["--set=training.epochs=1"]
    done = CliRunner().invoke(main, ["train", "../reviews.csv", "run", *sets])
    assert (done.exit_code, done.stdout) == (0, "run\n"), done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == "note: ../reviews.csv: texts in text, labels in label"
    assert lines[1].startswith("note: ../reviews.csv: CSV, comma-separated, quoted, with a header")
    assert lines[-3] == "configuration: run/config.yaml"
    recipe = recipes.make_recipe(
        "../reviews.csv", config_file="x.yaml", overrides={**values, "training.epochs": 1}
    )
    assert artifact.read_card("run").config == recipe.config.to_dict()
    textclf.train(tmp_path / "work/run/config.yaml", "again")
    weights = [(Path(name) / "weights.npz").read_bytes() for name in ("run", "again")]
    assert weights[0] == weights[1]


def test_a_path_trains_from_python_with_the_notes_of_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"a text about number {i},{'ab'[i % 2]}" for i in range(30)]
    Path("rows.csv").write_text("\n".join(["text,label", *rows]))
    result = textclf.train("rows.csv", "runs/rows")
    assert result.notices[0] == "rows.csv: texts in text, labels in label"
    assert artifact.read_card("runs/rows").config["data"]["source"] == "rows.csv"
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        textclf.train(tmp_path / "none.csv", tmp_path / "run")
    with pytest.raises(ConfigError, match=r"none\.yaml: no such configuration file"):
        textclf.train(tmp_path / "none.yaml", tmp_path / "run")


def test_an_open_choice_is_an_error_that_names_the_candidates_and_both_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"a text about number {i},{'ab'[i % 2]},{'nsew'[i % 4]}" for i in range(60)]
    Path("my rows.csv").write_text("\n".join(["text,mood,region", *rows]))
    with pytest.raises(DataError) as caught:
        recipes.load_config("my rows.csv")
    assert str(caught.value) == (
        "my rows.csv: mood, region may contain the labels; choose with --set "
        "data.label_column=COLUMN, or write a configuration with `textclf init 'my rows.csv' "
        "'my rows.yaml'` and set data.label_column in it"
    )
    chosen = recipes.load_config("my rows.csv", ["data.label_column=mood"])
    assert chosen.data.label_column == "mood"
    assert not Path("my rows.yaml").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"good\n", "a.txt: is a data file by its name, expected a configuration; create "
         "one with `textclf init a.txt a.yaml`"),
        ("a.zip", b"PK\x03\x04" + bytes(99), "a.zip: the file is a zip archive, expected text; "
         "unpack it and name the file inside"),
        ("a.dat", b"text,label\ngood,a\n", "a.dat: is not a configuration, and its name is not that "
         "of a data file; write a configuration with `textclf init a.dat a.yaml`"),
        ("a.conf", b"data: {source: a.csv}\nmodel: {unit: 3}\n", "a.conf:2: model.unit: unknown "
         "setting; did you mean model.units?"),
        ("run/card.json", b"{}", "run: is a trained folder, expected a configuration or data; name "
         "its configuration, run/config.yaml"),
    ],
)  # fmt: skip
def test_a_path_that_is_neither_configuration_nor_data_is_refused(
    name: str, content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(content)
    with pytest.raises(TextclfError) as caught:
        recipes.load_config(name.partition("/")[0])
    assert str(caught.value) == message
