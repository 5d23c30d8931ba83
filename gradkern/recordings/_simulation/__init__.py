"""A simulated brain: cortex, MEG helmet and planted signal."""
