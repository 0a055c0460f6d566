"""Shipped configurations: valid, without notices and defaults, and none is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from textclf import config, data
from textclf.recipes import choice

ROOT = Path(__file__).parents[1]
FILES = sorted(path for path in (ROOT / "configs").rglob("*") if path.suffix in (".yaml", ".yml"))


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_folder_configs_contains_at_least_eight_configurations() -> None:
    assert len(FILES) >= 8
    others = {path for path in (ROOT / "configs").rglob("*") if path.is_file()} - set(FILES)
    assert not {path for path in others if path.suffix != ".md"}


def test_config_check_accepts_all_shipped_configurations_without_data(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TEXTCLF_DATA"}
    command = [sys.executable, "-m", "textclf", "config", "check", *map(str, FILES)]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert run.stderr == ""
    assert run.stdout == "".join(f"{file}: ok\n" for file in FILES)
    assert run.returncode == 0


@pytest.mark.parametrize("path", FILES, ids=names)
def test_shipped_configuration_resolves_without_a_notice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEXTCLF_DATA", raising=False)
    assert config.Config.load(path).notices == ()


@pytest.mark.parametrize("path", FILES, ids=names)
def test_shipped_configuration_begins_with_a_comment_with_its_train_command(path: Path) -> None:
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line)
    assert f"textclf train {names(path)} runs/{path.stem}" in "\n".join(comment)


@pytest.mark.parametrize("path", FILES, ids=names)
def test_settings_of_a_shipped_configuration_differ_from_the_defaults(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    values = config.reading.parse(text, str(path), config.holds_text).value
    idle = [
        f"{section}.{name}"
        for section, settings in values.items()
        for name, value in settings.items()
        if value == config.SETTINGS[f"{section}.{name}"].default
    ]
    assert not idle, "a file holds only what differs from the defaults"


@pytest.mark.parametrize("path", FILES, ids=names)
def test_data_of_a_shipped_configuration_can_be_opened(
    path: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTCLF_DATA", str(real_data))
    resolved = config.Config.load(path)
    data.check_sources(config.with_paths(resolved).data)


@pytest.mark.parametrize(
    "name",
    ["ag_news", "chnsenticorp", "goemotions", "imdb_reviews", "sms_spam", "sst2", "trec"],
)
def test_configuration_of_published_data_has_the_settings_chosen_by_init(
    name: str, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTCLF_DATA", str(real_data))
    shipped = config.with_paths(config.Config.load(ROOT / "configs" / f"{name}.yaml"))
    properties = choice.measure(data.open_dataset(shipped.data), shipped.text.unit)
    chosen: dict[str, dict[str, object]] = {"data": shipped.to_dict()["data"]}
    for setting, value, _ in choice.choose(properties):
        section, key = setting.split(".")
        chosen.setdefault(section, {})[key] = value
    assert config.Config.from_dict(chosen).to_dict() == shipped.to_dict()
