"""Plots as SVG: names of classes are drawn as they are."""

import html
import re
from typing import Any

from textclf import pages


def plot(*names: str) -> pages.Picture:
    def draw_axes(axes: Any) -> str:
        for name in names:
            axes.plot([0, 1], [0, 1], label=name)
        axes.axhline(0.5)  # without a label
        axes.errorbar([0], [1], yerr=[0.1], label="interval")
        return "Lines."

    return pages.draw("two lines", draw_axes)


def texts_of(svg: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<text[^>]*>(.*?)</text>", svg, re.S)]


def test_legend_has_names_that_begin_with_an_underscore():
    drawn = texts_of(plot("_private", "public").svg)
    assert {"_private", "public", "interval"} <= set(drawn)
    assert not any("_child" in text or "nolegend" in text for text in drawn)


def test_names_that_look_like_attributes_or_colours_are_not_changed():
    names = ['id="a"', 'href="#b"', "url(#c)", pages.INK, "<b> & 'c'"]
    picture = plot(*names)
    for svg in (picture.svg, picture.file):
        assert set(names) <= set(texts_of(svg))


def test_ids_of_a_picture_in_a_page_begin_with_its_title():
    svg = plot("a").svg
    ids = set(re.findall(r'\bid="([^"]*)"', svg))
    assert len(ids) > 5 and all(name.startswith("twolines-") for name in ids)
    references = set(re.findall(r'(?:href="|url\()#([^")]*)', svg))
    assert references and references <= ids


def test_text_of_a_picture_has_the_colour_of_its_page():
    picture = plot("a")
    assert pages.INK not in picture.svg and "currentColor" in picture.svg
