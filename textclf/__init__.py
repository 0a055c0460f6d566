"""Text classification with recurrent networks: train, evaluate, export, and prove it."""

__version__ = "0.1.0"
