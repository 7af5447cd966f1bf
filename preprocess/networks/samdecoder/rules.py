"""The decisions of the baseline with SAM's decoder: all of them shared."""

from preprocess.networks.starts import STARTS
from preprocess.rules.sam import frozen_rules

RULES = frozen_rules(starts=STARTS["samdecoder"])
