"""Devices that share a training."""

import tensorflow as tf


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Return the strategy of `training.strategy`: `one_device`, or `mirrored` over all devices."""
    if name == "one_device":
        return tf.distribute.get_strategy()
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])
