"""Doctor: examination of this machine, and of a configuration or a model on it."""

import configparser
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import textclf
from textclf import networks
from textclf.cli import main
from textclf.config import Config
from textclf.display import to_text
from textclf.doctor import Section, cgroups, diagnose, disk_need, folders, gpu, machine, packages
from textclf.doctor import section as sections

ROOT = Path(__file__).parents[1]
HEAVY = ("tensorflow", "keras", "tensorflow_datasets")


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["doctor", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def values_of(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def by_key(source: object = None, **options: Any) -> dict[str, Section]:
    return {section.key: section for section in diagnose(source, **options)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_config(folder: Path, reviews: Path, text: str = "") -> Path:
    """Write a configuration of a copy of `reviews`."""
    shutil.copy(reviews, folder / "reviews.csv")
    path = folder / "reviews.yaml"
    path.write_text("data: {source: reviews.csv}\n" + text)
    return path


# === The command ===


@pytest.mark.parametrize("subject", ["nothing", "config", "model", "export", "tfds"])
def test_doctor_quick_imports_neither_tensorflow_nor_keras_and_says_what_is_left_out(
    subject: str, reviews: Path, trained: Path, exports: Path, folder: Path
):
    tfds = folder / "tfds.yaml"
    tfds.write_text("data: {source: 'tfds:imdb_reviews'}\n")
    arguments = {
        "nothing": [],
        "config": [write_config(folder, reviews)],
        "model": [trained],
        "export": [exports / "reviews"],
        "tfds": [tfds],
    }
    code = (
        "import sys; from textclf.cli import main\n"
        "try: main(['doctor', '--quick', *sys.argv[1:]])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *map(str, arguments[subject])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stderr.split())
    left_out = {"nothing": 1, "tfds": 3}.get(subject, 2)
    assert done.stdout.count("left out by --quick: needs TensorFlow") == left_out
    assert "\nTensorFlow\nleft out by --quick" in done.stdout


def test_doctor_prints_the_first_sections_before_it_imports_tensorflow():
    code = (
        "import sys; from textclf.doctor import diagnose\n"
        "for section in diagnose():\n"
        "    print(section.key, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "versions False", "machine False", "gpu False", "folders False",
        "tensorflow True", "problems True",
    ]  # fmt: skip
    assert done.stderr == ""


def test_doctor_json_has_the_content_of_the_text(reviews: Path, folder: Path):
    config = write_config(folder, reviews, "model: {encoder: gru, recurrent_dropout: 0.5}\n")
    values, text = values_of(config), run(config).stdout
    assert list(values) == [
        "versions", "machine", "gpu", "folders", "subject", "data", "tensorflow",
        "recurrent_layers", "problems",
    ]  # fmt: skip
    versions = values["versions"]
    for name in ("tensorflow", "keras", "click", "numpy", "scikit-learn", "tensorflow-datasets"):
        assert versions[name] is not None
        assert f"\n{name} " in text and f" {versions[name]}\n" in text
    assert values["machine"]["platform"] in text and values["machine"]["processor"] in text
    assert len(values["folders"]) == 3
    for entry in values["folders"]:
        assert f"\n{entry['purpose']} " in text
    assert [layer["prevented_by"] for layer in values["recurrent_layers"]] == [
        ["model.recurrent_dropout=0.5"]
    ] * 2
    assert text.count("model.recurrent_dropout=0.5") == 2
    assert sections.format_bytes(values["data"]["size_bytes"]) in text


@pytest.mark.parametrize("width", [80, 120])
def test_doctor_text_fits_the_width_of_the_terminal(width: int, trained: Path):
    for section in diagnose(trained):
        if section.key not in ("machine", "folders", "subject", "problems"):  # paths, names
            lines = to_text(section.document, width).splitlines()
            assert max(map(len, lines)) <= width, section.key


def test_format_bytes_uses_decimal_units():
    sizes = [0, 999, 1000, 123_456, 1_500_000, 25_300_000_000, 2 * 10**15]
    assert [sections.format_bytes(size) for size in sizes] == [
        "0 bytes", "999 bytes", "1.0 kB", "123 kB", "1.5 MB", "25.3 GB", "2000.0 TB",
    ]  # fmt: skip


# === Versions ===


def test_packages_of_the_doctor_have_the_bounds_of_setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")

    def requirements(lines: str) -> dict[str, str]:
        pairs = (line.split(" ", 1) for line in lines.split("\n") if line and line[0] != "#")
        return {name: bounds.replace(" ", "") for name, bounds in pairs}

    installed = requirements(parser["options"]["install_requires"])
    assert {name: installed[name] for name in packages.REQUIRED} == packages.REQUIRED
    extras = {
        extra: requirements(lines)
        for extra, lines in parser["options.extras_require"].items()
        if extra != "test"
    }
    assert extras.pop("gpu") == {"tensorflow[and-cuda]": installed["tensorflow"]}
    assert extras == {name: value for name, value in packages.EXTRAS.items() if name != "gpu"}
    assert "gpu" in packages.EXTRAS


def test_doctor_does_not_look_up_its_own_distribution():
    looked_up = {*packages.REQUIRED, *(name for part in packages.EXTRAS.values() for name in part)}
    assert not [name for name in looked_up if "textclf" in name]
    assert by_key(is_quick=True)["versions"].values["textclf"] == textclf.__version__


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        ("2.21.0", ">=2.21,<2.22", True),
        ("2.22.0", ">=2.21,<2.22", False),
        ("2.20.9", ">=2.21,<2.22", False),
        ("2.9", ">=2.21", False),
        ("4.9.10", ">=4.9.10,<5", True),
        ("2.21.0rc1", ">=2.21,<2.22", True),
        ("1", "", True),
    ],
)
def test_is_within_compares_versions_by_number(version: str, bounds: str, expected: bool):
    assert packages.is_within(version, bounds) is expected


def test_doctor_reports_missing_and_unsuitable_packages_with_the_command_to_install_them(
    tmp_path: Path,
):
    metadata = {"keras": "2.15.0", "uvicorn": "0.1", "tensorflow-cpu": "2.21.0"}
    for name, version in metadata.items():
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    # Only these distributions, and none of the environment, are on the path of the look-up.
    code = (
        "import sys, textclf.doctor.packages as packages, rich.table, textclf.display as d\n"
        "sys.path[:] = [sys.argv[1]]\n"
        "section = packages.examine_packages()\n"
        "print(d.to_text(section.document), *section.problems, sep='\\n')"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    install = "install it with `.venv/bin/pip install"
    assert (
        f"keras: version 2.15.0 is installed, textclf needs >=3.15,<4; {install} .` in the "
        "checkout of textclf"
    ) in lines
    assert f"numpy: is not installed; {install} .` in the checkout of textclf" in lines
    assert (
        "uvicorn: version 0.1 is installed, the extra serve needs >=0.54,<1; "
        f"{install} '.[serve]'` in the checkout of textclf"
    ) in lines
    assert not any(line.startswith(("tensorflow:", "tensorflow-cpu:")) for line in lines)
    assert "starlette                 not installed  serve" in lines


def test_doctor_reports_a_tensorflow_that_cannot_be_imported(tmp_path: Path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('libx.so: no such file')\n")
    path = os.pathsep.join(map(str, [tmp_path, ROOT]))
    done = subprocess.run(
        [sys.executable, "-m", "textclf", "doctor"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\nTensorFlow\nTensorFlow cannot be imported\n" in done.stdout
    assert "- TensorFlow: cannot be imported (libx.so: no such file); install" in done.stdout


# === Threads and memory ===


def write_files(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/", {}, (None, None, None)),
        ("", {}, (None, None, None)),
        ("0::/a", {"a/cpu.max": "max 100000", "a/memory.max": "max"}, (None, None, None)),
        ("0::/a", {"a/cpu.max": "150000 100000"}, (1.5, None, None)),
        (  # the limit of a parent is lower
            "0::/a/b",
            {"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"},
            (2.0, None, None),
        ),
        (  # a container that sees its own group as the root, under the path of the host
            "0::/docker/0123",
            {"cpu.max": "50000 100000", "memory.max": "1000", "memory.current": "400"},
            (0.5, 1000, 600),
        ),
        ("0::/../other", {"cpu.max": "50000 100000"}, (0.5, None, None)),
        (  # files that are only cached can be dropped
            "0::/",
            {
                "memory.max": "1000",
                "memory.current": "900",
                "memory.stat": "anon 100\ninactive_file 700",
            },
            (None, 1000, 800),
        ),
        (
            "4:memory:/job\n1:cpu,cpuacct:/job\n0::/",
            {
                "cpu/job/cpu.cfs_quota_us": "300000",
                "cpu/job/cpu.cfs_period_us": "100000",
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/job/memory.limit_in_bytes": "5000",
                "memory/job/memory.usage_in_bytes": "1000",
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "memory/memory.usage_in_bytes": "7000",
            },
            (3.0, 5000, 4000),
        ),
    ],
)
def test_read_limits_finds_the_lowest_limit_of_both_versions_of_cgroups(
    membership: str, files: dict[str, str], expected: tuple, tmp_path: Path
):
    write_files(tmp_path, {"membership": membership})
    write_files(tmp_path / "mount", files)
    assert cgroups.read_limits(tmp_path / "membership", tmp_path / "mount") == expected
    assert cgroups.read_limits(tmp_path / "none", tmp_path / "mount") == (None, None, None)


@pytest.mark.parametrize(
    ("environment", "limit", "number", "problem"),
    [
        ({}, None, 8, ""),
        ({"OMP_NUM_THREADS": "1"}, None, 8, ""),
        ({"TF_NUM_INTRAOP_THREADS": "3"}, None, 3, ""),
        ({"TF_NUM_INTRAOP_THREADS": "0"}, None, 8, ""),
        ({"TF_NUM_INTRAOP_THREADS": "x"}, None, 8, "'x' is not a whole number"),
        ({}, 1.5, 8, "set TF_NUM_INTRAOP_THREADS=2"),
        ({"TF_NUM_INTRAOP_THREADS": "2"}, 1.5, 2, ""),
        ({}, 16.0, 8, ""),
    ],
)
def test_tensorflow_threads_follow_the_environment_and_are_compared_with_the_limit(
    environment: dict[str, str], limit: float | None, number: int, problem: str
):
    threads = machine.tensorflow_threads(environment, 8, limit)
    assert threads.number == number
    assert len(threads.problems) == bool(problem) and problem in "".join(threads.problems)


def test_threads_of_tensorflow_are_those_that_the_doctor_reports():
    code = (
        "import os, sys; from textclf.doctor import diagnose\n"
        "[section] = [s for s in diagnose(is_quick=True) if s.key == 'machine']\n"
        "from textclf.startup import import_tensorflow; import_tensorflow()\n"
        "print(section.values['tensorflow_threads'], len(os.listdir('/proc/self/task')))"
    )
    counts = []
    for number in ("2", "7"):
        variables = {**os.environ, "TF_NUM_INTRAOP_THREADS": number, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
        )
        counts.append([*map(int, done.stdout.split())])
    (few, tasks), (many, more_tasks) = counts
    assert (few, many) == (2, 7)
    assert more_tasks - tasks == many - few


# === GPU ===

DRIVER_FILE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {0}  Tue Jan  2 2024\nGCC version:\n"


@pytest.mark.parametrize(
    ("libraries", "driver", "state", "problem"),
    [
        ([], None, "no driver", ""),
        (["CUDA", "cuDNN"], None, "no driver", ""),
        ([], "550.54", "no driver", "docker run --gpus all"),
        (["driver"], "550.54", "no libraries", "CUDA (libcudart.so.12) and cuDNN (libcudnn.so.9)"),
        (["driver", "CUDA"], "550.54", "no libraries", "but cuDNN (libcudnn.so.9) is not found"),
        (["driver", "CUDA", "cuDNN"], "550.54", "complete", ""),
        (["driver", "CUDA", "cuDNN"], None, "complete", ""),
        (["driver", "CUDA", "cuDNN"], "470.82", "complete", "needs 525 or newer; update"),
    ],
)
def test_doctor_distinguishes_no_driver_no_libraries_and_complete(
    libraries: list[str], driver: str | None, state: str, problem: str, tmp_path: Path
):
    if driver is not None:
        model = "Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ: 1"
        files = {"version": DRIVER_FILE.format(driver), "gpus/0000:00:1e.0/information": model}
        write_files(tmp_path, files)
    names = {"driver": gpu.DRIVER, **gpu.LIBRARIES}
    found = gpu.find_gpu(tmp_path, {names[name] for name in libraries}.__contains__)
    assert (found.state, found.driver_version) == (state, driver)
    assert found.names == (() if driver is None else ("NVIDIA A100-SXM4-40GB",))
    section = gpu.examine_gpu(found)
    assert section.values["state"] == state.replace(" ", "_")
    assert len(section.problems) == bool(problem) and problem in "".join(section.problems)
    if state == "no libraries":
        assert "`.venv/bin/pip install '.[gpu]'`" in section.problems[0]


def test_doctor_finds_libraries_on_the_library_path_and_in_the_packages_of_nvidia(tmp_path: Path):
    maps = Path("/proc/self/maps").read_text().split()
    real = next(path for path in maps if "/libm.so" in path or "/libm-" in path)
    system, site = tmp_path / "lib", tmp_path / "site"
    package = site / "nvidia/cudnn/lib"
    package.mkdir(parents=True)
    system.mkdir()
    shutil.copy(real, system / gpu.DRIVER)
    shutil.copy(real, system / gpu.LIBRARIES["CUDA"])
    (package / gpu.LIBRARIES["cuDNN"]).write_bytes(b"")
    code = "from textclf.doctor.gpu import find_gpu; print(find_gpu().state)"
    states = []
    for library_path, python_path in (("", ""), (system, ""), (system, site)):
        variables = {**os.environ, "LD_LIBRARY_PATH": str(library_path)}
        variables["PYTHONPATH"] = os.pathsep.join(map(str, [ROOT, *filter(None, [python_path])]))
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        states.append(done.stdout.strip())
    if gpu.find_gpu().state != "no driver":
        pytest.skip("this machine has a driver")
    assert states == ["no driver", "no libraries", "complete"]


def test_cuda_libraries_of_the_doctor_are_those_that_tensorflow_was_built_with():
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    if not build["is_cuda_build"]:
        pytest.skip("this TensorFlow was built without CUDA")
    assert {
        "CUDA": f"libcudart.so.{build['cuda_version'].split('.')[0]}",
        "cuDNN": f"libcudnn.so.{build['cudnn_version'].split('.')[0]}",
    } == gpu.LIBRARIES


def test_doctor_reports_a_gpu_that_tensorflow_does_not_see(request: pytest.FixtureRequest):
    from textclf.doctor import tensors

    complete = gpu.Gpu("complete", "550.54", ("NVIDIA A100",), ())
    without = gpu.Gpu("no driver", None, (), ("CUDA", "cuDNN"))
    [problem] = tensors.examine_devices(complete).problems
    assert "no GPU is visible; unset CUDA_VISIBLE_DEVICES" in problem
    assert tensors.examine_devices(without).problems == []
    request.getfixturevalue("visible_gpu")
    section = tensors.examine_devices(complete)
    assert (section.values["num_gpus"], section.problems) == (1, [])


# === Recurrent layers ===


def layers_of(settings: dict[str, Any]) -> Section:
    from textclf.doctor import tensors

    return tensors.examine_layers(Config.from_dict({"data": {"source": "demo"}, "model": settings}))


@pytest.mark.parametrize(
    ("settings", "prevented_by"),
    [
        ({"encoder": "lstm", "input_dropout": 0.5}, []),
        ({"encoder": "gru"}, []),
        ({"encoder": "simple_rnn"}, ["model.encoder=simple_rnn"]),
        ({"encoder": "lstm", "recurrent_dropout": 0.2}, ["model.recurrent_dropout=0.2"]),
        ({"encoder": "gru", "reset_after": False}, ["model.reset_after=false"]),
        (
            {"encoder": "gru", "reset_after": False, "recurrent_dropout": 0.2},
            ["model.recurrent_dropout=0.2", "model.reset_after=false"],
        ),
    ],
)
def test_doctor_names_the_settings_that_exclude_cudnn_and_reports_them_if_a_gpu_is_visible(
    settings: dict[str, Any], prevented_by: list[str], request: pytest.FixtureRequest
):
    section = layers_of({**settings, "num_layers": 2})
    names = [f"{direction}_{i}" for i in (0, 1) for direction in ("forward", "backward")]
    assert [layer["name"] for layer in section.values] == names
    assert {layer["has_cudnn_kernel"] for layer in section.values} == {not prevented_by}
    assert all(layer["prevented_by"] == prevented_by for layer in section.values)
    assert section.problems == []
    assert "No GPU is visible here" in to_text(section.document)
    request.getfixturevalue("visible_gpu")
    section = layers_of({**settings, "num_layers": 2})
    assert "No GPU" not in to_text(section.document)
    assert len(section.problems) == len(prevented_by)
    for problem, setting in zip(section.problems, prevented_by, strict=True):
        name, value = setting.split("=")
        assert problem.startswith(f"{name}: with {value}, forward_0 and backward_0 and ")
        assert "; set it to " in problem


def test_doctor_reports_networks_without_recurrent_layers_and_plug_ins():
    bag = {"encoder": "bag", "pooling": "mean"}
    for settings in (bag, {"encoder": "none"}, {"encoder": "encoder_plugins:convolution"}):
        section = layers_of(settings)
        assert (section.values, [*section.problems]) == ([], [])
        assert to_text(section.document) == "Recurrent layers\nthe network has none\n"
    [layer] = layers_of({"encoder": "encoder_plugins:recurrent"}).values
    assert layer["type"] == "GRU" and layer["has_cudnn_kernel"]
    section = layers_of({"encoder": "no_such_module:function"})
    [problem] = section.problems
    assert problem.startswith("model.encoder: no_such_module:function: the module no_such_module")


# === Configurations, models, disk space ===


def test_doctor_reports_data_that_cannot_be_read_and_exits_with_0(reviews: Path, folder: Path):
    config = write_config(folder, reviews)
    assert by_key(config, is_quick=True)["problems"].values == []
    config.write_text("data: {train: reviews.csv, validation: nowhere.csv}\n")
    missing = f"nowhere.csv: no such file; the path is relative to {folder}"
    assert values_of(config, "--quick")["problems"] == [missing]
    assert f"- {missing}" in run(config, "--quick").stdout.replace("\n  ", " ")
    config.write_text("data: {source: reviews.csv, label_column: stars}\n")
    [problem] = values_of(config, "--quick")["problems"]
    assert problem.startswith("reviews.csv:1: no column 'stars'; found text, label;")
    assert values_of(config, "--quick")["data"]["is_readable"] is False
    config.write_text(
        "data: {source: reviews.csv}\nmodel: {embedding_vectors: glove.txt, embedding_dim: 5}\n"
    )
    values = values_of(config, "--quick")
    assert values["problems"][0].startswith("glove.txt: no such file; model.embedding_vectors")
    assert values["data"]["is_readable"] is True


def test_doctor_reports_the_origin_of_a_model_and_refuses_damaged_files(
    trained: Path, folder: Path
):
    shutil.copytree(trained, "run")
    values = values_of("run", "--quick")
    assert values["subject"]["kind"] == "model"
    assert values["subject"]["versions"]["textclf"] == textclf.__version__
    card = json.loads(Path("run/card.json").read_text())
    assert values["subject"]["num_files"] == len(card["files"]) > 3
    text = run("run", "--quick").stdout
    assert re.search(rf"^written with textclf +{textclf.__version__}$", text, re.MULTILINE)
    assert re.search(rf"^checksums +{len(card['files'])} files fit$", text, re.MULTILINE)
    with open("run/weights.npz", "ab") as file:
        file.write(b"x")
    result = run("run")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "run/weights.npz: differs from its checksum in the card" in result.stderr
    Path("run/card.json").write_text("{}")
    assert run("run").stderr.startswith("Error: run/card.json: has no format_version")


def test_doctor_reports_that_the_training_data_of_a_model_are_missing(trained: Path, folder: Path):
    shutil.copytree(trained, "run")
    paths = json.loads(Path("run/paths.json").read_text())
    assert values_of("run", "--quick")["problems"] == []
    moved = str(folder / "moved.csv")
    card = json.loads(Path("run/card.json").read_text())
    card["config"]["data"]["source"] = moved
    Path("run/card.json").write_text(json.dumps(card))
    Path("run/paths.json").write_text(json.dumps({**paths, "data.source": moved}))
    [problem] = values_of("run", "--quick")["problems"]
    assert problem.startswith(f"{moved}: no such file or folder; the model was trained with")


def test_doctor_checks_the_files_of_an_export(exports: Path, folder: Path):
    shutil.copytree(exports / "reviews", "exported")
    values = values_of("exported", "--quick")
    sums = json.loads(Path("exported/1/assets.extra/checksums.json").read_text())
    assert values["subject"]["num_files"] == len(sums)
    Path("exported/1/saved_model.pb").write_bytes(b"")
    result = run("exported", "--quick")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: exported/1/saved_model.pb: differs from its checksum")


def test_doctor_opens_a_data_set_of_tensorflow_datasets_with_tensorflow(
    real_data: Path, folder: Path
):
    text = f"data: {{source: 'tfds:imdb_reviews', data_dir: '{real_data / 'tfds'}'}}\n"
    Path("imdb.yaml").write_text(text)
    values = values_of("imdb.yaml")
    assert values["data"]["is_readable"] is True
    assert 30e6 < values["data"]["size_bytes"] < 40e6, "the training split has 33 MB"
    Path("imdb.yaml").write_text(text.replace("imdb_reviews", "imdb_review"))
    [problem] = values_of("imdb.yaml")["problems"]
    assert "did you mean 'imdb_reviews'?" in problem


@pytest.mark.parametrize("encoder", networks.ENCODERS)
def test_estimate_weights_is_a_close_upper_bound_of_the_weights_of_a_network(encoder: str):
    is_recurrent = encoder != "bag"
    for pooling, num_layers in itertools.product(("mean", "max_mean", "attention"), (1, 3)):
        model: dict[str, Any] = {"encoder": encoder, "pooling": pooling, "embedding_dim": 7}
        if is_recurrent:
            model |= {"units": 9, "num_layers": num_layers, "bidirectional": pooling == "mean"}
        if is_recurrent and num_layers > 1:
            model["layer_norm"] = True
        values = {"data": {"source": "demo"}, "model": model, "text": {"max_tokens": 50}}
        config = Config.from_dict(values)
        estimate = disk_need.estimate_weights(config, None)
        network = networks.build(
            networks.Architecture.from_settings(config.model.to_dict()),
            vocabulary_size=52,
            num_classes=2,
        )
        actual = sum(int(np.prod(weight.shape)) for weight in network.parameters)
        assert 0.99 * actual < estimate < 1.1 * actual


def test_estimate_weights_is_0_without_a_network_and_bounded_by_the_data():
    alone = Config.from_dict({"data": {"source": "demo"}, "model": {"encoder": "none"}})
    assert disk_need.estimate_weights(alone, None) == 0
    config = Config.from_dict({"data": {"source": "demo"}, "text": {"min_count": 5}})
    sizes = (400, 40_000, 10**9, None)
    few, more, *most = [disk_need.estimate_weights(config, size) for size in sizes]
    assert few < more < most[0] == most[1]


@pytest.mark.parametrize("linear", ["none", "mixture"])
def test_a_training_writes_less_than_the_estimate_and_more_than_a_tenth(
    linear: str, tiny: dict[str, Any], folder: Path
):
    # Half of the words occur twice, so that the vocabulary is as large as the text allows.
    words = [f"w{number % 1500}" for number in range(3000)]
    rows = [f"{' '.join(words[i : i + 10])},{'ab'[i % 4 // 2]}\n" for i in range(0, 3000, 10)]
    Path("words.csv").write_text("text,label\n" + "".join(rows))
    config = Config.from_dict(
        {
            **tiny,
            "data": {"source": "words.csv", "validation_fraction": 0.05, "test_fraction": 0.05},
            "model": {"units": 24, "embedding_dim": 32, "linear": linear},
            "training": {**tiny["training"], "epochs": 4},
        }
    )
    size = disk_need.data_size(config)
    assert size == Path("words.csv").stat().st_size
    need = sum(disk_need.estimate_need(config, size))
    largest = 0
    for _ in textclf.train_events(config, "run"):
        written = sum(p.stat().st_size for p in Path().rglob("*") if p.is_file()) - size
        largest = max(largest, written)
    assert need / 10 < largest < need


def test_doctor_reports_file_systems_that_are_too_small_for_a_training(folder: Path):
    def problems(need: disk_need.DiskNeed, cache_dir: str | None = None) -> list[str]:
        training = {"cache_dir": cache_dir} if cache_dir else {}
        config = Config.from_dict({"data": {"source": "demo"}, "training": training})
        return list(folders.examine_folders(config, need).problems)

    free = shutil.disk_usage(folder).free
    small, half = disk_need.DiskNeed(1, 1, 1, 1), disk_need.DiskNeed(0, 0, int(0.6 * free), 0)
    assert problems(small) == []
    [problem] = problems(disk_need.DiskNeed(10**18, 0, 10**18, 0))
    assert "are free, and a training writes about 2000000.0 TB there; free some space" in problem
    assert problems(half) == [] == problems(half, "cache")
    # The cache is on the same file system.
    assert len(problems(half._replace(encoded_texts=int(0.6 * free)), "cache")) == 1
    assert len(problems(half._replace(encoded_texts=int(0.6 * free)))) == 1


def test_doctor_reports_a_folder_that_cannot_be_written():
    config = Config.from_dict(
        {"data": {"source": "demo"}, "training": {"cache_dir": "/proc/textclf"}}
    )
    section = folders.examine_folders(config, None)
    assert section.problems == [
        "/proc/textclf: cannot be written, because /proc does not allow it (No such file or "
        "directory); name another folder"
    ]
