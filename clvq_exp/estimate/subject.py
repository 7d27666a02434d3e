"""All that an estimate of one cell is made of."""

from __future__ import annotations

import math
from typing import NamedTuple

from clvq_exp.config import Config
from clvq_exp.estimate.corpus import Corpus
from clvq_exp.estimate.network import NetworkSizes
from clvq_exp.estimate.processes import Processes
from clvq_exp.estimate.records import Rates
from clvq_exp.parts import ATTRIBUTED, EXTRACTED


class Subject(NamedTuple):
    """All that an estimate is made of."""

    config: Config
    network: NetworkSizes
    corpus: Corpus
    device: str
    """`cpu` or `cuda`."""
    tuned: bool
    """Whether the language model is fine-tuned before it is studied."""
    there: bool = False
    """Whether the fine-tuned model lies in the cache."""
    rates: Rates = Rates(1.0, 1.0)
    """Without rates the seconds mean nothing; memory and disk are right all the same."""

    @property
    def processes(self) -> Processes:
        """Those that share the steps which several may share."""
        return Processes(self.config.trainer.devices, self.device, self.rates.threads)

    @property
    def extracting(self) -> Processes:
        """Those that share extraction: one where the model is spread over all GPUs."""
        corpus = self.corpus
        return self._reading(len(corpus.train) + len(corpus.validation) + len(corpus.dev), EXTRACTED)

    @property
    def attributing(self) -> Processes:
        """Those that share attribution of the dev sentences."""
        return self._reading(len(self.corpus.dev), ATTRIBUTED)

    def _reading(self, sentences: int, part: int) -> Processes:
        alone = self.config.model.device_map is not None
        return self.processes.at_most(1 if alone else math.ceil(sentences / part))
