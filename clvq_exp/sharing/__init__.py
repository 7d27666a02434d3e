"""Fitted concept models as folders that can be given away: weights, settings, a model card. Nothing is pickled."""
