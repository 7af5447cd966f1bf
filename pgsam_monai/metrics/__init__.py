"""How good a prediction is: per class and case, in millimetres, or by the Synapse papers' protocol."""

from .cases import CaseMetrics, ClassMetrics, evaluate_case
from .files import MetricsError, evaluate_files, read_label_file
from .label_dice import LabelDice, LabelDiceHandler
from .summary import Score, Summary, format_table, summarise, write_metrics

__all__ = [
    "CaseMetrics",
    "ClassMetrics",
    "LabelDice",
    "LabelDiceHandler",
    "MetricsError",
    "Score",
    "Summary",
    "evaluate_case",
    "evaluate_files",
    "format_table",
    "read_label_file",
    "summarise",
    "write_metrics",
]
