"""Does a concept matter: probe, ablation, controls, intervention in the live model, statistics."""
