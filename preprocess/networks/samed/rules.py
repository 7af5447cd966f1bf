"""SAMed's decisions: those of every network on SAM."""

from preprocess.rules.sam import sam_rules

RULES = sam_rules()
