"""Suspected label errors: folds, out-of-fold probabilities, ranking, files and the command."""

import numpy as np
import pytest

from textclf.label_errors.suspects import add_conflicts, conflicts, find_suspects

# === Suspects ===


def random_probabilities(y: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """Return probabilities that are highest for the class of each row."""
    p = np.random.default_rng(seed).dirichlet(np.full(num_classes, 0.5), len(y))
    p[np.arange(len(y)), y] += 3
    return p / p.sum(axis=1, keepdims=True)


def test_planted_wrong_classes_are_the_first_suspects():
    y = np.arange(300) % 3
    p = random_probabilities(y, 3, 0)
    planted = np.array([4, 50, 151, 250])
    wrong = y.copy()
    wrong[planted] = (y[planted] + 1) % 3
    p[planted] = np.eye(3)[y[planted]] * 0.94 + 0.02
    suspects = find_suspects(p, wrong, multi_label=False)
    assert {suspect.index for suspect in suspects[:4]} == set(planted.tolist())
    for suspect in suspects[:4]:
        assert suspect.given == (wrong[suspect.index],)
        assert suspect.suggested == (y[suspect.index],)
    qualities = [suspect.quality for suspect in suspects]
    assert qualities == sorted(qualities)
    assert all(0 <= quality <= 1 for quality in qualities)


def test_planted_wrong_labels_of_texts_with_several_are_the_first_suspects():
    generator = np.random.default_rng(1)
    y = generator.random((400, 4)) < 0.3
    p = np.where(y, 0.9, 0.1) + generator.uniform(-0.1, 0.1, y.shape)
    wrong = y.copy()
    wrong[7, 2] ^= True
    wrong[300, 0] ^= True
    p[[7, 300]] = np.where(y[[7, 300]], 0.99, 0.01)
    suspects = find_suspects(p, wrong, multi_label=True)
    assert {suspect.index for suspect in suspects[:2]} == {7, 300}
    for suspect in suspects[:2]:
        assert suspect.given == tuple(np.flatnonzero(wrong[suspect.index]))
        assert suspect.suggested == tuple(np.flatnonzero(y[suspect.index]))


@pytest.mark.parametrize("multi_label", [False, True])
def test_confident_right_labels_and_no_rows_have_no_suspects(multi_label: bool):
    y = np.arange(60) % 3
    p = np.eye(3)[y] * 0.9 + 0.1 / 3
    labels = np.eye(3, dtype=bool)[y] if multi_label else y
    assert find_suspects(p, labels, multi_label=multi_label) == ()
    assert find_suspects(p[:0], labels[:0], multi_label=multi_label) == ()


def test_labels_that_all_rows_have_are_not_suspected():
    p = np.full((5, 2), 0.5)
    assert find_suspects(p, np.zeros(5, np.int64), multi_label=False) == ()
    assert find_suspects(p, np.ones((5, 2), bool), multi_label=True) == ()


def test_different_shapes_of_probabilities_and_labels_are_refused():
    with pytest.raises(ValueError, match="do not match"):
        find_suspects(np.full((5, 2), 0.5), np.zeros(4, np.int64), multi_label=False)


def test_one_of_two_equal_texts_with_different_classes_is_a_suspect():
    y = np.array([0, 1] * 20)
    p = np.tile([[0.55, 0.45], [0.45, 0.55]], (20, 1))
    text_ids = np.arange(40)
    text_ids[1] = 0  # the model prefers class 0 for the common text
    p[1] = p[0]
    assert [rows.tolist() for rows in conflicts(y, text_ids)] == [[0, 1]]
    suspects = add_conflicts((), p, y, text_ids, multi_label=False)
    assert [(s.index, s.given, s.suggested) for s in suspects] == [(1, (1,), (0,))]


def test_conflicts_of_several_labels_concern_only_labels_that_differ():
    y = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0]], bool)
    p = np.array([[0.2, 0.1, 0.7], [0.2, 0.1, 0.7], [0.1, 0.9, 0.1]])
    suspects = add_conflicts((), p, y, np.array([5, 5, 6]), multi_label=True)
    assert [(s.index, s.given, s.suggested) for s in suspects] == [(1, (0,), (0, 2))]
