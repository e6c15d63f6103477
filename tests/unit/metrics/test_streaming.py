"""Values counted as they come: exact, in any shape and order, and nothing large is copied."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from vesalius.errors import NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics import StreamingCalibration, brier, brier_decomposition, ece, reliability_table
from vesalius.metrics.bins import BLOCK

NAN = math.nan


def volumes(n: int = 3, shape: tuple[int, ...] = (9, 11, 13), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = random.beta(0.5, 3, (n, *shape))
    return (random.random(p.shape) < p**1.2).astype(np.uint8), p


def exact_ece(labels: np.ndarray, p: np.ndarray, bins: int) -> float:
    """By sums that are rounded once (math.fsum), bin by bin."""
    number = [min(int(x * bins), bins - 1) for x in p.tolist()]
    gaps = [0.0] * bins
    for b in range(bins):
        gaps[b] = math.fsum(part for x, y, k in zip(p.tolist(), labels.tolist(), number, strict=True) if k == b for part in (x, -y))
    return math.fsum(map(abs, gaps)) / len(p)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_exact(dtype: type) -> None:
    """More values than three blocks, of each float: the sum of all, to 1e-13."""
    random = np.random.default_rng(4)
    p = random.random(3 * BLOCK + 17).astype(dtype)
    labels = random.random(p.size) < p
    found = StreamingCalibration(7).update(labels, p).ece()
    assert found == pytest.approx(exact_ece(labels.astype(int), p.astype(np.float64), 7), abs=1e-13)


def test_float32_counters_stop_and_these_do_not() -> None:
    """Ten values more than 2^24 in one bin: added to a float32 counter (as scatter_add does) they are lost, here they count."""
    counter, total = np.full(1, 2**24, dtype=np.float32), np.full(1, 2**24 * 0.5, dtype=np.float32)
    np.add.at(counter, np.zeros(10, dtype=int), np.ones(10, dtype=np.float32))
    np.add.at(total, np.zeros(10, dtype=int), np.full(10, 0.25, dtype=np.float32))
    assert (counter[0], total[0]) == (2**24, 2**23)
    before = {"case": None, "n": [[2**24, 0], [0, 0]], "said": [[2**22, 0.0], [0.0, 0.0]], "squares": 0.0}
    stream = StreamingCalibration.from_json({"bins": 2, "cases": [before]})
    row = stream.update(np.ones(10), np.full(10, 0.25)).reliability_table()[0]
    assert row.n == 2**24 + 10
    assert row.observed * row.n == pytest.approx(10, abs=1e-6)
    assert row.mean_probability == 0.25


def test_pool_and_case_are_two_figures() -> None:
    labels, p = volumes()
    stream = StreamingCalibration(8)
    for k, (truth, said) in enumerate(zip(labels, p, strict=True)):
        stream.update(truth, said, case=f"volume {k}")
    own = [ece(truth.ravel(), said.ravel(), bins=8) for truth, said in zip(labels, p, strict=True)]
    assert stream.ece() == stream.ece(per="pool") == pytest.approx(ece(labels.ravel(), p.ravel(), bins=8), abs=1e-14)
    assert stream.ece(per="case") == pytest.approx(np.mean(own), abs=1e-14)
    assert list(stream.ece_per_case().values()) == pytest.approx(own, abs=1e-14)
    assert stream.ece(per="case") > stream.ece() + 5e-4  # chance adds to each volume's own
    for options in ({"norm": "max"}, {"norm": "l2"}, {"weight": "bin"}):
        assert stream.ece(**options) == pytest.approx(ece(labels.ravel(), p.ravel(), bins=8, **options), abs=1e-13)


def test_cuts_and_merges_change_nothing() -> None:
    labels, p = volumes(4)
    whole = StreamingCalibration()
    for k in range(4):
        whole.update(labels[k], p[k], case=str(k))
    first, second = StreamingCalibration(), StreamingCalibration()
    for k in range(4):
        first.update(labels[k, :4], p[k, :4], case=str(k))  # the upper slabs here, the rest elsewhere
        second.update(labels[k, 4:], p[k, 4:], case=str(k))
    first.merge(StreamingCalibration.from_json(json.loads(json.dumps(second.to_json()))))
    for per in ("pool", "case"):
        assert first.ece(per=per) == pytest.approx(whole.ece(per=per), abs=1e-14)
    assert [row.n for row in first.reliability_table()] == [row.n for row in whole.reliability_table()]
    twice = StreamingCalibration().update(labels, p)
    assert twice.merge(twice).ece() == pytest.approx(whole.ece(), abs=1e-14)
    assert sum(row.n for row in twice.reliability_table()) == 2 * labels.size


def test_json_is_exact() -> None:
    labels, p = volumes()
    stream = StreamingCalibration().update(labels[0], p[0], case="a").update(labels[1], p[1], case="b")
    again = StreamingCalibration.from_json(json.loads(json.dumps(stream.to_json())))
    assert again.to_json() == stream.to_json()
    assert again.update(labels[2], p[2], case="c").ece(per="case") == stream.update(labels[2], p[2], case="c").ece(per="case")


def test_unknown_is_left_out_however_it_is_said() -> None:
    labels, p = volumes(1)
    known = np.random.default_rng(1).random(labels.shape) < 0.7
    expected = StreamingCalibration().update(labels[known], p[known]).to_json()
    said = np.where(known, p, NAN)
    for truth in (np.where(known, labels, NAN), np.where(known, labels.astype(np.int8), -1), np.where(known, labels, None)):
        assert StreamingCalibration().update(truth, said).to_json() == expected
    assert StreamingCalibration().update(labels.astype(bool), said, known=known).to_json() == expected
    assert StreamingCalibration().update(labels, said, known=known.astype(np.uint8)).to_json() == expected
    nothing = StreamingCalibration().update(labels, p, known=np.zeros(labels.shape, dtype=bool), case="a")
    assert math.isnan(nothing.ece())
    assert math.isnan(nothing.ece(per="case"))
    assert math.isnan(nothing.brier_decomposition().brier)
    nothing.update(labels, p, case="b")
    assert nothing.ece(per="case") == nothing.ece_per_case()["b"]


def test_any_layout(tmp_path: Path) -> None:
    labels, p = volumes(1, (20, 30, 40))
    expected = StreamingCalibration().update(labels, p)
    assert StreamingCalibration().update(labels.T, p.T).ece() == pytest.approx(expected.ece(), abs=1e-14)
    assert StreamingCalibration().update(np.asfortranarray(labels), p).ece() == pytest.approx(expected.ece(), abs=1e-14)
    half = StreamingCalibration().update(labels[..., ::-2], p[..., ::-2])
    assert half.ece() == pytest.approx(
        StreamingCalibration().update(labels[..., 1::2].copy(), p[..., 1::2].copy()).ece(), abs=1e-14
    )
    np.save(tmp_path / "p.npy", p)
    assert StreamingCalibration().update(labels, np.load(tmp_path / "p.npy", mmap_mode="r")).to_json() == expected.to_json()
    assert math.isnan(StreamingCalibration().update(np.zeros((0, 3)), np.zeros((0, 3))).ece())


@pytest.mark.parametrize("layout", ["straight", "transposed"])
def test_memory_is_that_of_a_block(layout: str) -> None:
    p = np.random.default_rng(0).random((200, 100, 100), dtype=np.float32)
    labels = p > 0.5
    if layout == "transposed":
        p, labels = p.T, np.asfortranarray(labels).T[::-1, ::-1, ::-1]
    stream = StreamingCalibration().update(labels[:2], p[:2])
    tracemalloc.start()
    stream.update(labels, p)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * BLOCK < p.nbytes / 8


def test_brier_and_its_parts() -> None:
    labels, p = volumes()
    parts = StreamingCalibration(10).update(labels[:2], p[:2]).update(labels[2], p[2]).brier_decomposition()
    expected = brier_decomposition(labels.ravel(), p.ravel(), 10)
    assert parts.brier == pytest.approx(brier(labels.ravel(), p.ravel()), abs=1e-14)
    assert list(vars(parts).values()) == pytest.approx(list(vars(expected).values()), abs=1e-13)


def test_table_is_that_of_all_values() -> None:
    labels, p = volumes()
    rows = StreamingCalibration(6).update(labels, p).reliability_table(confidence=0.9)
    expected = reliability_table(labels.ravel(), p.ravel(), bins=6, confidence=0.9)
    for row, other in zip(rows, expected, strict=True):
        assert list(vars(row).values()) == pytest.approx(list(vars(other).values()), abs=1e-13)


def test_refused() -> None:
    stream = StreamingCalibration()
    with pytest.raises(NotFitted, match="call update"):
        stream.ece()
    with pytest.raises(NotFitted, match="call update"):
        stream.ece(per="case")
    with pytest.raises(ValueOutOfRange, match="calibrate logits first"):
        stream.update(np.array([0, 1]), np.array([0.5, 1.5]))
    with pytest.raises(ValueOutOfRange, match="labels hold 2"):
        stream.update(np.array([0, 2], dtype=np.uint8), np.array([0.5, 0.5]))
    with pytest.raises(ValueOutOfRange, match="NaN where the label is known"):
        stream.update(np.array([0, 1]), np.array([0.5, NAN]))
    with pytest.raises(ShapeMismatch, match="equal shapes"):
        stream.update(np.zeros((2, 3)), np.zeros(3))
    with pytest.raises(ShapeMismatch, match="equal shapes"):
        stream.update(np.zeros(3), np.zeros(3), known=np.ones(1, dtype=bool))
    assert stream.to_json()["cases"] == []  # nothing of a refused call stays
    with pytest.raises(ShapeMismatch, match="same number of bins"):
        stream.merge(StreamingCalibration(10))
    with pytest.raises(ValueOutOfRange, match="bins is 0"):
        StreamingCalibration(0)
    stream.update(np.array([0, 1]), np.array([0.5, 0.5]))
    with pytest.raises(NotEstimable, match="a case name each time"):
        stream.ece(per="case")
    with pytest.raises(ValueOutOfRange, match="per is 'image'; expected one of: pool, case"):
        stream.ece(per="image")
