"""Two codebooks side by side, and the salient words of two runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from comparing.made_pairs import CODES, TEXTS, Code, make_run, salient_rows, seal, side_by_side, write

from clvq_exp.artifacts import DamagedArtifactError
from clvq_exp.comparing import matching, subjects
from clvq_exp.comparing.compare import Compared
from clvq_exp.comparing.concept_sheets import ends_of
from clvq_exp.comparing.matching import COSINES, WORDS, MatchedPair, SeedMatching
from clvq_exp.comparing.sentences import Salience

OTHER = {"encoder.alpha": 0.5}
"""What makes a run another cell."""


def fits_of(found: Compared, by: str) -> tuple[SeedMatching, ...]:
    """The matching of each pair of seeds."""
    assert found.codebooks.matching is not None
    assert found.codebooks.matching.by == by
    return found.codebooks.matching.seeds


def by_codes(fit: SeedMatching) -> dict[tuple[int, int], float]:
    return {(each.base, each.other): each.similarity for each in fit.pairs}


def test_a_run_beside_itself__matched_cosine_1_and_agreement_1(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", seeds=(0, 1), codes=(CODES, CODES[::-1]))
    found = side_by_side(run, run)
    for fit in fits_of(found, COSINES):
        assert fit.similarity == pytest.approx(1.0)
        assert fit.all_codes == pytest.approx(1.0)
        assert [(each.base, each.other) for each in fit.pairs] == [(0, 0), (1, 1), (2, 2)]
    assert [each.agreement for each in found.codebooks.agreement] == [1.0, 1.0]
    assert found.codebooks.notes == ()
    assert found.salience == Salience(4, 4, 4)


def test_matching__by_cosine_by_hand(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a")
    turned = (Code((0.0, 3.0), {"so": 1}), Code((1.0, 1.0), {"dull": 2}), Code((-1.0, 0.0), {"x": 1}))
    (fit,) = fits_of(side_by_side(base, make_run(tmp_path / "b", codes=(turned,), settings=OTHER)), COSINES)
    half = 2**-0.5
    assert by_codes(fit) == pytest.approx({(1, 0): 1.0, (0, 1): half, (2, 2): half})
    assert fit.similarity == pytest.approx((1 + 2 * half) / 3)
    # rows of cosines: 0, half, -1; 1, half, 0; -half, -1, half
    assert fit.random == pytest.approx((half - 1 + 1 + half - half - 1 + half) / 9)
    assert fit.pairs[0] == MatchedPair(1, 0, pytest.approx(1.0), (("fine", 2),), (("so", 1),))


def test_matching__leaves_out_empty_concepts_and_the_rest_of_the_larger_codebook(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a", codes=((*CODES, Code((5.0, 0.1), {})),))
    one = make_run(
        tmp_path / "b", codes=((Code((-2.0, -2.0), {"film": 1}), Code((0.0, 1.0), {})),), settings=OTHER
    )
    (fit,) = fits_of(side_by_side(base, one), COSINES)
    assert fit.codes == (3, 1)
    assert by_codes(fit) == pytest.approx({(2, 0): 1.0})
    assert fit.all_codes == pytest.approx(1.0)  # code 1 of each is the same too


def test_matching__codes_of_one_direction_match_no_better_than_noise(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)

    def random_codes() -> list[Code]:
        vectors = generator.normal(size=(40, 6)) + 3.0
        return [Code(tuple(vector.tolist()), {"w": 1}) for vector in vectors]

    (fit,) = fits_of(
        side_by_side(
            make_run(tmp_path / "a", codes=(random_codes(),)),
            make_run(tmp_path / "b", codes=(random_codes(),), settings=OTHER),
        ),
        COSINES,
    )
    assert fit.noise is not None
    assert fit.noise == pytest.approx(fit.similarity, abs=0.03)
    assert (
        fit.random < fit.similarity - 0.03
    )  # the mean over all pairs is less than what the best matching of noise gives


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"weights": "others"}, "the weights of their language models are not the same"),
        ({"settings": {"layer_pair.lower": 3}}, "their vectors are of layers 4 and 3"),
        ({"codes": ((Code((1.0, 0.0, 0.0), {"dull": 1}),),), "settings": OTHER}, "their widths are 2 and 3"),
        ({"codes": ((Code(None, {"dull": 1}),),), "settings": OTHER}, "the tables hold no vectors"),
    ],
)
def test_matching__in_two_spaces_goes_by_words_and_says_why(
    tmp_path: Path, changed: dict[str, object], reason: str
) -> None:
    found = side_by_side(make_run(tmp_path / "a"), make_run(tmp_path / "b", **changed))
    (fit,) = fits_of(found, WORDS)
    assert (fit.noise, fit.all_codes) == (None, None)
    assert found.codebooks.notes == (
        f"Vectors do not live in one space: {reason}. Codes are matched by words alone.",
    )


def test_matching__vectors_of_a_decoder_live_at_the_upper_layer(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a")
    sparse = make_run(tmp_path / "b", "model=minilm", "dataset=rotten_tomatoes", "baseline=sae_2048")
    found = side_by_side(base, sparse)
    assert "their vectors are of layers 4 and 6" in found.codebooks.notes[0]
    assert fits_of(side_by_side(sparse, sparse), COSINES)[0].similarity == pytest.approx(1.0)


def test_matching__by_shared_words_by_hand(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a")  # dull 3/4 and a 1/4; fine 1; film 1
    codes = (Code((1.0,), {"film": 9, "fine": 1}), Code((1.0,), {"dull": 1, "a": 1}), Code((1.0,), {"x": 5}))
    (fit,) = fits_of(side_by_side(base, make_run(tmp_path / "b", codes=(codes,), weights="others")), WORDS)
    assert by_codes(fit) == pytest.approx({(2, 0): 0.9, (0, 1): 0.75, (1, 2): 0.0})
    assert fit.similarity == pytest.approx(1.65 / 3)
    assert fit.random == pytest.approx((0.9 + 0.1 + 0.75) / 9)


def test_matching__too_many_codes_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "LARGEST", 2)
    run = make_run(tmp_path / "a")
    found = side_by_side(run, run).codebooks
    assert found.matching is None
    assert found.notes == ("Codes are not matched: 3 are more than 2.",)
    assert len(found.agreement) == 1


def test_matching__no_concept_in_use_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", codes=((Code((1.0, 0.0), {}),),))
    found = side_by_side(run, run).codebooks
    assert found.matching is None
    assert found.notes[0].startswith("Codes are not matched: no pair of seeds")


def test_seeds__those_of_both_are_held_against_each_other(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a", seeds=(0, 1, 2))
    other = make_run(tmp_path / "b", seeds=(2, 1, 7))
    found = side_by_side(base, other).codebooks
    assert [each.seeds for each in found.agreement] == [(1, 1), (2, 2)]
    assert found.notes == ("Seeds that only one run has are left out: 0, 7.",)
    apart = side_by_side(base, make_run(tmp_path / "c", seeds=(8, 9))).codebooks
    assert [each.seeds for each in apart.agreement] == [(0, 8)]
    assert apart.notes == ("No seed is in both runs: seed 0 is held against seed 8.",)


def test_matching__of_several_seeds_is_their_mean(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a", seeds=(0, 1))
    flipped = tuple(Code((-1.0, 0.0), {"w": 1}) for _ in range(3))
    other = make_run(tmp_path / "b", seeds=(0, 1), codes=(CODES, flipped), settings=OTHER)
    found = side_by_side(base, other).codebooks.matching
    assert found is not None
    # cosines of the three codes with (-1, 0): -1, 0 and 2^-0.5
    assert found.mean("similarity") == pytest.approx((1 + (-1 + 2**-0.5) / 3) / 2)
    assert found.mean("random") is not None


def test_ends__each_pair_once_from_both_ends() -> None:
    pairs = [MatchedPair(place, place, 1 - place / 10, (), ()) for place in range(7)]
    best, worst = ends_of(pairs)
    assert [each.base for each in best] == [0, 1, 2, 3]
    assert [each.base for each in worst] == [6, 5, 4]
    assert ends_of(pairs[:1]) == (pairs[:1], [])


def test_agreement__by_partition_not_by_number(tmp_path: Path) -> None:
    rows = salient_rows(("a b", "c d"))
    base = make_run(tmp_path / "a", salient=rows, assigned=[[[9, 0, 0], [9, 1, 1]]])
    same = make_run(tmp_path / "b", salient=rows, assigned=[[[0, 5, 5], [1, 3, 3]]], settings=OTHER)
    (found,) = side_by_side(base, same).codebooks.agreement
    assert (found.words, found.agreement) == (4, pytest.approx(1.0))


def test_agreement__of_words_that_both_hold(tmp_path: Path) -> None:
    rows = salient_rows(("a b", "c d", "e f"))
    base = make_run(tmp_path / "a", salient=rows, assigned=[[[0, 0, 0], [0, 1, 1], [0, 0, 1]]])
    # the store of the other begins elsewhere, lacks the last sentence, and two of its words have no code
    moved = [{**row, "sentence": 900 - place} for place, row in enumerate(rows[:2])]
    other = make_run(tmp_path / "b", salient=moved, assigned=[[[0, 4, -1], [0, 7, 7]]], settings=OTHER)
    (found,) = side_by_side(base, other).codebooks.agreement
    assert (found.words, found.agreement) == (3, pytest.approx(1.0))


def test_agreement__no_sentence_in_both_is_said(tmp_path: Path) -> None:
    other = make_run(tmp_path / "b", salient=salient_rows(("something", "else")), settings=OTHER)
    found = side_by_side(make_run(tmp_path / "a"), other)
    assert found.codebooks.agreement == ()
    assert found.codebooks.notes == ("Agreement on words is not measured: no dev sentence is in both runs.",)
    assert found.salience is None
    assert fits_of(found, COSINES)


def test_an_older_run__is_compared_by_all_the_rest(tmp_path: Path) -> None:
    new, old = make_run(tmp_path / "a"), make_run(tmp_path / "b", settings=OTHER)
    write(
        old,
        "concepts",
        [{"method": "clvq_vae", "seed": 0, "concept": 0, "rank": 0, "word": "dull", "count": 3}],
    )
    (old / "concept_words.parquet").unlink()
    seal(old)
    found = side_by_side(new, old)
    assert found.codebooks.matching is None
    (note,) = found.codebooks.notes
    assert note.startswith("Codes are not matched: the tables of B hold no row for each concept, an older version")
    assert len(found.codebooks.agreement) == 1
    assert found.parts
    assert found.salience == Salience(4, 4, 4)


def test_a_run_without_tables__is_compared_by_its_figures(tmp_path: Path) -> None:
    bare = make_run(tmp_path / "b", settings=OTHER)
    for name in subjects.TABLES:
        (bare / f"{name}.parquet").unlink()
    seal(bare)
    found = side_by_side(make_run(tmp_path / "a"), bare)
    assert found.salience is None
    assert [part.key for part in found.parts] == ["faithfulness.own", "codebook"]
    assert "the dev sentences of both runs are not known" in found.codebooks.notes[-1]
    (bare / "salient_words.parquet").write_bytes((tmp_path / "a" / "salient_words.parquet").read_bytes())
    seal(bare)
    again = side_by_side(tmp_path / "a", bare)
    assert again.codebooks.notes[-1] == "Agreement on words is not measured: B has no codes of dev words."
    assert again.salience == Salience(4, 4, 4)


def test_salience__by_place_and_by_the_names_of_the_classes(tmp_path: Path) -> None:
    base = make_run(
        tmp_path / "a",
        salient=salient_rows(TEXTS, position=[-1, 0, 1, 0], prediction=[0, 0, 1, 1]),
        settings={"dataset.label_names": ["negative", "positive"]},
    )
    other = make_run(
        tmp_path / "b",
        salient=salient_rows(TEXTS, position=[-1, 1, 1, 1], prediction=[1, 1, 0, 1]),
        settings={"dataset.label_names": ["positive", "negative"]},
    )
    assert side_by_side(base, other).salience == Salience(4, same_word=2, same_prediction=3)


def test_salience__of_training_sentences_does_not_count(tmp_path: Path) -> None:
    rows = salient_rows(TEXTS, split=["dev", "dev", "train", "train"])
    run = make_run(tmp_path / "a", salient=rows)
    assert side_by_side(run, run).salience == Salience(2, 2, 2)


def test_tables__are_read_alike_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = make_run(tmp_path / "a", seeds=(0, 1))
    other = make_run(tmp_path / "b", seeds=(0, 1), codes=(CODES[::-1],), settings=OTHER)
    whole = side_by_side(base, other)
    monkeypatch.setattr(subjects, "BATCH", 1)
    in_rows = side_by_side(base, other)
    assert in_rows.codebooks == whole.codebooks
    assert in_rows.parts == whole.parts
    assert in_rows.salience == whole.salience


@pytest.mark.parametrize("name", ["salient_words", "sentences", "assignments", "concepts"])
def test_tables__that_are_none_under_a_right_seal_are_named(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "a")
    (run / f"{name}.parquet").write_bytes(b"PAR1 and no more")
    seal(run)
    with pytest.raises(DamagedArtifactError, match=f"{name}.parquet cannot be read"):
        side_by_side(run, run)


def test_concepts__vectors_of_several_lengths_or_odd_numbers_are_damage(tmp_path: Path) -> None:
    ragged = make_run(tmp_path / "a", codes=((Code((1.0, 0.0), {"a": 1}), Code((1.0,), {"b": 1})),))
    with pytest.raises(DamagedArtifactError, match="vectors of 2 lengths"):
        side_by_side(ragged, ragged)
    odd = make_run(tmp_path / "b", settings=OTHER)
    table = pq.read_table(odd / "concepts.parquet")
    shifted = table.set_column(2, "concept", pa.array([each + 1 for each in table["concept"].to_pylist()]))
    pq.write_table(shifted, odd / "concepts.parquet")
    seal(odd)
    with pytest.raises(DamagedArtifactError, match="not numbered from 0"):
        side_by_side(odd, odd)
