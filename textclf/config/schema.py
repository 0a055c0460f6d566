"""JSON Schema of a configuration file, for editors."""

from typing import Any

import msgspec

from textclf.config.settings import SECTIONS, SETTINGS, Sections, choices


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration file, for editors."""
    _, sections = msgspec.json.schema_components([Sections], ref_template="#/$defs/{name}")
    for path, setting in SETTINGS.items():
        section, name = path.split(".")
        schema = sections[SECTIONS[section].__name__]["properties"][name]
        schema["default"] = setting.default
        if "enum" in schema:  # msgspec sorts the words
            schema["enum"] = list(choices(path))
        _allow_scalars(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **sections.pop("Sections"),
        "title": "textclf configuration",
        "$defs": sections,
    }


def _allow_scalars(schema: dict[str, Any]) -> None:
    """Allow any scalar for a text and one scalar for a list of texts, as `load` does."""
    for alternative in schema.get("anyOf", [schema]):
        if alternative.get("type") == "string" and "enum" not in alternative:
            alternative["type"] = _SCALARS
        elif alternative.get("type") == "array":
            alternative["items"]["type"] = _SCALARS
            alternative["type"] = ["array", *_SCALARS]


_SCALARS = ["string", "number", "boolean"]
