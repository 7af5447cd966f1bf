"""How good a prediction is: per class and case, in millimetres, or by the protocol of the papers on Synapse."""

from pgsam_monai.metrics.cases import CaseMetrics, ClassMetrics, dice_of_masks, evaluate_case
from pgsam_monai.metrics.files import evaluate_files
from pgsam_monai.metrics.label_dice import LabelDice, LabelDiceHandler
from pgsam_monai.metrics.summary import Score, Summary, format_table, read_metrics, summarise, write_metrics

__all__ = [
    "CaseMetrics",
    "ClassMetrics",
    "LabelDice",
    "LabelDiceHandler",
    "Score",
    "Summary",
    "dice_of_masks",
    "evaluate_case",
    "evaluate_files",
    "format_table",
    "read_metrics",
    "summarise",
    "write_metrics",
]
