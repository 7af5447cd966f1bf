"""report.html: one self-contained page with what was found, what is wrong, and what was decided and why."""

from preprocess.report.page import make_report

__all__ = ["make_report"]
