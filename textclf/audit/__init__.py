"""Audit of a data set before training: problems that lower scores or make them too high.

auditing          the audit: one pass over the data, then the findings
measuring         the pass: tokens, lengths, scripts, equal and nearly equal texts
counting          counts of tokens in bounded memory
scripts           scripts of texts
near_duplicates   texts that share most of their character n-grams
leak_tokens       tokens that give the label away
evidence          the evidence for the findings
findings          findings with reason and fix, from the evidence
equal_texts       findings on equal and nearly equal texts
result            the result: measurements and findings
document          the result as tables and notes
page              the result as one HTML page
cleaning          a copy of a data set without leaks and duplicates
"""

from textclf.audit.auditing import NEAR_ROWS, audit_dataset
from textclf.audit.cleaning import Cleaning, check_folder, clean
from textclf.audit.document import format_audit
from textclf.audit.page import findings_html, write_page
from textclf.audit.result import Audit, AuditFinding, Example

__all__ = [
    "NEAR_ROWS",
    "Audit",
    "AuditFinding",
    "Cleaning",
    "Example",
    "audit_dataset",
    "check_folder",
    "clean",
    "findings_html",
    "format_audit",
    "write_page",
]
