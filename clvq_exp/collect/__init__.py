"""Many finished runs as the paper's tables: ours beside what the paper prints, and what is still missing.

Reads run folders (`docs/run_folder.md`) and the project's own `conf/`, and nothing else. Importing it is cheap:
matplotlib, plotly, jinja2 and pyarrow are imported where they are used.
"""
