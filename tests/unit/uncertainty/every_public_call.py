"""Run as a program: every public call of metrics and uncertainty once, with each shape annotation checked at run time.

The kernels are left out (compiled code cannot be wrapped); `Self` is not a hint that the checker can place, so it is set aside.
"""

from __future__ import annotations

import json
import typing
from importlib import import_module

import numpy as np
from beartype import beartype
from jaxtyping import TypeCheckError, install_import_hook


def check(function: typing.Any) -> typing.Any:
    """Wraps one function or leaves a class as it is."""
    if isinstance(function, type):
        return function
    for name, hint in list(getattr(function, "__annotations__", {}).items()):
        if hint is typing.Self or hint == "Self":
            function.__annotations__[name] = object
    return beartype(function)


METRICS = [f"vesalius.metrics.{name}" for name in ("classification", "calibration", "intervals", "draws", "subgroups")]

UNCERTAINTY = [
    f"vesalius.uncertainty.{name}"
    for name in (
        "folds",
        "logistic_fit",
        "calibration",
        "curves",
        "selective",
        "ood_scores",
        "mahalanobis",
        "ood_neighbours",
        "odin",
        "ood_evaluation",
        "ood",
        "evaluation",
    )
]

CALIBRATORS = ("calibration_curves", "calibration_multiclass", "calibrator_selection", "prevalence", "venn_abers")
UNCERTAINTY += [f"vesalius.uncertainty.{name}" for name in CALIBRATORS]

ABSTAINING = ("units", "study", "risk_bounds", "risk_control", "conformal", "conformal_findings", "conformal_regression")
UNCERTAINTY += [f"vesalius.uncertainty.{name}" for name in ABSTAINING]

SEVERAL = ("ensembles", "seeds", "transforms", "grey_values", "views", "tta")
UNCERTAINTY += [f"vesalius.uncertainty.{name}" for name in (*SEVERAL, "policy_likelihoods", "policy_pools", "augmentation_policy")]

METRICS += [f"vesalius.metrics.{name}" for name in ("bins", "proper_scores", "streaming")]


INTERVALS = ("bootstrap_intervals", "bca", "delong_variance", "operating_points", "paired_tests")
METRICS += [f"vesalius.metrics.{name}" for name in INTERVALS]


def every_interval(m: typing.Any, p: np.ndarray, y: np.ndarray, z: np.ndarray, patients: np.ndarray) -> None:
    one, said, other = y[:, 0], p[:, 0], z[:, 1]
    m.bootstrap_ranking(y, p, patients, resamples=20, method="bca", stratified=True)
    m.bootstrap(lambda w: m.auprc(one, said, w), patients, resamples=20, method="bca", stratify_by=y)
    m.bootstrap_many(lambda w: np.array([float(w.max())]), patients, resamples=20, stratify_by=one)
    for owners in (None, patients):
        m.delong(one, said, owners).to_json()
        m.delong_test(one, said, other, owners).to_json()
    m.delong_test_unpaired((one[:50], said[:50]), (one[50:], said[50:]), patients=(patients[:50], patients[50:]))
    for target in ({"threshold": 0.5}, {"sensitivity": 0.8}, {"specificity": 0.8}, {"ppv": 0.3}, {"rule": "mcc"}):
        m.operating_point(one, said, patients, **target, resamples=20).to_json()
    m.compare_with_reader(one, said, np.where(np.arange(120) % 9 == 0, -1, other > 0), patients, resamples=20).to_json()
    m.sensitivity_at_specificity(one, said, 0.9)
    m.specificity_at_sensitivity(one, said, 0.9)
    m.partial_auroc(one, said, 0.9)
    options = m.PairedOptions(("auroc", "brier", "mcc"), resamples=20)
    m.compare_models(y, p, p**2, patients, thresholds=([0.5] * 3, [0.3] * 3), options=options)[0].to_json()
    m.holm(np.array([0.1, np.nan, 0.01]))


