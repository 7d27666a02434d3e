"""Several processes of a machine that share a step (`trainer.devices`): what they take together."""

from __future__ import annotations

from typing import NamedTuple

from clvq_exp.estimate.records import StepMemory, both

GPU_EFFICIENCY = 0.8
"""Share of N times the speed of one GPU that N of them reach: an assumption, several were not measured."""
START_SECONDS = 10.0
"""Of the processor, until a process has read its libraries and found the others; 8 to 13 were measured while
other work ran beside."""
JOINED_SECONDS = 5e-9
"""Of a trained weight in each step and process, for the sum of its gradients: 4 to 5 nanoseconds of the processor
for 3 to 17 million weights of two processes. Between GPUs it is part of their efficiency."""


class Processes(NamedTuple):
    """The processes of one step; the run's own process starts them and waits, where there are several."""

    world: int = 1
    """How many; 1 is the run's own process."""
    device: str = "cpu"
    """`cpu`, whose cores they share, or `cuda`: each has a GPU."""
    threads: int = 1
    """That the run's own process computes with on the processor."""

    def seconds(
        self, shared: float = 0.0, each: float = 0.0, alone: float = 0.0, on_processor: float = 0.0
    ) -> float:
        """How long a step takes, from the seconds of one process with the whole machine, or one GPU, to itself.

        On CPU the cores have the same work to do, however many processes it is cut into, and in addition whatever
        each of them does for itself. What only the first does, it does with its share of the threads.

        Args:
            shared: work of which each does its part.
            each: work that each does whole.
            alone: what the first does on the device while the others wait.
            on_processor: what it does on the processor, whatever the device; beside a GPU it has one thread.
        """
        if self.world == 1:
            return shared + each + alone + on_processor
        if self.device == "cpu":
            return shared + self.world * each + min(self.world, self.threads) * (alone + on_processor)
        return shared / (self.world * GPU_EFFICIENCY) + each + alone + self.threads * on_processor

    def at_most(self, parts: int) -> Processes:
        """Those that have a part of some work to do."""
        return self._replace(world=max(1, min(self.world, parts)))

    def beside_seconds(self, shared: float, opening: float) -> float:
        """How long a step takes of which the run's own process does its share, like those that it starts.

        Args:
            shared: work of which each does its part, as in `seconds`.
            opening: what a further process reads before it works.
        """
        if self.world == 1:
            return shared
        started = START_SECONDS + opening
        if self.device == "cpu":
            return shared + (self.world - 1) * started / min(self.world, self.threads)
        return shared / (self.world * GPU_EFFICIENCY) + started

    def beside_memory(self, own: StepMemory, other: StepMemory) -> StepMemory:
        """Peak memory of such a step, in bytes; of the GPUs the first is meant.

        Args:
            own: of the run's own process.
            other: of each that it starts.
        """
        return StepMemory(own.host + (self.world - 1) * other.host, own.gpu)

    def joining_seconds(self, weights: int, steps: int) -> float:
        """What each of several processes does in a fit beside its part of the training.

        Args:
            weights: that are trained.
            steps: of the optimizer.
        """
        if self.world == 1:
            return 0.0
        if self.device != "cpu":
            return START_SECONDS
        of_one_thread = START_SECONDS + steps * weights * JOINED_SECONDS
        return of_one_thread / min(self.world, self.threads)  # as if it had all threads, as `seconds` expects

    def memory(self, waiting: StepMemory, started: StepMemory, work: StepMemory) -> StepMemory:
        """Peak memory of a step, in bytes.

        In the machine's own memory all processes add up. Of the GPUs the first is meant, which has most: the run's
        own process keeps there what it has.

        Args:
            waiting: what the run's own process holds, whoever does the work: interpreter, language model, fitted
                models.
            started: what a further process holds before it works: an interpreter, and what it has to open.
            work: what the work takes in one process.
        """
        if self.world == 1:
            return both(waiting, work)
        each = both(started, work)
        return StepMemory(waiting.host + self.world * each.host, waiting.gpu + each.gpu)
