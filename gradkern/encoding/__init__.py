"""Encoding: folds, cross-validated ridge regression and held-out scores."""
