"""Out-of-distribution scores against scikit-learn, scipy and torch."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import expit, logsumexp, softmax
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from vesalius.metrics.intervals import PatientResamples
from vesalius.uncertainty import Energy, KNearest, Mahalanobis, MaxLogit, MaxProbability, ViM, fpr_at_tpr, ood_metrics
from vesalius.uncertainty.mahalanobis import ledoit_wolf_shrinkage


def features(seed: int, n: int, dim: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(n, dim)) @ random.normal(size=(dim, dim)) + random.normal(size=dim)


@pytest.mark.parametrize(("n", "dim"), [(400, 8), (60, 60), (40, 90)])
def test_ledoit_wolf(n: int, dim: int) -> None:
    x, new = features(0, n, dim), features(1, 25, dim)
    theirs = LedoitWolf().fit(x)
    assert ledoit_wolf_shrinkage(x - x.mean(axis=0)) == pytest.approx(theirs.shrinkage_, rel=1e-9)
    assert Mahalanobis().fit(x).score(new) == pytest.approx(theirs.mahalanobis(new), rel=1e-8)


def test_plain_covariance() -> None:
    x, new = features(2, 300, 6), features(3, 25, 6)
    ours = Mahalanobis(shrinkage=None).fit(x).score(new)
    assert ours == pytest.approx(EmpiricalCovariance().fit(x).mahalanobis(new), rel=1e-9)
    inverse = np.linalg.inv(np.cov(x.T, bias=True))
    assert ours == pytest.approx(cdist(new, x.mean(axis=0)[None], "mahalanobis", VI=inverse)[:, 0] ** 2, rel=1e-9)


def test_two_class_and_relative_by_their_definition() -> None:
    x, new = features(4, 300, 5), features(5, 20, 5)
    random = np.random.default_rng(6)
    labels = (random.random((300, 3)) < 0.3).astype(float)
    labels[random.random((300, 3)) < 0.1] = np.nan
    means = [[x[labels[:, k] == c].mean(axis=0) for c in (0, 1)] for k in range(3)]
    scatter = np.zeros((5, 5))
    for k in range(3):
        rest = np.concatenate([x[labels[:, k] == c] - means[k][c] for c in (0, 1)])
        scatter += rest.T @ rest / len(rest) / 3
    within, total = np.linalg.inv(scatter), np.linalg.inv(np.cov(x.T, bias=True))

    def squared(mean: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        return cdist(new, mean[None], "mahalanobis", VI=inverse)[:, 0] ** 2

    nearer = sum(np.minimum(squared(means[k][0], within), squared(means[k][1], within)) for k in range(3))
    two = Mahalanobis("two-class", shrinkage=None).fit(x, labels=labels).score(new)
    assert two == pytest.approx(nearer, rel=1e-9)
    relative = Mahalanobis("relative", shrinkage=None).fit(x, labels=labels).score(new)
    assert relative == pytest.approx(nearer - 3 * squared(x.mean(axis=0), total), rel=1e-8, abs=1e-8)


def test_joint_energy() -> None:
    torch = pytest.importorskip("torch")
    z = np.random.default_rng(7).normal(size=(30, 4)) * 5
    for temperature in (0.5, 1.0, 3.0):
        theirs = -temperature * torch.nn.functional.softplus(torch.tensor(z) / temperature, threshold=1e9).sum(dim=1)
        assert Energy(temperature=temperature).score(None, z) == pytest.approx(theirs.numpy(), rel=1e-12)


def test_centred_energy_is_the_energy_of_both_states() -> None:
    """Two states with logits x / 2 and -x / 2 have the energy -T logsumexp over them."""
    torch = pytest.importorskip("torch")
    z = np.random.default_rng(8).normal(size=(30, 4)) * 5
    labels = (z > 1).astype(float)
    centre = np.array([(z[labels[:, k] == 1, k].mean() + z[labels[:, k] == 0, k].mean()) / 2 for k in range(4)])
    states = torch.tensor(np.stack([(z - centre) / 2, (centre - z) / 2]))
    theirs = -torch.logsumexp(states, dim=0).sum(dim=1)
    assert Energy(centred=True).fit(z, z, labels).score(None, z) == pytest.approx(theirs.numpy(), rel=1e-10)


def classes(seed: int, n: int, dim: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(n_classes, size=n)
    return features(seed, n, dim) + 5 * random.normal(size=(n_classes, dim))[labels], labels


def test_class_form_is_the_pooled_covariance_of_discriminant_analysis() -> None:
    x, labels = classes(0, 400, 6, 5)
    new = features(1, 30, 6)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(x, labels)
    inverse = np.linalg.inv(theirs.covariance_)  # priors n_k / N: the sum within classes, divided by N
    expected = cdist(new, theirs.means_, "mahalanobis", VI=inverse).min(axis=1) ** 2
    assert Mahalanobis("class", shrinkage=None).fit(x, labels=labels).score(new) == pytest.approx(expected, rel=1e-9)


def test_class_form_shrinks_as_ledoit_wolf_on_what_is_within_classes() -> None:
    x, labels = classes(2, 60, 20, 3)
    new = features(3, 30, 20)
    means = np.stack([x[labels == k].mean(axis=0) for k in range(3)])
    theirs = LedoitWolf(assume_centered=True).fit(x - means[labels])
    expected = cdist(new, means, "mahalanobis", VI=theirs.precision_).min(axis=1) ** 2
    assert Mahalanobis("class").fit(x, labels=labels).score(new) == pytest.approx(expected, rel=1e-8)
    ridge = np.cov((x - means[labels]).T, bias=True)
    ridge += 0.3 * np.trace(ridge) / 20 * np.eye(20)
    expected = cdist(new, means, "mahalanobis", VI=np.linalg.inv(ridge)).min(axis=1) ** 2
    assert Mahalanobis("class", shrinkage=0.3).fit(x, labels=labels).score(new) == pytest.approx(expected, rel=1e-9)


def test_pytorch_ood_leaves_out_the_number_of_cases() -> None:
    """pytorch-ood 0.4.0 written out: a sum of products for a covariance, 1e-6 on its diagonal, and half the distance."""
    x, labels = classes(4, 4000, 8, 4)
    new = features(5, 30, 8)
    means = np.stack([x[labels == k].mean(axis=0) for k in range(4)])
    scatter = (x - means[labels]).T @ (x - means[labels]) + 1e-6 * np.eye(8)
    theirs = np.min([0.5 * np.einsum("ij,jk,ik->i", new - m, np.linalg.inv(scatter), new - m) for m in means], axis=0)
    ours = Mahalanobis("class", shrinkage=None).fit(x, labels=labels).score(new)
    assert ours == pytest.approx(2 * len(x) * theirs, rel=1e-6)
    # At home ours is a chi-square with 8 degrees of freedom (mean 8); no threshold or p-value carries over from theirs.
    home = Mahalanobis("class", shrinkage=None).fit(x, labels=labels).score(x)
    assert home.mean() == pytest.approx(8, abs=0.2)
    assert (ours > 1000 * theirs).all()


def test_a_diagonal_of_a_case_by_case_matrix() -> None:
    """As OpenOOD 1.5 (and pytorch-ood's many-layer form) has it: the same numbers out of n x n products for n of them."""
    x, labels = classes(6, 500, 8, 3)
    means = np.stack([x[labels == k].mean(axis=0) for k in range(3)])
    precision = EmpiricalCovariance().fit(x - means[labels]).precision_
    products = [(x - m) @ precision @ (x - m).T for m in means]
    assert products[0].size == len(x) ** 2  # 40 GB in float32 for 100,000 cases
    theirs = np.min([product.diagonal() for product in products], axis=0)
    assert Mahalanobis("class", shrinkage=None).fit(x, labels=labels).score(x) == pytest.approx(theirs, rel=1e-9)


def test_counting_a_film_once_for_each_finding_forgets_the_normal_ones() -> None:
    """The public code for many labels: a mean a finding over its present films only, and each film once for each."""
    random = np.random.default_rng(7)
    labels = (random.random((600, 3)) < 0.12).astype(float)
    x = random.normal(size=(600, 6)) + 3 * labels @ random.normal(size=(3, 6))
    rows, column = np.nonzero(labels)
    means = np.stack([x[rows[column == k]].mean(axis=0) for k in range(3)])
    inverse = np.linalg.inv(np.cov((x[rows] - means[column]).T, bias=True))
    theirs = cdist(x, means, "mahalanobis", VI=inverse).min(axis=1) ** 2
    normal = labels.sum(axis=1) == 0
    used = set(rows.tolist())
    assert not used & set(np.flatnonzero(normal).tolist())
    ours = Mahalanobis("two-class", shrinkage=None).fit(x, labels=labels).score(x)
    assert roc_auc_score(normal, theirs) > 0.6
    assert roc_auc_score(normal, ours) < 0.5


def test_softmax_energy_and_probabilities() -> None:
    torch = pytest.importorskip("torch")
    z = np.random.default_rng(9).normal(size=(30, 5)) * 6
    for temperature in (0.5, 1.0, 1000.0):
        scaled = torch.tensor(z) / temperature
        energy = -temperature * torch.logsumexp(scaled, dim=1)
        assert Energy(temperature=temperature, form="softmax").score(None, z) == pytest.approx(energy.numpy(), rel=1e-12)
        softmax, sigmoid = -torch.softmax(scaled, dim=1).amax(dim=1), -torch.sigmoid(scaled).amax(dim=1)
        assert MaxProbability(temperature=temperature, form="softmax").score(None, z) == pytest.approx(softmax.numpy(), rel=1e-12)
        assert MaxProbability(temperature=temperature).score(None, z) == pytest.approx(sigmoid.numpy(), rel=1e-12)
    assert np.array_equal(MaxLogit().score(None, z), -z.max(axis=1))


@pytest.mark.parametrize("k", [1, 5, 60])
def test_kth_neighbour(k: int) -> None:
    x, new = features(10, 60, 12), np.concatenate([features(11, 30, 12), features(10, 60, 12)[:5]])
    unit, new_unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, new))
    theirs = NearestNeighbors(n_neighbors=k).fit(unit).kneighbors(new_unit)[0][:, -1]
    assert KNearest(k).fit(x).score(new) == pytest.approx(theirs, abs=1e-12)
    every = np.sort(np.linalg.norm(unit[None] - new_unit[:, None], axis=2), axis=1)[:, k - 1]
    assert KNearest(k).fit(x).score(new) == pytest.approx(every, abs=1e-12)
    plain = NearestNeighbors(n_neighbors=k).fit(x).kneighbors(new)[0][:, -1]
    assert KNearest(k, normalise=False).fit(x).score(new) == pytest.approx(plain, abs=1e-10)


