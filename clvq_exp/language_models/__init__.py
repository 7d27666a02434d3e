"""Load, fine-tune and read the language model under study."""
