"""Operating points: thresholds reach their target on planted data and on new data of the kind."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import fbeta_score

from textclf.evaluation import Target, choose_operating_thresholds, evaluate, operating_points
from textclf.evaluation.operating import lower_bounds
from textclf.tasks import Decision, MultiLabel, OneOf

TWO = OneOf(2)


def planted(
    n: int, seed: int, *, share: float = 0.3, strength: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Return classes of two and calibrated probabilities that separate them imperfectly."""
    rng = np.random.default_rng(seed)
    p = rng.beta(share * strength, (1 - share) * strength, n)
    y_true = (rng.random(n) < p).astype(np.int64)
    return y_true, np.stack([1 - p, p], axis=1).astype(np.float32)


def choose(y_true: np.ndarray, p: np.ndarray, positive: int = 1, **target) -> float | None:
    thresholds, _ = choose_operating_thresholds(TWO, y_true, p, Target(**target), positive)
    assert thresholds[1 - positive] is None
    return thresholds[positive]


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("name", ["precision", "recall"])
def test_threshold_reaches_its_target_on_new_data_in_nine_of_ten_draws(name: str, positive: int):
    num_reached, num_trials, wanted = 0, 60, 0.9
    for seed in range(num_trials):
        y_true, p = planted(800, seed, strength=0.6)
        threshold = choose(y_true, p, positive, **{name: wanted})
        assert threshold is not None
        y_new, p_new = planted(100_000, 10_000 + seed, strength=0.6)
        (point,) = operating_points(y_new == positive, p_new[:, positive], [threshold])
        num_reached += getattr(point, name) >= wanted
    # Of 60 draws at 90 %, fewer than 48 have a probability of 1 %.
    assert num_reached >= 48


def test_threshold_of_a_precision_is_the_one_with_the_highest_recall():
    y_true, p = planted(500, 0)
    chosen = choose(y_true, p, precision=0.8)
    assert chosen is not None
    candidates = np.unique(p[:, 1])
    points = operating_points(y_true == 1, p[:, 1], [chosen, *candidates])
    first, others = points[0], points[1:]
    assert first.precision_bound >= 0.8 and first.precision > first.precision_bound
    reached = [point for point in others if point.precision_bound >= 0.8]
    assert max(point.recall for point in reached) == first.recall
    assert min(p.num_predicted for p in reached if p.recall == first.recall) == first.num_predicted


def test_threshold_of_a_recall_is_the_one_with_the_fewest_predictions():
    y_true, p = planted(500, 1)
    chosen = choose(y_true, p, recall=0.8)
    points = operating_points(y_true == 1, p[:, 1], [chosen, *np.unique(p[:, 1])])
    first, others = points[0], points[1:]
    assert first.recall_bound >= 0.8
    assert first.num_predicted == min(
        point.num_predicted for point in others if point.recall_bound >= 0.8
    )


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_threshold_of_beta_has_the_highest_f_beta(beta: float):
    y_true, p = planted(300, 2)

    def score(threshold: float) -> float:
        return fbeta_score(y_true, p[:, 1] >= np.float32(threshold), beta=beta, zero_division=0)

    assert score(choose(y_true, p, beta=beta)) == pytest.approx(max(map(score, p[:, 1])))


@pytest.mark.parametrize("cost", [(1.0, 1.0), (1.0, 10.0), (25.0, 1.0)])
def test_threshold_of_costs_has_the_lowest_sum_and_is_near_that_of_exact_probabilities(cost):
    y_true, p = planted(2000, 3)

    def total(threshold: float) -> float:
        (point,) = operating_points(y_true == 1, p[:, 1], [threshold])
        return cost[0] * point.false_positives + cost[1] * point.false_negatives

    chosen = choose(y_true, p, cost=cost)
    assert total(chosen) <= min(map(total, [*p[:, 1], 0.999999]))
    assert chosen == pytest.approx(cost[0] / sum(cost), abs=0.15)


def test_of_equally_cheap_thresholds_that_of_exact_probabilities_is_chosen():
    # A threshold of 0.75 misses one positive, one of 0.15 selects three negatives: both cost 3.
    y_true = np.array([1, 0, 0, 0, 1])
    p = np.array([0.9, 0.6, 0.6, 0.6, 0.3])
    p = np.stack([1 - p, p], axis=1)
    assert choose(y_true, p, cost=(1.0, 3.0)) == pytest.approx(0.15)
    assert choose(y_true, p, cost=(3.0, 9.0)) == pytest.approx(0.15), "only the ratio counts"


