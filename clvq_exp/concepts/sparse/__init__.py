"""Sparse networks from one layer to another: the autoencoder with an L1 penalty and the TopK transcoder."""