def every_calibration_error(m: typing.Any, p: np.ndarray, y: np.ndarray, z: np.ndarray) -> None:
    one, said = y[:, 0], p[:, 0]
    for binning in ("width", "mass"):
        m.reliability_table(one, said, binning=binning)
        m.ece(one, said, binning=binning, weight="bin", norm="l2", weights=np.ones(len(one), dtype=int))
        m.brier_decomposition(one, said, 5, binning=binning)
        m.debiased_calibration_error(one, said, binning=binning)
        m.ece_null_distribution(said, ~np.isnan(one), binning=binning, resamples=5)
    m.mce(one, said)
    m.brier_decomposition(one, said)
    m.macro_ece(y, p)
    m.top_label_ece(one, said)
    m.top_label_ece(y, p)
    classes, labels = p / p.sum(axis=1, keepdims=True), np.nan_to_num(one, nan=-1).astype(int)
    m.top_label_ece(labels, classes)
    m.classwise_ece(labels, classes)
    m.multiclass_brier(labels, classes)
    m.multiclass_nll(labels, z)
    m.nll(one, z[:, 0])
    stream = m.StreamingCalibration(5).update(y, p, known=np.ones(y.shape, dtype=bool), case="a")
    stream.merge(m.StreamingCalibration.from_json(stream.to_json())).reliability_table()
    stream.brier_decomposition()
    stream.ece(per="case")


def every_abstention(u: typing.Any, p: np.ndarray, y: np.ndarray, patients: np.ndarray) -> None:
    doubt, wrong = np.minimum(p, 1 - p), np.where(np.isnan(y), np.nan, (p >= 0.5) != (y == 1))
    for loss in ("hamming", "worst"):
        u.study_risk_coverage(doubt, wrong, patients, loss=loss, critical=[0, 2]).achievable_aurc()
    u.label_risk_coverage(doubt, wrong)
    u.aurc(doubt[:, 0], wrong[:, 0], rule="mean")
    u.achievable_aurc(doubt[:, 0], wrong[:, 0])
    u.RiskControl.from_json(u.RiskControl(0.4).fit(doubt[:, 0], wrong[:, 0], patients).to_json()).decide(doubt)
    u.risk_controlled_threshold(doubt[:, 0], wrong[:, 0], target_risk=0.3, bound="hoeffding-bentkus")
    u.sgr_threshold(doubt[:, 0], wrong[:, 0], target_risk=0.3)
    u.rate_controlled_threshold(y[:, 0], p[:, 0], patients, sensitivity=0.5)
    u.clopper_pearson_upper(np.array([1, 2]), np.array([3, 4]))
    u.DecisionPolicy("sensitivity", target_risk=0.4, target_sensitivity=0.5, guarantee=0.5).fit(p, y, patients).decide(p)
    classes, labels = p / p.sum(axis=1, keepdims=True), np.nan_to_num(y, nan=-1).astype(int)[:, 0]
    for sets in (u.LAC(), u.APS(), u.APS(randomised=False), u.ClassConditional(0.5, "aps")):
        type(sets).from_json(sets.fit(classes, labels, patients).to_json()).predict_set(classes)
    u.GroupConditional(0.5).fit(classes, labels, patients).predict_set(classes, patients)
    u.FindingSets.from_json(u.FindingSets().fit(p, y, patients).to_json()).decide(p)
    u.MultiLabelRiskControl(0.3, confidence=0.5).fit(p, y, patients).predict_set(p)
    u.SplitConformalRegression(normalised=True).fit(p[:, 0], y[:, 0], p[:, 1], patients).predict_interval(p[:, 0], p[:, 1])
    u.ConformalisedQuantileRegression().fit(p[:, 0], p[:, 1], y[:, 0], patients).predict_interval(p[:, 0], p[:, 1])


