"""What the measures of specificity may be told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SpecificitySettings:
    """Specificity of the concepts (revision 4.2.1)."""

    shuffles: int = 100
    """Draws of shuffled labels behind each baseline; 0 leaves the baselines out."""
    sentences: int = 4000
    """Training sentences whose pairs are compared, drawn without replacement; 0 means all."""
    min_count: int = 5
    """Times that a content word must occur under each of the two labels compared, at least 1."""
    examples: int = 50
    """Words that the table of examples shows, for each seed."""
    largest_matching: int = 4096
    """Concepts up to which codebooks are matched over seeds: memory grows with the square, time with the cube."""
    seed: int = 1234
    """Seed of the shuffled labels and of the drawn sentences; not varied by `seeds`."""

    def __post_init__(self) -> None:
        least = {"shuffles": 0, "sentences": 0, "min_count": 1, "examples": 0, "largest_matching": 0}
        for name, bound in least.items():
            if (value := getattr(self, name)) < bound:
                raise ValueError(f"specificity.{name}={value}: give {bound} or more")