def test_vim_as_the_peers_have_it() -> None:
    """The formulas of pytorch-ood 0.4.0 and OpenOOD 1.5: origin from the head, eigenvectors of the second moment, logsumexp."""
    random = np.random.default_rng(12)
    x, new = features(12, 300, 20), features(13, 40, 20)
    weight, bias = random.normal(size=(6, 20)), random.normal(size=6)
    logits, new_logits = x @ weight.T + bias, new @ weight.T + bias
    origin = -np.linalg.pinv(weight) @ bias
    values, vectors = np.linalg.eig((x - origin).T @ (x - origin) / len(x))
    outside = vectors.T[np.argsort(-values)[8:]].T
    alpha = logits.max(axis=1).mean() / np.linalg.norm((x - origin) @ outside, axis=1).mean()
    theirs = alpha * np.linalg.norm((new - origin) @ outside, axis=1) - logsumexp(new_logits, axis=1)
    vim = ViM(8, form="softmax", head=(weight, bias)).fit(x, logits)
    assert vim.alpha == pytest.approx(alpha, rel=1e-9)
    assert vim.score(new, new_logits) == pytest.approx(theirs, rel=1e-8, abs=1e-8)
    # The score is the log odds of the virtual class of equation 7, and orders films as its probability does.
    everything = np.column_stack([new_logits, theirs + logsumexp(new_logits, axis=1)])
    probability = softmax(everything, axis=1)[:, -1]
    assert expit(theirs) == pytest.approx(probability, rel=1e-9)


