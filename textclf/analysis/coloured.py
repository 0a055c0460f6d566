"""Explanations as text: coloured tokens and a table whose rows add up to the score."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from textclf.analysis.explanation import Attribution, Explanation, Token
from textclf.display import WIDTH, Document, Table, count_of, tidy, to_text

if TYPE_CHECKING:
    from rich.text import Text

LEGEND = "blue: for the class; orange: against it; a filled word has a large part"
# Tokens in the table, and tokens of a stretch that is not read.
_NUM_ROWS, _NUM_UNREAD = 10, 8
# Smallest total with full colour.
_LEAST_SCALE = 0.1
# Minimum share of the largest part for each style. Both colours are legible on black and on white.
_STYLES = (
    (0.6, "bold color(231) on color({colour})"),
    (0.25, "bold underline color({colour})"),
    (0.06, "color({colour})"),
)
_FOR, _AGAINST = 26, 166  # blue and orange of 256 colours


def format_explanation(
    explanation: Explanation, *, width: int = WIDTH, has_colours: bool = False
) -> str:
    """Return the tokens of a text and their parts in each score; it ends with a line break.

        print(format_explanation(model.explain(["not bad at all"])[0]), end="")

    Args:
        width: maximum number of columns of a line, see `display.to_text`.
        has_colours: True for a terminal: the tokens are coloured by their total.
    """
    parts = []
    for attribution in explanation.attributions:
        words = heading(explanation, attribution)
        shown = _wrapped(_coloured(explanation, attribution), width, has_colours)
        table = to_text(Document("", [account(explanation, attribution)]), width)
        parts.append(f"{words}\n{shown}\n\n{table}")
    return "\n".join(parts)


def heading(explanation: Explanation, attribution: Attribution) -> str:
    """Return class, probability and score in words."""
    chosen = "" if attribution.is_selected else ", not selected"
    return (
        f"{tidy(attribution.class_name)}: probability {attribution.probability:.4f}{chosen}; "
        f"{explanation.score_name} {attribution.score:+.4f}"
    )


def account(explanation: Explanation, attribution: Attribution, num_rows: int = _NUM_ROWS) -> Table:
    """Return the table of the strongest tokens and of all other parts; the rows add up.

    Args:
        num_rows: number of tokens with a row.
    """
    ranked = explanation.ranked(attribution)
    shown, others = ranked[:num_rows], ranked[num_rows:]
    rows = [
        [
            explanation.tokens[i].text,
            str(i + 1),
            *_numbers(explanation, total, attribution.network[i], attribution.linear[i]),
            remark(explanation, explanation.tokens[i]),
        ]
        for total, i in shown
    ]
    if others:
        sums = [
            sum(values[i] for _, i in others)
            for values in (attribution.totals, attribution.network, attribution.linear)
        ]
        name = count_of(len(others), "other token")
        rows.append([name, "", *_numbers(explanation, *sums), ""])
    starts = (attribution.start, attribution.network_start, attribution.linear_start)
    rows.append(["start, without any token", "", *_numbers(explanation, *starts), ""])
    blank = [""] * (2 if _has_both(explanation) else 0)
    error = attribution.completeness_error
    rows.append(["completeness error", "", f"{error:+.4f}", *blank, ""])
    rows.append(["score", "", f"{attribution.score:+.4f}", *blank, ""])
    header = ["token", "position", "total"]
    header += ["network", "linear"] if blank else []
    layout = "n rr" + "r" * len(blank) + "t"
    return Table([*header, ""], rows, layout, num_totals=1)


def remark(explanation: Explanation, token: Token) -> str:
    """Return a remark on a token, or ""."""
    if explanation.has_network and not token.network_reads:
        return "beyond the limit of the network"
    if explanation.has_network and not token.is_known:
        return "unknown"
    if explanation.has_linear and not token.linear_reads:
        return "beyond the limit of the linear model"
    return ""


def stretches(explanation: Explanation) -> Iterator[tuple[bool, list[int]]]:
    """Yield stretches of tokens: whether the model reads them, and their positions."""
    start = 0
    tokens = explanation.tokens
    for i in range(1, len(tokens) + 1):
        if i == len(tokens) or tokens[i].is_read != tokens[start].is_read:
            yield tokens[start].is_read, list(range(start, i))
            start = i


def shares(explanation: Explanation, attribution: Attribution) -> list[float]:
    """Return the total of each token divided by the largest absolute one, -1 to 1.

    If all totals are small, they are divided by a constant, so that no token looks important.
    """
    totals = attribution.totals
    largest = max(_LEAST_SCALE, *map(abs, totals), 0.0)
    return [total / largest for total in totals]


def is_joined(left: str, right: str) -> bool:
    """Return whether two tokens are joined without a blank, as characters of double width are."""
    from rich.cells import cell_len

    return cell_len(left[-1:]) == 2 and cell_len(right[:1]) == 2


def _has_both(explanation: Explanation) -> bool:
    return explanation.has_network and explanation.has_linear


def _numbers(explanation: Explanation, total: float, network: float, linear: float) -> list[str]:
    values = [total, network, linear] if _has_both(explanation) else [total]
    return [f"{value:+.4f}" for value in values]


def _coloured(explanation: Explanation, attribution: Attribution) -> "Text":
    """Return the tokens, coloured by their totals."""
    from rich.text import Text

    text = Text()
    if not explanation.tokens:
        text.append("(no token)", "dim")
    strengths = shares(explanation, attribution)
    last = ""
    for is_read, positions in stretches(explanation):
        words = [tidy(explanation.tokens[i].text) for i in positions]
        if not is_read:
            more = len(words) - _NUM_UNREAD
            text.append(" " if last else "")
            text.append("[not read: ", "dim")
            text.append(_joined(words[:_NUM_UNREAD]), "dim strike")
            text.append(f" … {more:,} more]" if more > 0 else "]", "dim")
            last = "]"
            continue
        for i, word in zip(positions, words, strict=True):
            if last and not is_joined(last, word):
                text.append(" ")
            text.append(word, _style(strengths[i]))
            last = word
    return text


def _joined(words: list[str]) -> str:
    joined = ""
    for word in words:
        joined += ("" if not joined or is_joined(joined, word) else " ") + word
    return joined


def _style(share: float) -> str:
    """Return the style of a token of rich, from its share of the largest part."""
    colour = _FOR if share > 0 else _AGAINST
    return next(
        (style.format(colour=colour) for least, style in _STYLES if abs(share) >= least), ""
    )


def _wrapped(text: "Text", width: int, has_colours: bool) -> str:
    """Return the lines of a text, with colour codes for a terminal that has colours."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(), width=width, height=25, force_terminal=has_colours,
        color_system="256" if has_colours else None, no_color=not has_colours,
        legacy_windows=False, highlight=False, emoji=False, markup=False,
    )  # fmt: skip
    console.print(text, crop=False)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())
