"""Words and sub-words, extraction, the store of activations and what feeds training from it."""
