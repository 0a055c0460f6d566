"""Result of an audit as one HTML page without external resources."""

from pathlib import Path
from typing import TYPE_CHECKING

import textclf
from textclf import artifact, pages
from textclf.artifact import folders
from textclf.audit.document import tables
from textclf.audit.result import Audit
from textclf.display import Document, to_html

if TYPE_CHECKING:
    from markupsafe import Markup


def write_page(audit: Audit, path: Path, *, title: str, command: str, overwrite: bool) -> None:
    """Write the page; a failure does not change an existing file.

    Args:
        audit: result of `audit_dataset`.
        path: the file.
        title: name of the data.
        command: the command that made the page; the page shows it.
        overwrite: whether an existing file may be replaced.

    Raises:
        ArtifactError: the file cannot be written, or exists and may not be replaced.
    """
    content = render(audit, title=title, command=command)
    if not artifact.write_file(path, content, replace=overwrite):
        raise folders.existing_file(path)


def render(audit: Audit, *, title: str, command: str) -> str:
    """Return the page as HTML; see `write_page`."""
    sizes = ", ".join(f"{s.num_examples:,} of {name}" for name, s in audit.splits.items())
    from markupsafe import Markup

    return pages.render(
        Path(__file__).parent,
        "page.html",
        audit=audit,
        title=title,
        command=command,
        version=textclf.__version__,
        summary=f"{len(audit.class_names):,} classes; texts: {sizes}.",
        tables=Markup(to_html(Document("", tables(audit, max_classes=None)))),
    )


def findings_html(audit: Audit) -> "Markup":
    """Return findings and notes as an HTML fragment, for a page that extends the base."""
    from markupsafe import Markup

    folder = Path(__file__).parent
    return Markup(pages.render(folder, "findings.html", audit=audit, level="h3", is_folded=True))
