"""Dashboards in Weights & Biases as plain data; `workspaces.py` alone knows W&B's own objects."""
