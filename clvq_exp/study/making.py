"""Drawing a study from finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tqdm import tqdm

from clvq_exp.comparing.subjects import Subject
from clvq_exp.report.access import entry
from clvq_exp.report.clouds import Cloud, draw_cloud
from clvq_exp.report.text_safety import visible
from clvq_exp.study.arms import BESIDE, Arm, Words, arms_of, dev_sentences, words_of
from clvq_exp.study.design import Design, Drawn, Item, Label, Method, Sentence, StudyError
from clvq_exp.study.drawing import draw, strata_of, stratum_of
from clvq_exp.study.pool import Candidate, Pool, label_names, make_pool, shared

SENTENCES = 19
"""Of the paper's study (section 4.2.2)."""


class Wishes(NamedTuple):
    """What is asked for."""

    sentences: int = SENTENCES
    methods: Sequence[str] = ()
    """Names as in `metrics.json`, with the run's letter where two runs have one; all where none is given."""
    seed: int = 0
    labels: Sequence[str] = ()
    """Classes as annotators read them; the run's own names where none is given."""
    introduction: str = ""


def draw_study(subjects: Sequence[Subject], wishes: Wishes) -> Drawn:
    """Draw the sentences and the word clouds of a study.

    Args:
        subjects: finished runs of one language model over the same sentences; one with methods beside is enough.
        wishes: what is asked for.

    Raises:
        StudyError: the runs do not hold what is needed, or not for two methods.
        DamagedArtifactError: a table is not what was written.
    """
    names = label_names(subjects)
    if wishes.labels and len(wishes.labels) != len(names):
        raise StudyError(
            f"--labels has {len(wishes.labels)} names, and the runs have the {len(names)} classes {names}"
        )
    sentences = [dev_sentences(subject) for subject in subjects]
    keys = shared(subjects, sentences)
    arms = _chosen(arms_of(subjects, sentences), wishes.methods)
    words = [words_of(arm) for arm in arms]
    by_letter = {subject.letter: known for subject, known in zip(subjects, sentences, strict=True)}
    pool = make_pool(arms, words, keys, by_letter)
    order = strata_of(names)
    strata = [stratum_of(each.sentence.label, each.sentence.prediction, names) for each in pool.candidates]
    places = draw(strata, order, wishes.sentences, wishes.seed)
    if len(places) < wishes.sentences:
        raise StudyError(
            f"only {len(pool.candidates)} sentences of the runs have a word cloud under every method, and "
            f"{wishes.sentences} are wanted: lower --sentences, or leave a method out by --methods"
        )
    chosen = [pool.candidates[place] for place in places]
    sizes = {name: strata.count(name) for name in order}
    items, clouds = _items(arms, words, chosen, wishes.seed)
    first = subjects[0].run
    model, dataset, layers = first.place
    meanings = entry(first.config, "dataset").get("label_meanings") or [""] * len(names)
    shown = [visible(each) for each in (wishes.labels or names)]
    design = Design(
        model=model,
        dataset=dataset,
        layer_pair=layers,
        labels=tuple(Label(name, str(meaning)) for name, meaning in zip(shown, meanings, strict=True)),
        methods=tuple(_method(arm, lacks) for arm, lacks in zip(arms, pool.left_out, strict=True)),
        sentences=tuple(_sentence(each, strata[place]) for each, place in zip(chosen, places, strict=True)),
        items=items,
        pool=sizes,
        seed=wishes.seed,
        content_warning=str(first.cell.get("content_warning") or ""),
        introduction=wishes.introduction,
    )
    return Drawn(design, clouds, _notes(design, pool, len(keys)))


def _chosen(arms: Sequence[Arm], wanted: Sequence[str]) -> list[Arm]:
    """The arms that are shown."""
    names = [arm.name for arm in arms]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise StudyError(f"--methods {', '.join(unknown)}: the runs have {', '.join(names)}")
    chosen = [arm for arm in arms if not wanted or arm.name in wanted]
    if len(chosen) < 2:
        held = ", ".join(names) or "none"
        raise StudyError(
            f"a study compares two methods or more, and there is {len(chosen)} (of {held}): give a run of another "
            f"method over the same sentences too; methods beside need a run folder with {BESIDE}.parquet"
        )
    return chosen


def _items(
    arms: Sequence[Arm], words: Sequence[Words], chosen: Sequence[Candidate], seed: int
) -> tuple[tuple[Item, ...], dict[str, bytes]]:
    """A word cloud for each method and sentence."""
    items: list[Item] = []
    clouds: dict[str, bytes] = {}
    drawn: dict[tuple[int, int], Cloud] = {}
    wanted = [(method, place) for method in range(len(arms)) for place in range(len(chosen))]
    for method, place in tqdm(wanted, desc="word clouds", unit="cloud", disable=None):
        concept = chosen[place].concepts[method]
        if (method, concept) not in drawn:
            cloud = draw_cloud(words[method][concept], seed)
            assert cloud is not None, "the pool holds only concepts that can be drawn"
            drawn[method, concept] = cloud
        name = f"{len(items)}.png"
        clouds[name] = drawn[method, concept].png
        items.append(Item(method, place, concept, name, drawn[method, concept].description))
    return tuple(items), clouds


def _method(arm: Arm, left_out: int) -> Method:
    run = arm.subject.run
    return Method(arm.name, arm.method, str(run.folder), str(run.cell.get("fingerprint", "")), left_out)


def _sentence(candidate: Candidate, stratum: str) -> Sentence:
    known = candidate.sentence
    return Sentence(known.id, known.group, known.text, known.label, known.prediction, stratum)


def _notes(design: Design, pool: Pool, n_shared: int) -> list[str]:
    """What stands out about a draw."""
    counts = {name: sum(each.stratum == name for each in design.sentences) for name in design.pool}
    notes = [
        f"{len(design.sentences)} sentences of {len(pool.candidates)} (of {n_shared} that the runs share): "
        + ", ".join(f"{n} {name.lower()}" for name, n in counts.items())
    ]
    if max(counts.values()) - min(counts.values()) > 1:
        few = [f"{name.lower()} has {design.pool[name]}" for name, n in counts.items() if n == design.pool[name]]
        notes.append(f"the draw is not balanced: {', '.join(few)}; the other kinds fill up")
    for place, method in enumerate(design.methods):
        if method.left_out:
            notes.append(
                f"{method.name} has no words for {method.left_out} of {n_shared} sentences: these are left out "
                "under every method"
            )
        of_method = [each.concept for each in design.items if each.method == place]
        if len(set(of_method)) < len(of_method):
            notes.append(
                f"{method.name} shows {len(set(of_method))} different clouds: some sentences share a concept"
            )
    return notes
