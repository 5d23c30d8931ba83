"""How ridge problems are solved: folds, spectra, scores of every alpha, blocks of targets."""
