"""The whole configuration: its schema, and the check that reports every error at once.

Values live in `conf/`, types and units in `settings/`.
"""

from clvq_exp.config.merging import check
from clvq_exp.config.schema import Config, ConfigError, Method

__all__ = ["Config", "ConfigError", "Method", "check"]