def test_precision_out_of_reach_has_no_threshold_and_its_highest_bound():
    y_true, p = np.array([0, 1] * 5), np.full((10, 2), 0.5, np.float32)
    thresholds, bounds = choose_operating_thresholds(TWO, y_true, p, Target(precision=0.9), 1)
    assert thresholds == [None, None]
    assert bounds == [
        None,
        pytest.approx(binomtest(5, 10, alternative="greater").proportion_ci(0.9).low),
    ]


def test_lower_bounds_are_those_of_clopper_and_pearson():
    for count, total in ((0, 5), (3, 5), (5, 5), (90, 100), (0, 0)):
        expected = (
            binomtest(count, total, alternative="greater").proportion_ci(0.9).low if total else 0
        )
        assert lower_bounds(np.array(count), np.array(total)) == pytest.approx(expected)


def test_a_probability_equal_to_the_threshold_is_a_prediction_of_the_class():
    import tensorflow as tf

    p = np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    (point,) = operating_points(np.array([False, True, True]), p[:, 1], [0.5])
    assert (point.num_predicted, point.false_negatives) == (2, 0)
    assert TWO.select(p, (0.0, 0.5)).tolist() == [0, 1, 1]
    assert TWO.select(p, (0.5, 0.0)).tolist() == [0, 0, 1]
    equal = tf.zeros([1, 2])  # logits of the probabilities 0.5 and 0.5
    for positive, thresholds in enumerate([(0.5, 0.0), (0.0, 0.5)]):
        answer = TWO.decide(equal, Decision(thresholds=thresholds))
        assert answer["label_id"].numpy().tolist() == [positive]


def test_each_label_has_its_own_threshold():
    (y_a, p_a), (y_b, p_b) = planted(600, 4, share=0.5), planted(600, 5, share=0.2)
    y_true = np.stack([y_a == 1, y_b == 1, np.zeros(600, bool)], axis=1)
    p = np.stack([p_a[:, 1], p_b[:, 1], np.full(600, 0.1)], axis=1)
    thresholds, bounds = choose_operating_thresholds(
        MultiLabel(3), y_true, p, Target(precision=0.8)
    )
    assert thresholds == [
        choose(y_a, p_a, precision=0.8), choose(y_b, p_b, precision=0.8), None
    ]  # fmt: skip
    assert thresholds[0] != thresholds[1] and bounds[2] == 0


def test_report_with_a_threshold_follows_it_and_keeps_the_scores_of_the_probabilities():
    y_true, p = planted(400, 6)
    settings = {"class_names": ("ham", "spam"), "multi_label": False, "bootstrap_samples": 50}
    plain = evaluate(y_true, p, **settings)
    report = evaluate(y_true, p, thresholds=(0.0, 0.8), abstain_below=0.4, **settings)
    selected = p[:, 1] >= np.float32(0.8)
    assert report.get("accuracy") == (selected == (y_true == 1)).mean() != plain.get("accuracy")
    assert [scores.threshold for scores in report.classes] == [None, 0.8]
    assert report.classes[1].num_predicted == selected.sum()
    for name in ("log_loss", "brier_loss", "roc_auc", "average_precision"):
        assert report.get(name) == plain.get(name)
    # Coverage and abstention are those of the label that the threshold chose.
    confidence = np.where(selected, p[:, 1], p[:, 0])
    answered = confidence >= np.float32(0.4)
    assert 0 < answered.mean() < 1
    assert report.abstention.coverage == answered.mean()
    right = (selected == (y_true == 1))[answered]
    assert report.abstention.accuracy == pytest.approx(right.mean())
    assert report.coverage[0].accuracy == report.get("accuracy")


@pytest.mark.parametrize("thresholds", [None, (0.0, 0.3), (0.9, 0.0)])
def test_graph_and_arrays_choose_the_same_of_two_classes(thresholds):
    import tensorflow as tf

    logits = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32) * 2
    decision = Decision(thresholds=thresholds, abstain_below=0.4)
    answer = {name: v.numpy() for name, v in TWO.decide(tf.constant(logits), decision).items()}
    p = answer["probabilities"]
    predicted = TWO.select(p, thresholds)
    assert np.array_equal(answer["label_id"], predicted)
    assert np.array_equal(answer["selected"], TWO.indicators(predicted))
    assert np.array_equal(answer["confidence"], p[np.arange(300), predicted])
    assert np.array_equal(answer["abstain"], answer["confidence"] < np.float32(0.4))
    assert (predicted != p.argmax(axis=1)).any() == (thresholds is not None)
    plain = TWO.decide(tf.constant(logits), Decision())
    assert np.array_equal(p, plain["probabilities"].numpy())
