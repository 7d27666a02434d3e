"""`clvq estimate`: what a cell or a sweep needs, before anything is loaded."""

from __future__ import annotations

import argparse
import json
import sys

from clvq_exp.composing import compose_cells
from clvq_exp.config import ConfigError
from clvq_exp.report.text_safety import visible


def estimate(given: argparse.Namespace) -> int:
    """Print the estimate; returns the exit code.

    Args:
        given: the parsed command line.
    """
    try:
        composed = compose_cells(given.overrides, given.config_name, given.config_dir)
    except ConfigError as error:
        return _refused(error)
    from clvq_exp.estimate.corpus import GivenTexts
    from clvq_exp.estimate.network import GivenSizes
    from clvq_exp.estimate.sweep import Asked, Given, estimate_sweep
    from clvq_exp.estimate.tables import as_json, print_estimate
    from clvq_exp.language_models.base import LanguageModelError
    from clvq_exp.texts import TextsError

    sizes = GivenSizes(given.parameters, given.layers, given.width, given.vocabulary)
    stated = Given(sizes, GivenTexts(given.sentences, given.words_per_sentence))
    try:
        sweep = estimate_sweep([Asked(*cell) for cell in composed], stated)
    except (LanguageModelError, TextsError) as error:
        return _refused(ConfigError([str(error)]))
    if given.json:
        sys.stdout.write(json.dumps(as_json(sweep), indent=2, sort_keys=True) + "\n")
    else:
        print_estimate(sweep)
    return 0


def _refused(error: ConfigError) -> int:
    sys.stderr.write("\n".join(visible(line) for line in str(error).split("\n")) + "\n")
    return 1
