"""How lines of the log are written: `conf/config.yaml` names the formatter for the console and the log file."""

from __future__ import annotations

import logging

from clvq_exp.credentials import without_credentials
from clvq_exp.report.text_safety import visible


class VisibleFormatter(logging.Formatter):
    """Log lines that only show: what a text, a file name or a library puts into a message cannot act.

    Control characters, bidirectional controls and invisible characters are written as escapes, in tracebacks
    too, and credentials of the environment as the names of their variables. Line ends stay, for messages of
    several lines.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as it is written."""
        return "\n".join(visible(line) for line in without_credentials(super().format(record)).split("\n"))
