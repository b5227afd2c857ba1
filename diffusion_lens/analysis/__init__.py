"""Analysis: from a table of scores to curves, emergence, contrasts and their honest intervals."""
