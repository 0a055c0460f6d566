"""Suspected label errors of the train split: out-of-fold probabilities and confident learning."""
