"""How long the command line takes to answer.

python benchmarks/start.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from turns import Row, Side, arguments, finish, in_turn, seconds, versions, worker

LIMITS = {"--help": 1.5, "--cfg job": 1.0}


def started(words: str) -> Callable[[], None]:
    command = [sys.executable, "-m", "clvq_exp", *words.split()]

    def repeat() -> None:
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})

    return repeat


def main() -> None:
    """Entry point."""
    given = arguments(__doc__).parse_args()
    if given.side:
        worker(lambda: started(given.side))
        return
    found = in_turn(__file__, [], [Side(words) for words in LIMITS], given.repetitions)
    finish(
        [
            Row(
                f"`python -m clvq_exp {words}`",
                "the limit",
                seconds(found[words].median),
                seconds(limit),
                limit / found[words].median,
                1,
                versions=versions("hydra-core"),
            )
            for words, limit in LIMITS.items()
        ],
        given.rows,
    )


if __name__ == "__main__":
    main()
