"""The questions of an evaluation: prompts to the letter of A.3.1, arms under neutral names in shuffled order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from clvq_exp.judging.method_tables import one_line
from clvq_exp.judging.records import FLOOR, Arm, Configuration, Instance, JudgingError, Question, Representation
from clvq_exp.judging.sampling import Drawn
from clvq_exp.judging.settings import Judge, Plan
from clvq_exp.seeding import numpy_generator

TEMPLATE = Path(__file__).parent / "templates" / "prompt.txt"
_PLACES = ("sentence", "prediction", "label_meaning", "guidance_text", "representations")
_PLACE = re.compile(r"\{(" + "|".join(_PLACES) + r")\}")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def questions(
    configurations: Sequence[Configuration], drawn: Sequence[Drawn], judges: Sequence[Judge], plan: Plan
) -> list[Question]:
    """One question for each configuration, instance and judge, in this order.

    Args:
        configurations: with the methods that are compared.
        drawn: the sentences of each.
        judges: of the panel.
        plan: labels, floor, seed.

    Raises:
        JudgingError: more methods than there are neutral names.
    """
    for each in configurations:
        if len(each.methods) + (plan.floor is not None) > len(_LETTERS):
            raise JudgingError(f"{len(each.methods)} methods are too many for one question: choose by --methods")
    return list(_questions(configurations, drawn, judges, plan))


def _questions(
    configurations: Sequence[Configuration], drawn: Sequence[Drawn], judges: Sequence[Judge], plan: Plan
) -> Iterator[Question]:
    for place, configuration in enumerate(configurations):
        sampled = drawn[place].instances
        for number, instance in enumerate(sampled):
            shown = {method: configuration.shown(method, instance) for method in configuration.methods}
            floor = floor_of(configuration, instance, plan)
            if floor is not None:
                shown[FLOOR] = floor
            empty = tuple(name for name, each in shown.items() if each.is_empty)
            for judge, each in enumerate(judges):
                arms = arranged(shown, plan.seed, configuration.name, instance.id, instance.text, each.name)
                prompt = prompt_of(configuration, instance, arms, plan.labels) if arms else ""
                yield Question(place, number, judge, arms, empty, prompt)


def floor_of(configuration: Configuration, own: Instance, plan: Plan) -> Representation | None:
    """The concept of another sentence: drawn from those of the data set with another, non-empty concept.

    Args:
        configuration: whose method gives it.
        own: the sentence that is asked about.
        plan: names the method.

    Returns:
        None without a floor, or where no other sentence has such a concept.
    """
    if plan.floor is None:
        return None
    method = configuration.methods[0] if plan.floor == "first" else plan.floor
    others = [
        each
        for each in configuration.instances
        if each.concepts[method] != own.concepts[method] and not configuration.shown(method, each).is_empty
    ]
    if not others:
        return None
    lots = numpy_generator(plan.seed, "floor", configuration.name, own.id, own.text)
    return configuration.shown(method, others[int(lots.integers(len(others)))])


def arranged(shown: Mapping[str, Representation], *name: int | str) -> tuple[Arm, ...]:
    """The arms that are not empty, in an order drawn by lot, under neutral names in that order.

    Args:
        shown: method -> what stands for its concept.
        name: of the draw: seed, configuration, instance and judge, so that no method stands first for all judges.
    """
    methods = [method for method, each in shown.items() if not each.is_empty]
    order = numpy_generator(*name, "order of methods").permutation(len(methods))
    return tuple(
        Arm(f"Config_{_LETTERS[place]}", methods[index], shown[methods[index]])
        for place, index in enumerate(order.tolist())
    )


def prompt_of(configuration: Configuration, instance: Instance, arms: Sequence[Arm], labels: str) -> str:
    """The prompt of A.3.1. Placeholders are filled in one pass: text that looks like one stays text.

    Args:
        configuration: guidance and classes.
        instance: sentence and prediction.
        arms: in their order.
        labels: `names` or `meanings`, as in `Plan`.
    """
    name = configuration.label_names[instance.prediction]
    if labels == "names":
        prediction, meaning = str(instance.prediction), name
    else:
        prediction, meaning = name, configuration.label_meanings[instance.prediction]
    filled = {
        "sentence": one_line(instance.text),
        "prediction": prediction,
        "label_meaning": meaning,
        "guidance_text": configuration.guidance,
        "representations": "\n\n".join(_arm(each) for each in arms),
    }
    return _PLACE.sub(lambda match: filled[match[1]], TEMPLATE.read_text(encoding="utf-8")).rstrip("\n")


def _arm(arm: Arm) -> str:
    head = f'Concept from Configuration: "{arm.name}"'
    if arm.representation.words:
        return f"{head}\n- Concept Words: {', '.join(arm.representation.words)}"
    lines = "\n".join(f'  - "{sentence}"' for sentence in arm.representation.sentences)
    return f"{head}\n- Representative Sentences:\n{lines}"
