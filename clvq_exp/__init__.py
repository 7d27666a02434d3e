"""Discrete cross-layer concepts of language models (CLVQ-VAE): experiments, controls and reports."""

__version__ = "0.1.0"
