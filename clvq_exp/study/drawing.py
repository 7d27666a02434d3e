"""Drawing sentences that are balanced over what the model got right and wrong (section 4.2.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clvq_exp.report.cases import BINARY, kind_of
from clvq_exp.seeding import numpy_generator


def strata_of(label_names: Sequence[str]) -> tuple[str, ...]:
    """The strata of a data set, in their order.

    Args:
        label_names: of its classes. With two, the second counts as positive.

    Returns:
        True and false positives and negatives; right and wrong for each gold class where there are not two.
    """
    if len(label_names) == 2:
        return BINARY
    return tuple(f"{name}, {outcome}" for name in label_names for outcome in ("right", "wrong"))


def stratum_of(label: int, prediction: int, label_names: Sequence[str]) -> str:
    """The stratum of a sentence.

    Args:
        label: gold class.
        prediction: class that the language model answers.
        label_names: of the classes.
    """
    if len(label_names) == 2:
        return kind_of(label, prediction, 2)
    return f"{label_names[label]}, {'right' if label == prediction else 'wrong'}"


def quotas(sizes: Mapping[str, int], wanted: int) -> dict[str, int]:
    """How many to draw of each stratum: as equal as their sizes allow, what is over going to the first ones.

    Args:
        sizes: stratum -> sentences in it, in the order of the strata.
        wanted: sentences in all; all there are where there are fewer.

    Returns:
        19 over four strata that are large enough are 5, 5, 5 and 4. What a small one cannot give, the others do.
    """
    found = dict.fromkeys(sizes, 0)
    left = min(wanted, sum(sizes.values()))
    while left:
        for name, size in sizes.items():
            if left and found[name] < size:
                found[name] += 1
                left -= 1
    return found


def draw(strata: Sequence[str], order: Sequence[str], wanted: int, seed: int) -> list[int]:
    """Draw sentences by lot, without replacement.

    Args:
        strata: of each sentence.
        order: of the strata.
        wanted: sentences in all.
        seed: of the lot.

    Returns:
        Places of the drawn ones, stratum by stratum; fewer than `wanted` where there are fewer.
    """
    members = {name: [place for place, each in enumerate(strata) if each == name] for name in order}
    chosen: list[int] = []
    for name, size in quotas({name: len(each) for name, each in members.items()}, wanted).items():
        shuffled = numpy_generator(seed, "study", "draw", name).permutation(len(members[name]))
        chosen += sorted(members[name][place] for place in shuffled[:size].tolist())
    return chosen