def test_vim_without_the_head_is_the_residual_of_principal_components() -> None:
    x, new = features(14, 300, 20), features(15, 40, 20)
    z, new_z = x[:, :3] * 4, new[:, :3] * 4
    labels = (z > 0).astype(float)
    components = PCA(n_components=8).fit(x)
    residuals = [np.linalg.norm(rows - components.inverse_transform(components.transform(rows)), axis=1) for rows in (x, new)]
    middle = [(z[labels[:, k] == 1, k].mean() + z[labels[:, k] == 0, k].mean()) / 2 for k in range(3)]
    evidence = [np.log(2 * np.cosh((rows - middle) / 2)).sum(axis=1) for rows in (z, new_z)]
    expected = evidence[0].mean() / residuals[0].mean() * residuals[1] - evidence[1]
    assert ViM(8).fit(x, z, labels).score(new, new_z) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_figures_as_scikit_learn_has_them() -> None:
    random = np.random.default_rng(16)
    own, foreign = np.round(random.normal(size=140), 1), np.round(0.8 + random.normal(size=60), 1)
    found = ood_metrics(own, foreign, resamples=40, seed=3)
    plan = PatientResamples.of(
        np.array([f"alone 0 {k}" for k in range(140)] + [f"alone 1 {k}" for k in range(60)]), 200, resamples=40, seed=3
    )
    truth, scores = np.r_[np.zeros(140), np.ones(60)], np.r_[own, foreign]

    def theirs(weights: np.ndarray) -> list[float]:
        drawn = np.repeat(np.arange(200), weights)
        y, s = truth[drawn], scores[drawn]
        home_fpr, home_tpr, _ = roc_curve(1 - y, -s, drop_intermediate=False)
        far_fpr, far_tpr, _ = roc_curve(y, s, drop_intermediate=False)
        return [
            roc_auc_score(y, s),
            average_precision_score(1 - y, -s),
            average_precision_score(y, s),
            home_fpr[home_tpr >= 0.95].min(),
            far_fpr[far_tpr >= 0.95].min(),
        ]

    draws = np.array([theirs(counts[plan.patient]) for chunk in plan.chunks() for counts in chunk])
    for index, name in enumerate(("auroc", "aupr_in", "aupr_out", "fpr95", "fpr95_out")):
        interval = getattr(found, name)
        low, high = np.quantile(draws[1:, index], [0.025, 0.975])
        assert (interval.value, interval.low, interval.high) == pytest.approx((draws[0, index], low, high), rel=1e-10)


def test_fd_shifts_takes_another_threshold() -> None:
    """Its least FPR where TPR > 0.9495 stops at 9496 of 10,000 positives; exactly 95 % are 9500, and a negative lies between."""
    positives = np.arange(10_000.0)
    labels = np.r_[np.ones(10_000), 0.0, 0.0]
    scores = np.r_[positives, 502.5, -1.0]  # below 9497 positives, above 503
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert fpr[tpr > 0.9495].min() == 0.0
    assert fpr_at_tpr(labels, scores) == fpr[tpr >= 0.95].min() == 0.5
