"""Every calibration error against libraries that have it, and each name that means several things, shown on one sample."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.metrics import (
    StreamingCalibration,
    classwise_ece,
    debiased_calibration_error,
    ece,
    mce,
    reliability_table,
    top_label,
    top_label_ece,
)

netcal = pytest.importorskip("netcal.metrics", reason="netcal is not installed; see the test group of pyproject.toml")
torch = pytest.importorskip("torch")
torchmetrics = pytest.importorskip("torchmetrics.functional.classification")


def sample(seed: int, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = random.beta(1, 3, n)
    return (random.random(n) < p**1.3).astype(float), p


def classes(seed: int, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = random.dirichlet([1, 0.7, 0.5, 2], n)
    return np.array([random.choice(4, p=row**0.8 / (row**0.8).sum()) for row in p]), p


def by_torchmetrics(labels: np.ndarray, p: np.ndarray, norm: str, bins: int = 10) -> float:
    return float(torchmetrics.binary_calibration_error(torch.tensor(p), torch.tensor(labels).int(), n_bins=bins, norm=norm))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_norms(seed: int, norm: str) -> None:
    labels, p = sample(seed)
    assert ece(labels, p, bins=10, norm=norm) == pytest.approx(by_torchmetrics(labels, p, norm), abs=1e-6)
    assert mce(labels, p, bins=10) == pytest.approx(netcal.MCE(10).measure(p, labels), abs=1e-12)


def test_three_figures_called_ace() -> None:
    """Average over bins (netcal), average over bins of each image (MONAI), adaptive bins (Nixon): 3 images, three answers."""
    monai = pytest.importorskip("monai.metrics")
    random = np.random.default_rng(0)
    p = random.beta(0.6, 4, (3, 900))
    labels = (random.random(p.shape) < p * np.array([[0.5], [1.0], [1.4]]).clip(0, 1)).astype(float)
    flat, truth = p.ravel(), labels.ravel()

    average = netcal.ACE(12).measure(flat, truth)
    metric = monai.CalibrationErrorMetric(num_bins=12, calibration_reduction="average")
    metric(torch.tensor(p)[:, None], torch.tensor(labels)[:, None])
    average_by_image = float(metric.aggregate())
    groups = np.array_split(np.argsort(flat), 12)
    adaptive = np.mean([abs(flat[group].mean() - truth[group].mean()) for group in groups])

    stream = StreamingCalibration(12)
    for k in range(3):
        stream.update(labels[k], p[k], case=f"image {k}")
    assert ece(truth, flat, bins=12, weight="bin") == pytest.approx(average, abs=1e-12)
    assert stream.ece(per="pool", weight="bin") == pytest.approx(average, abs=1e-12)
    assert stream.ece(per="case", weight="bin") == pytest.approx(average_by_image, abs=1e-5)
    assert ece(truth, flat, bins=12, binning="mass", weight="bin") == pytest.approx(adaptive, abs=1e-12)
    figures = sorted([average, average_by_image, adaptive])
    assert min(np.diff(figures)) > 0.01


@pytest.mark.parametrize(("reduction", "options"), [("expected", {}), ("average", {"weight": "bin"}), ("maximum", {"norm": "max"})])
def test_per_case_is_the_form_of_monai(reduction: str, options: dict[str, str]) -> None:
    monai = pytest.importorskip("monai.metrics")
    random = np.random.default_rng(1)
    p = random.random((4, 1, 12, 12)).astype(np.float32)
    labels = (random.random(p.shape) < p).astype(np.uint8)
    metric = monai.CalibrationErrorMetric(num_bins=15, calibration_reduction=reduction)
    metric(torch.tensor(p), torch.tensor(labels))
    stream = StreamingCalibration()
    for k in range(4):
        stream.update(labels[k], p[k], case=str(k))
    assert stream.ece(per="case", **options) == pytest.approx(float(metric.aggregate()), abs=1e-5)
    assert stream.ece(**options) != pytest.approx(float(metric.aggregate()), abs=1e-3)


def test_one_library_two_conventions() -> None:
    """torchmetrics' binary error is of the event, though its page says top label; its multi-class one, on both columns, is of the
    top label. Where every probability is a little too high, the top label's error nearly cancels: "absent" is said too softly."""
    random = np.random.default_rng(2)
    p = random.random(20_000)
    labels = (random.random(20_000) < (p - 0.11).clip(0)).astype(int)
    both = torch.tensor(np.column_stack([1 - p, p]))
    event = by_torchmetrics(labels, p, "l1", 15)
    top = float(torchmetrics.multiclass_calibration_error(both, torch.tensor(labels), num_classes=2, n_bins=15))
    assert ece(labels, p) == pytest.approx(event, abs=1e-6)
    assert top_label_ece(labels, p) == pytest.approx(top, abs=1e-6)
    assert top_label_ece(labels, both.numpy()) == pytest.approx(top, abs=1e-6)
    assert event > 2 * top


@pytest.mark.parametrize("seed", range(3))
def test_top_label_of_exclusive_classes(seed: int) -> None:
    labels, p = classes(seed)
    theirs = torchmetrics.multiclass_calibration_error(torch.tensor(p), torch.tensor(labels), num_classes=4, n_bins=10)
    assert top_label_ece(labels, p, bins=10) == pytest.approx(float(theirs), abs=1e-6)
    assert top_label_ece(labels, p, bins=10) == pytest.approx(netcal.ECE(10).measure(p, labels), abs=1e-12)


