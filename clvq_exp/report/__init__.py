"""What a run found, as text in the terminal, one HTML page and W&B.

Reads the metrics and files of a run folder (`docs/run_folder.md`) and nothing else. Importing this package
is cheap: plotly, jinja2, wandb and Lightning are imported where they are used.
"""
