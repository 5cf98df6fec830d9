"""Generative models, one family per file: mathematics only, no optimiser, no files, no printing."""