def every_ensemble(u: typing.Any, z: np.ndarray, y: np.ndarray, patients: np.ndarray) -> None:
    members = np.stack([z, z + 1, z * 2]).astype(np.float32)
    for task in ("multilabel", "multiclass"):
        u.mean_of(members, "probabilities", task=task)
        softened = np.exp(members) / np.exp(members).sum(axis=-1, keepdims=True)
        u.spread_of(softened, task=task).measures()
    u.seed_spread("auroc", y, members, patients).to_json()
    u.seed_spread(lambda labels, p, weights: float(p.mean()), y, members, patients)
    image, volume = np.ones((1, 8, 6), dtype=np.float32), np.ones((4, 5, 6), dtype=np.int16)
    for view in (*u.mirror_views(), u.Rotate90(), u.Shift((1.0, 0.5)), u.Brightness(0.1), *u.random_chains(9, sided=False)):
        again = u.transform_from_json(view.to_json())
        again.inverse(again.apply(image), interpolation="nearest")
        again.seen((8, 6))
    u.tta_predict(lambda image: image, volume, u.random_chains(3, space=3), task="segmentation", space=3)
    u.tta_predict(lambda image: image, volume, [u.Identity(), u.Shift((1.0, 0.0))], task="segmentation", interpolation="nearest")
    u.tta_predict(lambda image: image.mean(axis=(1, 2)), image, u.FILM_VIEWS, task="regression")
    pool = u.predict_pool(lambda image: image.mean(axis=(1, 2)), [image] * 3, u.FILM_VIEWS)
    assert pool.shape == (5, 3, 1)
    numbers = np.nan_to_num(y, nan=-1).astype(int)
    searches = {
        "multiclass": (members, numbers[:, 0]),
        "multilabel": (members, y),
        "regression": (members[..., 0], y[:, 0]),
        "segmentation": (list(np.moveaxis(members[:, :6].reshape(3, 2, 3, 3), 1, 0)), [numbers[:3], numbers[3:6]]),
    }
    for task, (predictions, labels) in searches.items():
        search = u.GreedyPolicySearch(task, length=2).fit(predictions, labels)
        u.GreedyPolicySearch.from_json(search.to_json()).apply(predictions)
        others = [one + 1 for one in predictions] if isinstance(predictions, list) else predictions + 1
        search.evaluate(others, labels, resamples=5)
    u.GreedyPolicySearch("segmentation").fit([np.ones((2, 3, 4, 4))], [np.ones((4, 4), dtype=np.uint8)])


METRICS += ["vesalius.metrics.regression", "vesalius.metrics.segmentation"]
TOGETHER = ("hard_answers", "logistic_ridge", "combination", "failure_detection", "segmentation")
NUMBERS = ("std_recalibration", "regression", "survival", "survival_bound")
UNCERTAINTY += [f"vesalius.uncertainty.{name}" for name in (*TOGETHER, *NUMBERS)]


def every_combination(u: typing.Any, p: np.ndarray, y: np.ndarray, z: np.ndarray, patients: np.ndarray) -> None:
    wrong = np.where(np.isnan(y[:, 0]), np.nan, (p[:, 0] >= 0.5) != (y[:, 0] == 1))
    measures = {"distance": u.softmax_distance(p)[:, 0], "logit": z[:, 1]}
    u.softmax_distance(p / p.sum(axis=1, keepdims=True), task="multiclass")
    for method in ("standardise", "rank", "logistic"):
        one = u.Combination(method, directions={"logit": "confidence"})
        one = u.Combination.from_json(one.fit(measures, wrong if method == "logistic" else None).to_json())
        one.n_used({name: values + one.score(measures) for name, values in measures.items()})
    sets = {"one": u.FailureCases(measures, wrong, patients, p[:, 1]), "two": u.FailureCases(measures, wrong)}
    [row.to_json() for row in u.failure_detection_over_sets(sets, baseline="logit", resamples=20)]
    u.failure_detection_table(measures, wrong, patients, resamples=20)