def test_classwise() -> None:
    labels, p = classes(5)
    theirs = [by_torchmetrics((labels == k).astype(float), p[:, k], "l1", 10) for k in range(4)]
    assert classwise_ece(labels, p, bins=10) == pytest.approx(np.mean(theirs), abs=1e-6)
    assert abs(classwise_ece(labels, p, bins=10) - top_label_ece(labels, p, bins=10)) > 0.005


def test_certainty_belongs_to_the_last_bin() -> None:
    """0.95 (absent) and 1.0 (present) stand in one bin of ten, gap |0.975 - 0.5|. torchmetrics gives 1.0 a bin of its own,
    where it is right, and leaves 0.95 wrong by itself; Guo 2017 would drop p = 0, which counts here."""
    labels, p = np.array([0.0, 1.0]), np.array([0.95, 1.0])
    assert ece(labels, p, bins=10) == pytest.approx(0.475)
    assert by_torchmetrics(labels, p, "l1") == pytest.approx(0.475)  # the halves of the two bins: 0.95 / 2 + 0
    assert mce(labels, p, bins=10) == pytest.approx(0.475)
    assert by_torchmetrics(labels, p, "max") == pytest.approx(0.95)
    counts = [row.n for row in reliability_table(np.array([0.0, 0, 1]), np.array([0.0, 0.95, 1.0]), bins=10)]
    assert counts == [1] + [0] * 8 + [2]
    both_wrong = np.array([1.0, 0.0])
    assert ece(both_wrong, np.array([0.95, 1.0]), bins=10) == pytest.approx(0.475)
    assert by_torchmetrics(both_wrong, np.array([0.95, 1.0]), "l1") == pytest.approx((0.05 + 1) / 2)


def by_hand(labels: np.ndarray, p: np.ndarray, number: np.ndarray) -> float:
    """Sum over bins of n_b / n [(mean p - mean y)^2 - mean y (1 - mean y) / (n_b - 1)], counted in plain Python."""
    total = 0.0
    for b in set(number.tolist()):
        said = [x for x, k in zip(p.tolist(), number, strict=True) if k == b]
        seen = [x for x, k in zip(labels.tolist(), number, strict=True) if k == b]
        if len(said) < 2:
            continue
        y = sum(seen) / len(seen)
        total += len(said) * ((sum(said) / len(said) - y) ** 2 - y * (1 - y) / (len(said) - 1))
    return total / len(p)


@pytest.mark.parametrize("seed", range(3))
def test_debiased_bin_by_bin(seed: int) -> None:
    labels, p = sample(seed, 150)
    number = np.minimum(np.floor(p * 12), 11).astype(int)
    expected = by_hand(labels, p, number)
    assert debiased_calibration_error(labels, p, bins=12, binning="width", squared=True) == pytest.approx(expected, abs=1e-14)
    root = debiased_calibration_error(labels, p, bins=12, binning="width")
    assert root == pytest.approx(max(expected, 0) ** 0.5, abs=1e-12)


def test_debiased_and_plug_in_of_the_authors() -> None:
    """Figures that p-lambda/verified_calibration (calibration/utils.py at ee81c34) gave on numbers anyone can make again."""
    i = np.arange(600)
    p = (0.5 + 0.5 * np.sin(i * 0.7)) ** 2 * 0.9 + 0.05 * ((i * 37) % 101) / 101
    labels = (((i * 7919) % 1000) / 1000 < p**1.3).astype(int)
    # unbiased_square_ce, unbiased_l2_ce and plugin_ce, over get_equal_bins (mass) and get_equal_prob_bins (width)
    assert debiased_calibration_error(labels, p, bins=15, squared=True) == pytest.approx(0.0017099015142537375, abs=1e-12)
    assert debiased_calibration_error(labels, p, bins=15) == pytest.approx(0.04135095542129272, abs=1e-10)
    assert debiased_calibration_error(labels, p, bins=20) == pytest.approx(0.027891695187315605, abs=1e-10)
    width = debiased_calibration_error(labels, p, bins=10, binning="width", squared=True)
    assert width == pytest.approx(0.0007623575488252114, abs=1e-12)
    assert ece(labels, p, bins=15, binning="mass", norm="l2") == pytest.approx(0.06775921908245397, abs=1e-10)
    assert ece(labels, p, bins=10) == pytest.approx(0.05041193796890076, abs=1e-10)
    # get_ece (top label), lower_bound_scaling_ce(mode="top-label", debias=True) and (mode="marginal", p=1)
    three = np.column_stack([p, (1 - p) * 0.6, (1 - p) * 0.4])
    truth = np.where(labels == 1, 0, 1 + (i % 3 == 0))
    assert top_label_ece(truth, three, bins=10) == pytest.approx(0.0860696141948911, abs=1e-10)
    debiased = debiased_calibration_error(*top_label(truth, three), bins=10, binning="width")
    assert debiased == pytest.approx(0.08922790197667285, abs=1e-10)
    assert classwise_ece(truth, three, bins=10) == pytest.approx(0.08535141755116844, abs=1e-10)


def test_monai_and_torchmetrics_count_in_float32() -> None:
    """Their counter at 2^24 no longer moves; shown on the one addition, for the whole takes minutes (benchmarks/ece.py has it)."""
    full = torch.tensor([2.0**24])
    full.scatter_add_(0, torch.zeros(1000, dtype=torch.int64), torch.ones(1000))
    assert float(full) == 2**24
