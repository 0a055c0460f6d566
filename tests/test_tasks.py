"""Tasks: classes as arrays, predictions, thresholds and names of one label and of several."""

import subprocess
import sys

import numpy as np
import pytest

from textclf import artifact
from textclf.tasks import Decision, MultiLabel, OneOf, Task, task_of

ONE, SEVERAL = OneOf(3), MultiLabel(3)
LABEL_IDS = {ONE: [(2,), (0,)], SEVERAL: [(0, 2), ()]}
CLASSES = {
    ONE: np.array([2, 0]),
    SEVERAL: np.array([[True, False, True], [False, False, False]]),
}
TASKS = pytest.mark.parametrize("task", [ONE, SEVERAL], ids=["one of", "multi-label"])


@TASKS
def test_classes_of_label_ids_have_the_documented_dtype_and_pass_check_classes(task: Task):
    classes = task.classes_of(LABEL_IDS[task])
    assert classes.dtype == CLASSES[task].dtype and np.array_equal(classes, CLASSES[task])
    none = task.classes_of([])
    assert none.dtype == classes.dtype
    assert np.array_equal(np.concatenate([none, classes]), classes)
    smaller = classes.astype(np.uint8)  # as benchmarks store them
    checked = task.check_classes(smaller, 2)
    assert checked.dtype == classes.dtype and np.array_equal(checked, classes)


@pytest.mark.parametrize(
    ("task", "classes", "message"),
    [
        (ONE, np.eye(3, dtype=int), r"y int64 \(3, 3\) must be whole numbers \[3\]"),
        (ONE, np.array([0.0, 1.0, 2.0]), "y float64"),
        (ONE, np.array([0, 1, 3]), "y must be from 0 to 2"),
        (ONE, np.array([0, 1, -1]), "y must be from 0 to 2"),
        (SEVERAL, np.array([0, 1, 2]), r"y \(3,\) must be bool \(3, 3\)"),
    ],
)
def test_check_classes_refuses_a_wrong_shape_type_or_range(
    task: Task, classes: np.ndarray, message: str
):
    with pytest.raises(ValueError, match=message):
        task.check_classes(classes, 3, "y")


@TASKS
def test_true_classes_is_the_inverse_of_indicators(task: Task):
    classes = CLASSES[task]
    indicators = task.indicators(classes)
    assert indicators.tolist() == [[c in ids for c in range(3)] for ids in LABEL_IDS[task]]
    assert np.array_equal(task.true_classes(indicators), classes)
    assert np.array_equal(task.true_classes(indicators.astype(np.float32)), classes)
    for first in range(3):
        contained = task.contain(classes, np.array([first, 0])).tolist()
        assert contained == [first in LABEL_IDS[task][0], 0 in LABEL_IDS[task][1]]


@TASKS
def test_reorder_permutes_classes_like_the_columns_of_probabilities(task: Task):
    order = [2, 0, 1]
    indicators = task.indicators(CLASSES[task])
    assert np.array_equal(task.indicators(task.reorder(CLASSES[task], order)), indicators[:, order])


def test_thresholds_default_to_one_half_and_are_refused_for_more_than_two_single_labels():
    p = np.array([[0.5, 0.4, 0.6]])
    assert SEVERAL.select(p).tolist() == [[True, False, True]]
    assert SEVERAL.select(p, [0.6, 0.4, 0.7]).tolist() == [[False, True, False]]
    with pytest.raises(ValueError, match=r"thresholds \(2,\) must be \[3\]"):
        SEVERAL.select(p, [0.5, 0.5])
    assert ONE.check_thresholds(None) is None
    for task, thresholds in (
        (ONE, [0.5, 0.5, 0.5]),
        (ONE, [0.0, 0.5, 0.0]),
        (OneOf(2), [0.5, 0.5]),
        (OneOf(2), [0.0, 0.0]),
        (OneOf(2), [0.5]),
    ):
        with pytest.raises(ValueError, match="thresholds of one class per text are for two"):
            task.select(p[:, : task.num_outputs], thresholds)


@TASKS
def test_select_equals_the_decision_of_the_graph(task: Task):
    import tensorflow as tf

    logits = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    decision = Decision(
        temperature=1.5, thresholds=(0.3, 0.5, 0.7) if task.has_thresholds else None
    )
    answer = {
        name: value.numpy() for name, value in task.decide(tf.constant(logits), decision).items()
    }
    predicted = task.select(answer["probabilities"], decision.thresholds)
    assert np.array_equal(task.indicators(predicted), answer["selected"])
    names = task.label_names(answer, ("a", "b", "c"))
    as_ids = [["abc".index(name) for name in label] for label in names]
    assert np.array_equal(task.classes_of(as_ids), predicted)


def test_label_names_are_strings_for_one_label_and_tuples_for_several():
    answers = {"label_id": np.array([2, 0]), "selected": CLASSES[SEVERAL]}
    assert ONE.label_names(answers, ("a", "b", "c")) == ["c", "a"]
    assert SEVERAL.label_names(answers, ("a", "b", "c")) == [("a", "c"), ()]


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
def test_card_returns_task_and_decision_from_its_entries(multi_label: bool):
    decision = Decision(temperature=(1.0, 2.0), thresholds=(0.1, 0.2), abstain_below=0.3)
    card = artifact.Card(
        class_names=("no", "yes"),
        multi_label=multi_label,
        config={},
        temperature=(1.0, 2.0),
        thresholds=(0.1, 0.2),
        abstain_below=0.3,
    )
    assert card.decision == decision
    assert card.task == task_of(multi_label=multi_label, num_classes=2)
    assert OneOf(2) != MultiLabel(2) and OneOf(2) != OneOf(3)


def test_importing_tasks_loads_neither_numpy_nor_tensorflow():
    code = (
        "import sys, textclf.tasks; "
        "print(sorted({'numpy', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
