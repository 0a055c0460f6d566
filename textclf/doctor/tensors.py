"""Results of TensorFlow and Keras: devices, and the kernels of recurrent layers."""

from typing import NamedTuple

import keras
import tensorflow as tf

from textclf import networks
from textclf.config import Config
from textclf.display import Notes, Table
from textclf.doctor.gpu import Gpu
from textclf.doctor.section import Section, list_table
from textclf.errors import ConfigError, install_command


def count_gpus() -> int:
    """Return the number of GPUs that Keras sees when it traces a layer."""
    return len(tf.config.list_logical_devices("GPU"))


def examine_devices(gpu: Gpu) -> Section:
    """Return the devices of TensorFlow.

    Args:
        gpu: driver and libraries of this machine.
    """
    build = tf.sysconfig.get_build_info()
    has_cuda = tf.test.is_built_with_cuda()
    num_cpus, num_gpus = len(tf.config.list_logical_devices("CPU")), count_gpus()
    physical = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(device) for device in physical]
    names = [str(detail.get("device_name", "unknown")) for detail in details]
    values = {
        "version": tf.__version__,
        "keras_version": keras.__version__,
        "cuda_version": build.get("cuda_version") if has_cuda else None,
        "cudnn_version": build.get("cudnn_version") if has_cuda else None,
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "gpu_names": names,
    }
    built = f"CUDA {values['cuda_version']}, cuDNN {values['cudnn_version']}"
    rows = [
        ["built for", built if has_cuda else "CPUs only"],
        ["CPUs", f"{num_cpus}"],
        ["GPUs", f"{num_gpus}" if num_gpus else "none: training uses the CPU"],
        *(["GPU", name] for name in names),
    ]
    problems = []
    if gpu.state != "no driver" and not has_cuda:
        problems.append(
            f"TensorFlow: this build cannot use the GPU; install {install_command('gpu')}"
        )
    elif gpu.state == "complete" and not num_gpus:
        problems.append(
            "TensorFlow: driver and libraries are there, but no GPU is visible; unset "
            "CUDA_VISIBLE_DEVICES, or read TensorFlow's messages with TF_CPP_MIN_LOG_LEVEL=0"
        )
    return Section("tensorflow", values, [list_table("TensorFlow", rows)], problems)


def examine_layers(config: Config) -> Section:
    """Return for each recurrent layer whether it would run with cuDNN's kernel on a GPU.

    Args:
        config: the configuration of the network.
    """
    architecture = networks.Architecture.from_settings(config.model.to_dict())
    is_plugin = networks.is_plugin(config.model.encoder)
    try:
        layers = [] if config.model.encoder == "none" else networks.recurrent_layers(architecture)
    except ConfigError as error:
        return Section("recurrent_layers", [], [_nothing("unknown")], error.problems)
    if not layers:
        return Section("recurrent_layers", [], [_nothing("the network has none")])
    values, rows, layers_by_obstacle = [], [], dict[_Value, list[str]]()
    for layer in layers:
        obstacles = [
            _setting(obstacle, is_plugin=is_plugin) for obstacle in networks.cudnn_obstacles(layer)
        ]
        reasons = [f"{obstacle.name}={obstacle.value}" for obstacle in obstacles]
        values.append(
            {
                "name": layer.name,
                "type": type(layer).__name__,
                "has_cudnn_kernel": not obstacles,
                "prevented_by": reasons,
            }
        )
        kernel = "no" if obstacles else "yes"
        rows.append([layer.name, type(layer).__name__, kernel, ", ".join(reasons)])
        for obstacle in obstacles:
            layers_by_obstacle.setdefault(obstacle, []).append(layer.name)
    num_gpus = count_gpus()
    needs = [f"{obstacle.name}={obstacle.needed}" for obstacle in layers_by_obstacle]
    remark = [] if num_gpus else ["No GPU is visible here, so the layers run on the CPU."]
    remark += [f"cuDNN needs {' and '.join(needs)}."] if needs else []
    problems = [
        f"{obstacle.name}: with {obstacle.value}, {' and '.join(names)} cannot use cuDNN and train "
        f"more slowly on the GPU; set it to {obstacle.needed}"
        for obstacle, names in layers_by_obstacle.items()
        if num_gpus
    ]
    table = Table(
        ["layer", "type", "cuDNN on a GPU", "prevented by"], rows, "tttf",
        heading="Recurrent layers", remark=" ".join(remark),
    )  # fmt: skip
    return Section("recurrent_layers", values, [table], problems)


class _Value(NamedTuple):
    """A value that excludes the kernel, and the one that is needed, as they are written in YAML.

    Attributes:
        name: the setting, or the argument of a plug-in's layer.
    """

    name: str
    value: str
    needed: str


def _nothing(words: str) -> Notes:
    return Notes("Recurrent layers", [words], has_bullets=False)


def _setting(obstacle: networks.Obstacle, *, is_plugin: bool) -> _Value:
    """Return the setting, or the argument of a plug-in's layer, that excludes the kernel."""
    argument, value, needed = obstacle
    if argument == "type" and not is_plugin:
        return _Value("model.encoder", "simple_rnn", "lstm or gru")
    name = argument if is_plugin else f"model.{argument}"
    return _Value(
        name, *(str(v).lower() if isinstance(v, bool) else str(v) for v in (value, needed))
    )