def every_segmentation(m: typing.Any, u: typing.Any) -> None:
    random = np.random.default_rng(0)
    for space in ((8, 7), (5, 6, 7)):
        masks = random.random((3, *space)) < 0.4
        probabilities = random.random((3, *space)).astype(np.float32)
        map_ = u.entropy_map(probabilities, kind="mutual-information")
        u.entropy_map(list(np.stack([probabilities, 1 - probabilities], axis=1)), task="multiclass")
        scores = [u.case_scores(kind, map_, spacing_mm=(1.0, 0.5, 0.5)[: len(space)])[1] for kind in (masks, list(masks))]
        u.case_scores(masks.astype(np.int16), {1: map_}, classes=(1, 2))
        u.stack_scores(scores)
        u.mean_inside(map_, u.boundary_band(masks[0], 1.0))
        u.pairwise_dice(masks)
        m.dice(masks[0], masks[1], known=masks[2])
        m.dice_per_class(masks[0].astype(int), masks[1].astype(np.uint8), (1,))
    u.volume_variation(np.array([1, 2, 3]))


def every_number(m: typing.Any, u: typing.Any, y: np.ndarray, z: np.ndarray, patients: np.ndarray) -> None:
    target, mean, sd, weights = z[:, 0] + y[:, 0], z[:, 1], 1 + z[:, 2] ** 2, np.ones(len(z), dtype=int)
    for figure in (m.interval_coverage, m.mean_interval_width):
        figure(target, mean - sd, mean + sd, weights)
    m.interval_score(target, mean - sd, mean + sd, confidence=0.6)
    m.sharpness(target, sd)
    m.gaussian_nll(target, mean, sd, weights)
    m.crps_gaussian(target, mean, sd)
    m.crps_samples(target, np.stack([mean, sd]), fair=True)
    m.miscalibration_area(m.gaussian_pit(target, mean, sd), weights)
    levels = np.array([0.1, 0.5, 0.9])
    table = u.QuantileRecalibration.from_json(u.QuantileRecalibration().fit(mean, sd, target).to_json()).calibrate(mean, sd, levels)
    m.pinball_loss(target, table, levels)
    m.quantile_shares(target, table, levels, weights)
    u.StdRecalibration.from_json(u.StdRecalibration().fit(mean, sd, target).to_json()).calibrate(sd)
    u.evaluate_gaussian(target, mean, sd, patients, resamples=10)
    u.evaluate_intervals(target, table[:, 0], table[:, 2], patients, confidence=0.8, resamples=10)
    u.quantile_calibration_table(target, table, levels, patients, resamples=10)
    times, ends = np.abs(z[:, 0]), u.event_time_interval(np.abs(table), levels, 0.8)
    u.kaplan_meier(times, y[:, 1], weights, of="censoring").after(times[:, None])
    u.censored_coverage_bounds(times, y[:, 1], ends[:, 0], ends[:, 1], weights)
    u.evaluate_event_times(times, y[:, 1], ends, patients, resamples=5)
    u.SurvivalLowerBound.from_json(u.SurvivalLowerBound().fit(ends[:, 0], times, patients=patients).to_json()).predict_bound(times)
    chance = np.full(120, 0.5)
    bound = u.SurvivalLowerBound(0.5, horizon=0.5).fit(ends[:, 0], times, times + 1, followed=chance)
    bound.predict_bound(times, followed=chance)


def every_calibrator(u: typing.Any, z: np.ndarray, y: np.ndarray, classes: np.ndarray) -> None:
    shares = np.array([0.1, 0.2, 0.3])
    curves = (u.Vector(), u.Beta(), u.Isotonic(minimum_cases=0), u.VennAbers(), u.PrevalenceShift(u.Platt(), shares))
    for calibrator in curves:
        u.calibrator_from_json(json.loads(json.dumps(calibrator.fit(z, y).to_json()))).calibrate(z)
    low, high = curves[3].interval(z[:5])
    u.shift_prevalence(np.clip((low + high) / 2, 0.01, 0.99), shares, shares + 0.1)
    u.estimate_prevalence(u.Platt().fit(z, y).calibrate(z), shares)
    for kind in (u.MulticlassTemperature, u.MulticlassVector, u.BiasCorrectedTemperature):
        kind.from_json(kind().fit(z, classes).to_json()).calibrate(z)


