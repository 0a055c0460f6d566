"""Result of an audit as one HTML page without external resources."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import textclf
from textclf import artifact
from textclf.artifact import folders
from textclf.audit.document import tables
from textclf.audit.result import Audit
from textclf.display import Document, template_environment, to_html

if TYPE_CHECKING:
    from markupsafe import Markup


def write_page(audit: Audit, path: Path, *, title: str, command: str, overwrite: bool) -> None:
    """Write the page; a failure leaves what was there before.

    Args:
        audit: result of `audit_dataset`.
        path: the file.
        title: name of the data.
        command: the command that made the page, which it shows.
        overwrite: whether an existing file may be replaced.

    Raises:
        ArtifactError: the file cannot be written, or exists and may not be replaced.
    """
    content = render(audit, title=title, command=command)
    if not artifact.write_file(path, content, replace=overwrite):
        raise folders.existing_file(path)


def render(audit: Audit, *, title: str, command: str) -> str:
    """Return the page as HTML; see `write_page`."""
    environment = template_environment(Path(__file__).parent)
    environment.filters["with_code"] = _with_code
    sizes = ", ".join(f"{s.num_examples:,} of {name}" for name, s in audit.splits.items())
    from markupsafe import Markup

    return environment.get_template("page.html").render(
        audit=audit,
        title=title,
        command=command,
        version=textclf.__version__,
        summary=f"{len(audit.class_names):,} classes; texts: {sizes}.",
        tables=Markup(to_html(Document("", tables(audit, max_classes=None)))),
    )


def _with_code(sentence: str) -> "Markup":
    """Return a sentence as HTML in which the parts between backticks are code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))
