"""Brain recordings: one file a data set or format. Knows nothing of models."""
