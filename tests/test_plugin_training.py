"""Plug-in encoders: from a configuration to a verified export."""

import sys

import numpy as np
import pytest

from textclf import classifier, saved_model, training
from textclf.config import Config
from textclf.errors import ConfigError


def plugin_config(tiny, reviews, name):
    model = {"encoder": f"encoder_plugins:{name}", "units": 4, "embedding_dim": 4}
    return Config.from_dict({**tiny, "data": {"source": str(reviews)}, "model": model})


def test_training_refuses_plugins_that_read_padding_before_the_first_step(reviews, tiny, tmp_path):
    with pytest.raises(ConfigError, match="encoder_plugins:without_mask: padding changed"):
        training.train(plugin_config(tiny, reviews, "without_mask"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["convolution", "recurrent"])
def test_classifiers_with_a_plugin_train_load_and_export_with_equal_answers(
    name, reviews, tiny, tmp_path
):
    for folder in ("one", "two"):
        training.train(plugin_config(tiny, reviews, name), tmp_path / folder)
    one, two = (tmp_path / folder / "weights.npz" for folder in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    texts = ["not bad at all", "", "terrible " * 30]
    expected = classifier.load(tmp_path / "one").predict_proba(texts)
    version = saved_model.export(classifier.load(tmp_path / "one"), tmp_path / "exports")
    served = classifier.load_predictor(version).predict_proba(texts)
    np.testing.assert_allclose(served, expected, atol=1e-5)


def test_loading_names_the_plugin_if_the_import_fails(reviews, tiny, tmp_path, monkeypatch):
    training.train(plugin_config(tiny, reviews, "convolution"), tmp_path / "run")
    monkeypatch.setitem(sys.modules, "encoder_plugins", None)
    with pytest.raises(ConfigError, match="the module encoder_plugins cannot be imported"):
        classifier.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("recurrent_dropout", 0.1),
        ("recurrent_initializer", "he_normal"),
        ("layer_norm", True),
        ("reset_after", False),
    ],
)
def test_settings_without_effect_on_a_plugin_are_refused(setting, value):
    model = {"encoder": "encoder_plugins:recurrent", "num_layers": 2, setting: value}
    with pytest.raises(ConfigError, match=f"model.{setting}: has no effect, because"):
        Config.from_dict({"data": {"source": "demo"}, "model": model})


@pytest.mark.parametrize("name", ["lsmt", "module:", ":function", "a b:c", "module:f:g", "1:f"])
def test_encoder_setting_without_a_known_name_or_function_is_refused(name):
    with pytest.raises(ConfigError, match="model.encoder: expected"):
        Config.from_dict({"data": {"source": "demo"}, "model": {"encoder": name}})
