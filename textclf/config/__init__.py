"""Configuration of an experiment: its settings, and reading and checking of files.

A configuration file is YAML with the sections `data`, `text`, `model`, `training` and
`evaluation`, and contains only settings that differ from their defaults. Precedence is
defaults < file < `--set section.setting=value`. All errors are reported
together, each with the path of the setting, the expected value and, for a misspelt name, a
suggestion.

    settings         declarations of the settings
    messages         names, values and expected types in messages; suggestions
    rules            when a setting is read
    contradictions   values that contradict each other
    reading          conversion of YAML to plain values with their locations, and back
    resolution       files and overrides merged and checked, with all errors
    paths            environment variables and folders in paths
    trained          configurations of trained folders: paths, removed settings
    experiment       `Config`
    environment      check of the packages and files that a configuration needs
    schema           JSON Schema

    config = Config.load("reviews.yaml", ["training.epochs=3"])
    config.model.units
"""

from textclf.config.environment import check_environment
from textclf.config.experiment import Config, holds_data
from textclf.config.messages import expected, format_value
from textclf.config.paths import absolute_paths, paths, resolve_path, with_paths
from textclf.config.reading import to_yaml
from textclf.config.resolution import Overrides, check_sections, read_overrides
from textclf.config.rules import RULES, is_read
from textclf.config.schema import json_schema
from textclf.config.settings import (
    FILE_ENDINGS,
    PATH_SETTINGS,
    REMOVED_SETTINGS,
    SECTIONS,
    SETTINGS,
    Data,
    Training,
    choices,
    data_format,
    holds_text,
)
from textclf.config.trained import (
    drop_removed_settings,
    existing_paths,
    is_trained,
    read_trained_paths,
    write_trained_paths,
)

__all__ = [
    "FILE_ENDINGS",
    "PATH_SETTINGS",
    "REMOVED_SETTINGS",
    "RULES",
    "SECTIONS",
    "SETTINGS",
    "Config",
    "Data",
    "Overrides",
    "Training",
    "absolute_paths",
    "check_environment",
    "check_sections",
    "choices",
    "data_format",
    "drop_removed_settings",
    "existing_paths",
    "expected",
    "format_value",
    "holds_data",
    "holds_text",
    "is_read",
    "is_trained",
    "json_schema",
    "paths",
    "read_overrides",
    "read_trained_paths",
    "resolve_path",
    "to_yaml",
    "with_paths",
    "write_trained_paths",
]
