"""Two codebooks side by side as tables of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clvq_exp.comparing.concepts import Word
from clvq_exp.comparing.matching import COSINES, SHOWN_PAIRS, Codebooks, MatchedPair, Matching, SeedAgreement
from clvq_exp.report.formatting import count, decimal
from clvq_exp.report.grid import Grid, GridRow, plain_cells, plain_columns
from clvq_exp.report.text_safety import shorten, visible

_WORDS = 5
_LONGEST_WORD = 30


def concept_grids(found: Codebooks, base: str, other: str) -> Iterator[Grid]:
    """Matching, agreement, and the pairs that match best and worst.

    Args:
        found: two codebooks side by side.
        base: letter of the base.
        other: letter of the other run.
    """
    if found.matching is not None:
        yield _matching_grid(found.matching)
    if found.agreement:
        yield _agreement_grid(found.agreement)
    if found.matching is not None:
        first = found.matching.seeds[0]
        best, worst = ends_of(first.pairs)
        head = f"code of {base} in seed {first.seeds[0]}, code of {other} in seed {first.seeds[1]}"
        measure = "Cosine" if found.matching.by == COSINES else "Shared words"
        for title, pairs in (("match best", best), ("match worst", worst)):
            if pairs:
                yield _pairs_grid(f"Codes that {title}: {head}", measure, pairs, base, other)


def ends_of(pairs: Sequence[MatchedPair]) -> tuple[Sequence[MatchedPair], Sequence[MatchedPair]]:
    """The pairs at both ends, each pair once: the best from the best on, the worst from the worst on."""
    n = min(SHOWN_PAIRS, (len(pairs) + 1) // 2)
    return pairs[:n], pairs[max(n, len(pairs) - SHOWN_PAIRS) :][::-1]


def _matching_grid(matching: Matching) -> Grid:
    by_cosine = matching.by == COSINES
    titles = ["Codes in use", "Matched", "At random"]
    titles += ["Noise", "All codes"] if by_cosine else []
    rows = [
        GridRow(
            f"seeds {each.seeds[0]} and {each.seeds[1]}",
            plain_cells(
                (
                    f"{count(each.codes[0])} and {count(each.codes[1])}",
                    decimal(each.similarity),
                    decimal(each.random),
                    *((decimal(each.noise), decimal(each.all_codes)) if by_cosine else ()),
                )
            ),
        )
        for each in matching.seeds
    ]
    names = ("similarity", "random", *(("noise", "all_codes") if by_cosine else ()))
    if len(rows) > 1:
        rows.append(
            GridRow("mean", plain_cells(("", *(decimal(matching.mean(name)) for name in names))), key=True)
        )
    what = "mean cosine" if by_cosine else "mean share of the most frequent words that both hold"
    note = f"One to one, so that the sum is largest: the {what} of the matched codes in use"
    note += "; at random: over all pairs of codes"
    if by_cosine:
        note += "; noise: of the base’s codes matched with Gaussian vectors of the other’s mean and covariance"
    return Grid("Codes matched", note + ".", "Fits", plain_columns(titles), tuple(rows))


def _agreement_grid(found: Sequence[SeedAgreement]) -> Grid:
    rows = [
        GridRow(
            f"seeds {each.seeds[0]} and {each.seeds[1]}", plain_cells((count(each.words), decimal(each.agreement)))
        )
        for each in found
    ]
    note = (
        "Adjusted mutual information of the codes of the dev words in both runs, sentence tokens left out: 1 for "
    )
    note += "the same partition, 0 by chance."
    return Grid("Agreement on words", note, "Fits", plain_columns(("Words", "Agreement")), tuple(rows))


def _pairs_grid(title: str, measure: str, pairs: Sequence[MatchedPair], base: str, other: str) -> Grid:
    rows = [
        GridRow(
            f"#{each.base} and #{each.other}",
            plain_cells((decimal(each.similarity), _words(each.base_words), _words(each.other_words))),
        )
        for each in pairs
    ]
    columns = plain_columns((measure, f"Most frequent words in {base}", f"Most frequent words in {other}"))
    return Grid(title, "", "Codes", columns, tuple(rows))


def _words(words: Sequence[Word]) -> str:
    return ", ".join(
        f"{shorten(visible(each.word), _LONGEST_WORD)} ({count(each.n_words)})" for each in words[:_WORDS]
    )
