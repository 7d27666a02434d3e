"""A comparison as JSON: every number in full, texts as they stand in the run folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from clvq_exp.comparing.compare import Compared, Comparison
from clvq_exp.comparing.concept_sheets import ends_of
from clvq_exp.comparing.concepts import Word
from clvq_exp.comparing.differences import Setting
from clvq_exp.comparing.figures import Part, Row, Value
from clvq_exp.comparing.matching import MatchedPair, Matching, SeedMatching
from clvq_exp.comparing.subjects import Subject

FORMAT_VERSION = 1


def as_json(comparison: Comparison) -> str:
    """A comparison as JSON with sorted keys; null where there is no figure (`docs/compare.md` lists its keys)."""
    letters = [each.letter for each in comparison.subjects]
    content = {
        "format_version": FORMAT_VERSION,
        "runs": [_run(each) for each in comparison.subjects],
        "settings": [_setting(each, letters) for each in comparison.settings],
        "comparisons": [_compared(each) for each in comparison.others],
    }
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _run(subject: Subject) -> dict[str, Any]:
    model, dataset, layers = subject.run.place
    return {
        "letter": subject.letter,
        "folder": str(subject.run.folder),
        "fingerprint": subject.run.cell.get("fingerprint"),
        "model": model,
        "dataset": dataset,
        "layer_pair": layers,
        "method": subject.method,
        "seeds": list(subject.seeds),
        "dev_sentences": subject.run.dev_sentences,
    }


def _setting(setting: Setting, letters: Sequence[str]) -> dict[str, Any]:
    return {
        "key": setting.key,
        "section": setting.section,
        "default": setting.default,
        "values": dict(zip(letters, setting.values, strict=True)),
        "is_default": dict(zip(letters, setting.is_default, strict=True)),
    }


def _compared(compared: Compared) -> dict[str, Any]:
    pair, codebooks = compared.pair, compared.codebooks
    known = pair.base_sentences is not None and pair.other_sentences is not None and pair.shared is not None
    return {
        "base": pair.base.letter,
        "other": pair.other.letter,
        "sentences": {
            "base": len(pair.base_sentences) if pair.base_sentences is not None else None,
            "other": len(pair.other_sentences) if pair.other_sentences is not None else None,
            "shared": len(pair.shared.base) if known and pair.shared is not None else None,
            "paired": pair.paired,
        },
        "parts": [_part(part) for part in compared.parts],
        "matching": None if codebooks.matching is None else _matching(codebooks.matching),
        "agreement": [
            {"seeds": list(each.seeds), "words": each.words, "adjusted_mutual_information": each.agreement}
            for each in codebooks.agreement
        ],
        "salient_words": None if compared.salience is None else compared.salience._asdict(),
        "notes": list(codebooks.notes),
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "key": part.key,
        "title": part.title,
        "notes": list(part.notes),
        "figures": [_row(row) for row in part.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "key": row.key,
        "title": row.title,
        "unit": row.unit.value,
        "base": _value(row.base),
        "other": _value(row.other),
        "difference": _value(row.difference),
        "cohens_h": row.cohens_h,
        "p_value": row.p_value,
        "p_holm": row.p_holm,
        "test": row.test.value or None,
    }


def _value(value: Value | None) -> dict[str, Any] | None:
    return None if value is None else {**value._asdict(), "mark": value.mark or None}


def _matching(matching: Matching) -> dict[str, Any]:
    return {"by": matching.by, "fits": [_fit(each) for each in matching.seeds]}


def _fit(fit: SeedMatching) -> dict[str, Any]:
    best, worst = ends_of(fit.pairs)
    return {
        "seeds": list(fit.seeds),
        "codes_in_use": list(fit.codes),
        "matched": fit.similarity,
        "random": fit.random,
        "noise": fit.noise,
        "all_codes": fit.all_codes,
        "pairs": [[each.base, each.other, each.similarity] for each in fit.pairs],
        "best": [_pair(each) for each in best],
        "worst": [_pair(each) for each in worst],
    }


def _pair(pair: MatchedPair) -> dict[str, Any]:
    return {
        "base": pair.base,
        "other": pair.other,
        "similarity": pair.similarity,
        "base_words": _words(pair.base_words),
        "other_words": _words(pair.other_words),
    }


def _words(words: Sequence[Word]) -> list[dict[str, Any]]:
    return [{"word": each.word, "count": each.n_words} for each in words]
