"""Text classification with recurrent networks: train, evaluate, export.

    import textclf

    config = textclf.Config.from_dict({"data": {"source": "reviews.csv"}})
    result = textclf.train(config, "runs/reviews")
    model = textclf.load("runs/reviews")
    model.predict(["not bad at all"])

Names are imported when they are used: `import textclf` loads neither TensorFlow nor NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

from textclf import trace  # noqa: F401  its clock begins here

__version__ = "0.1.0"

if TYPE_CHECKING:
    from textclf.active_learning import select_next
    from textclf.classifier import evaluate
    from textclf.classifier import load_predictor as load
    from textclf.config import Config
    from textclf.data import open_dataset
    from textclf.errors import TextclfError
    from textclf.label_errors import find_label_errors
    from textclf.model_page import write_report
    from textclf.prediction import predict_file
    from textclf.pretraining import pretrain
    from textclf.recalibration import CalibrationResult, calibrate
    from textclf.saved_model import export
    from textclf.scoring import score
    from textclf.study.models import compare
    from textclf.training import TrainingResult, find_learning_rate, train, train_events

# Public name -> module, and the name there if it differs.
_PUBLIC = {
    "CalibrationResult": "recalibration",
    "Config": "config",
    "TextclfError": "errors",
    "TrainingResult": "training",
    "calibrate": "recalibration",
    "compare": "study.models",
    "evaluate": "classifier",
    "export": "saved_model",
    "find_label_errors": "label_errors",
    "find_learning_rate": "training",
    "load": "classifier:load_predictor",
    "open_dataset": "data",
    "predict_file": "prediction",
    "pretrain": "pretraining",
    "score": "scoring",
    "select_next": "active_learning",
    "train": "training",
    "train_events": "training",
    "write_report": "model_page",
}

__all__ = [
    "CalibrationResult",
    "Config",
    "TextclfError",
    "TrainingResult",
    "calibrate",
    "compare",
    "evaluate",
    "export",
    "find_label_errors",
    "find_learning_rate",
    "load",
    "open_dataset",
    "predict_file",
    "pretrain",
    "score",
    "select_next",
    "train",
    "train_events",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, name_there = _PUBLIC[name].partition(":")
    if module in ("classifier", "pretraining", "saved_model", "training"):
        from textclf.startup import import_tensorflow

        import_tensorflow()  # without its start-up messages
    return getattr(importlib.import_module(f"textclf.{module}"), name_there or name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
