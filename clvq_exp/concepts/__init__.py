"""CLVQ-VAE and every method it is compared with, behind one interface."""
