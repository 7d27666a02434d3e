"""Finished runs side by side: settings, figures with tests, codebooks, salient words (`docs/compare.md`).

Reads run folders and nothing else, as `collect` does. It is a room of its own, above `evaluation`, because its
tests, intervals and matchings are those of a run: `evaluation.statistics` and `evaluation.specificity.codebooks`
compute them, and these need torch, which `collect` must not import. Of the other rooms it imports none.
"""
