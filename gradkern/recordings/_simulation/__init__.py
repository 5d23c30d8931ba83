"""A simulated brain: its cortex, its MEG helmet and its signal."""
