"""What an evaluation by judges is set up by: the panel, and what is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Judge:
    """One language model that rates: behind an OpenAI-compatible endpoint, or in a local folder."""

    name: str
    """Short name, used in tables."""
    base_url: str | None = None
    """Of the endpoint, up to `/v1`; None for a local model."""
    model: str | None = None
    """Name of the model at the endpoint."""
    key: str | None = None
    """Name of the environment variable that holds the endpoint's key; None: no key is sent."""
    path: Path | None = None
    """Folder of a `transformers` model with safetensors weights; None for an endpoint."""
    temperature: float | None = 0.0
    """Of the sampling; 0 takes the likeliest token. None leaves it to the endpoint."""
    max_tokens: int = 1024
    """Longest answer, in tokens."""
    limit_name: str = "max_tokens"
    """Under which name the endpoint takes that limit: `max_tokens` or `max_completion_tokens`."""
    json_mode: bool = False
    """Ask the endpoint for `response_format: json_object`. The paper relies on the prompt alone."""
    input_price: float | None = None
    """Dollars per million tokens of the prompt; None where not known. A local model costs nothing."""
    output_price: float | None = None
    """Dollars per million tokens of the answer."""

    @property
    def is_local(self) -> bool:
        """Whether it runs in this process."""
        return self.path is not None

    @property
    def has_prices(self) -> bool:
        """Whether its cost can be counted."""
        return self.is_local or (self.input_price is not None and self.output_price is not None)

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Dollars for some tokens; 0 where prices are not known."""
        return (prompt_tokens * (self.input_price or 0) + completion_tokens * (self.output_price or 0)) / 1e6


@dataclass(frozen=True)
class Panel:
    """The judges, and how they are asked."""

    name: str
    judges: tuple[Judge, ...]
    budget: float | None = None
    """Dollars that one evaluation may cost at most; None: no limit."""
    concurrency: int = 8
    """Questions that are under way at endpoints at once."""
    timeout: float = 120.0
    """Seconds that an endpoint may be silent."""
    retries: int = 6
    """Times that a call is made again after 408, 409, 429, 5xx, a timeout or a broken connection."""
    first_wait: float = 1.0
    """Seconds before the first of these; each further wait is twice as long, up to a minute."""
    ask_again: int = 3
    """Times that a judge is asked again after an answer that does not fit the schema."""


@dataclass(frozen=True)
class Plan:
    """What is asked about which methods."""

    table: str | None = None
    """`2` (methods) or `6` (starts of the codebook): the paper's table that the evaluation answers to."""
    methods: tuple[str, ...] = ()
    """Names of the methods, in the order of the tables; empty: those of the table, or all that every
    configuration has."""
    sae: str = "sae_2048"
    """Which sparse autoencoder stands for the SAE of Table 2; the paper states no width."""
    instances: int = 40
    """Sentences per configuration; the paper states no number."""
    floor: str | None = "first"
    """Whose concept of another sentence is shown as the floor: a method, `first` for the first; None for none."""
    labels: str = "names"
    """What `{prediction}` and `{label_meaning}` are: `names` (class id, class name: section 4.2.1) or `meanings`
    (class name, `dataset.label_meanings`)."""
    seed: int = 1234
    """Of the sampling, the orders, the floor and the bootstrap."""
    bootstrap_samples: int = 2000
    confidence: float = 0.95
    """Coverage of the intervals, 0 to 1."""