def main() -> None:
    with install_import_hook([*METRICS, *UNCERTAINTY], "__main__.check"):
        for name in (*METRICS, *UNCERTAINTY):
            import_module(name)
        from vesalius import metrics as m
        from vesalius import uncertainty as u
        from vesalius.metrics.subgroups import SubgroupOptions

    random = np.random.default_rng(0)
    z = random.normal(0, 2, (120, 3))
    y = (random.random((120, 3)) < 1 / (1 + np.exp(-z / 2))).astype(float)
    y[random.random((120, 3)) < 0.1] = np.nan
    patients = random.integers(0, 50, 120).astype(str)
    calibrator = u.SelectedCalibrator().fit(z, y, patients)
    u.calibrator_from_json(json.loads(json.dumps(calibrator.to_json())))
    p = calibrator.calibrate(z)
    policy = u.DecisionPolicy().fit(p, y)
    u.DecisionPolicy("sensitivity", target_risk=0.2).fit(p, y)
    every_calibrator(u, z, y, random.integers(-1, 3, 120))
    every_abstention(u, p, y, patients)
    every_ensemble(u, z, y, patients)
    every_combination(u, p, y, z, patients)
    every_segmentation(m, u)
    every_number(m, u, y, z, patients)
    u.evaluate(p, y, patients, z, policy=policy, options=u.EvaluationOptions(resamples=20)).to_json()
    thresholds = policy.thresholds.tolist()
    m.subgroup_table(y, p, {"sex": ["F", "M", None] * 40}, patients, thresholds=thresholds, options=SubgroupOptions(resamples=20))
    features = random.normal(size=(120, 16)).astype(np.float32)
    for scores in (("mahalanobis",), ("two-class",), ("relative", "knn", "vim", "max-logit"), ("energy", "centred-energy")):
        gate = u.OodGate(scores).fit(features, z, labels=y, patients=patients)
        u.OodGate.from_state(gate.state(), gate.to_json()).is_out(features[:1], z[:1])
    gate = u.OodGate(("class", "relative", "softmax-energy", "max-probability"))
    gate.fit(features, z, labels=random.integers(-1, 3, 120)).is_out(features[:1], z[:1])
    head = random.normal(size=(3, 16)), random.normal(size=3)
    u.ViM(form="softmax", head=head).fit(features, z + 9).score(features, z)
    u.odin_score(features.reshape(120, 1, 4, 4), lambda x: x[:, 0, 0, :3], lambda x, w: x * w.sum(), u.OdinOptions(std=(0.5,)))
    u.fpr_at_tpr(y[:, 0], p[:, 0])
    u.ood_metrics(z[:60, 0], z[60:, 0], patients=(patients[:60], None), resamples=20).to_json()
    foreign = {"a": z[:9, 1], "b": z[9:20, 1]}
    u.ood_table(z[:, 0], foreign, distances={"a": "near"}, in_labels=y, patients=(patients, {}), resamples=20).to_json()
    every_interval(m, p, y, z, patients)
    m.bootstrap_ranking(y, p, patients, resamples=20)
    m.bootstrap_ranking_difference(y, p, z, patients, resamples=20)
    m.bootstrap(lambda weights: m.auroc(y[:, 0], p[:, 0], weights), patients, resamples=20)
    m.bootstrap_difference(lambda w: float(w.max()), lambda w: float(w.min()), patients, resamples=20)
    every_calibration_error(m, p, y, z)
    m.auprc(y[:, 0], z[:, 0])
    m.prevalence(y[:, 0])
    m.sensitivity_specificity(y[:, 0], policy.decide(p)[:, 0])
    wrong = (np.where(np.isnan(y), 0.5, y) - p)[:, 0] ** 2
    for area in (u.aurc, u.augrc, u.e_aurc):
        area(-np.abs(z[:, 0]), wrong)
    try:
        m.auroc(y, z)  # two axes where one is expected
    except TypeCheckError:
        print("every shape was checked")


if __name__ == "__main__":
    main()
