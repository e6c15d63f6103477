"""`vesalius uq` from a file to a decision rule, its numbers held against other libraries and the definitions."""

from __future__ import annotations

import csv
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from netcal.metrics import ECE
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.metrics import average_precision_score, brier_score_loss, confusion_matrix, roc_auc_score

from tests.outputs import FINDINGS, SECRET, simulated, write_arrays, write_csv
from vesalius.cli import main

CONTRACT = {"n", "n_positive", "temperature", "auroc", "auprc", "ece", "ece_uncalibrated", "brier", "aurc", "augrc"}


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    return simulated()


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    code = main(["uq", *arguments, "--json", "--resamples", "60"])
    told = capsys.readouterr()
    assert SECRET not in told.out + told.err
    return code, json.loads(told.out), told.err


def known(given: dict[str, Any], name: str, split: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = given[f"label:{name}"], given[f"logit:{name}"]
    keep = np.isin(labels, (0, 1)) & (True if split is None else given["split"] == split)
    return labels[keep], logits[keep]


def best_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    def loss(log_t: float) -> float:
        z = logits / np.exp(log_t)
        return float(np.mean(np.logaddexp(0, z) - labels * z))

    return float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10}).x))


def area_by_hand(labels: np.ndarray, p: np.ndarray, *, generalised: bool) -> float:
    """AURC or AUGRC of calls at 0.5, surest first, by adding up trapezoids; no ties here."""
    order = np.argsort(np.minimum(p, 1 - p))
    wrong = ((p >= 0.5) != labels)[order]
    kept = np.arange(1, len(p) + 1)
    risk = np.cumsum(wrong) / (len(p) if generalised else kept)
    first = 0.0 if generalised else risk[0]
    return float(np.trapezoid(np.concatenate([[first], risk]), np.concatenate([[0], kept]) / len(p)))


def test_a_file_with_a_split_gives_the_numbers_of_the_contract(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found, words = run([str(write_csv(tmp_path / "outputs.csv", given))], capsys)
    assert code == 0
    assert list(found["findings"]) == list(FINDINGS)
    assert CONTRACT - {"n", "n_positive", "temperature"} <= set(found["macro"])
    for name, one in found["findings"].items():
        assert set(one) >= CONTRACT
        truth, z = known(given, name, "test")
        temperature = best_temperature(*known(given, name, "calibration"))
        p = expit(z / temperature)
        values = {key: one[key]["value"] for key in CONTRACT - {"n", "n_positive", "temperature"}}
        assert (one["n"], one["n_positive"]) == (len(truth), int(truth.sum()))
        assert one["temperature"] == pytest.approx(temperature, rel=1e-5)
        assert values["auroc"] == pytest.approx(roc_auc_score(truth, z), abs=1e-12)
        assert values["auprc"] == pytest.approx(average_precision_score(truth, z), abs=1e-12)
        assert values["brier"] == pytest.approx(brier_score_loss(truth, p), abs=1e-6)
        assert values["ece"] == pytest.approx(ECE(bins=15, detection=True).measure(p, truth), abs=1e-5)
        assert values["ece_uncalibrated"] == pytest.approx(ECE(bins=15, detection=True).measure(expit(z), truth), abs=1e-9)
        assert values["aurc"] == pytest.approx(area_by_hand(truth, p, generalised=False), abs=1e-9)
        assert values["augrc"] == pytest.approx(area_by_hand(truth, p, generalised=True), abs=1e-9)
        for key in values:
            assert one[key]["low"] <= one[key]["value"] <= one[key]["high"]
    for key in CONTRACT - {"n", "n_positive", "temperature"}:
        mean = np.mean([one[key]["value"] for one in found["findings"].values()])
        assert found["macro"][key]["value"] == pytest.approx(mean, abs=1e-12)
    assert "fitted on the" in words
    assert list(tmp_path.iterdir()) == [tmp_path / "outputs.csv"], "no file unless asked for"


def test_without_a_split_patients_are_cross_fitted_and_it_is_said(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(tmp_path / "outputs.csv", given, without=("split",))
    code, found, words = run([str(path)], capsys)
    assert code == 0
    assert found["how"]["kind"] == "cross-fitted"
    assert "cross-fitting" in words
    for name, one in found["findings"].items():
        truth, z = known(given, name)
        assert one["n"] == len(truth)
        # ranks are those of the outputs: calibrators of different folds do not mix them
        assert one["auroc"]["value"] == pytest.approx(roc_auc_score(truth, z), abs=1e-12)
        assert one["temperature"] == pytest.approx(best_temperature(truth, z), rel=1e-5)
        assert one["ece"]["value"] < one["ece_uncalibrated"]["value"]


def test_no_calibrate_takes_probabilities_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(4)
    votes = random.integers(0, 6, 300) / 5  # of five readers: 0 and 1 are among them, and so are bin edges
    labels = (random.random(300) < 0.2 + 0.6 * votes).astype(float)
    path = write_csv(tmp_path / "votes.csv", {"label:a": labels, "probability:a": votes})
    code, found, words = run([str(path), "--no-calibrate"], capsys)
    one = found["findings"]["a"]
    assert code == 0
    by_vote = sum(abs((labels - votes)[votes == vote].sum()) for vote in np.unique(votes)) / 300
    assert one["temperature"] == 1.0
    assert one["ece"]["value"] == pytest.approx(by_vote, abs=1e-12)
    for end in ("value", "low", "high"):  # as given and as used are the same numbers on the same resamples
        assert one["ece_uncalibrated"][end] == pytest.approx(one["ece"][end], abs=1e-12)
    assert one["brier"]["value"] == pytest.approx(brier_score_loss(labels, votes), abs=1e-12)
    assert "no patient_id" in words


def test_members_and_features_are_measured_as_detectors_of_failures(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found, _ = run([str(write_arrays(tmp_path / "outputs.npz", given)), "--out", str(tmp_path / "report")], capsys)
    assert code == 0
    rule = json.loads((tmp_path / "report" / "decision_rule.json").read_text())
    test = given["split"] == "test"
    for index, name in enumerate(FINDINGS):
        rows = found["findings"][name]["failure_detection"]
        assert set(rows) == {"softmax_distance", "ensemble_spread", "ood_distance", "combination"}
        labels = given[f"label:{name}"][test]
        keep = np.isin(labels, (0, 1))
        p = expit(given[f"logit:{name}"][test] * rule["calibrator"]["slopes"][index])
        wrong = ((p >= rule["policy"]["findings"][index]["threshold"]) != labels)[keep]
        spread = expit(given["member_logits"][:, test, index]).std(axis=0)[keep]
        assert rows["ensemble_spread"]["auroc"]["value"] == pytest.approx(roc_auc_score(wrong, spread), abs=1e-12)
        assert 0.3 < rows["ood_distance"]["auroc"]["value"] < 0.7, "features of pure noise detect nothing"
    assert (tmp_path / "report" / "decision_rule.npz").exists()


def test_from_a_csv_to_a_rule_to_answers(given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = write_csv(tmp_path / "outputs.csv", given)
    report = tmp_path / "report"
    options = ["--out", str(report), "--method", "platt", "--threshold-rule", "youden", "--coverage", "0.8"]
    assert run([str(outputs), *options], capsys)[0] == 0
    assert {path.name for path in report.iterdir()} == {"index.html", "uq.json", "decision_rule.json"}

    new = simulated(40, seed=9)
    fresh = write_csv(tmp_path / "new.csv", new, without=tuple(f"label:{name}" for name in FINDINGS))
    rule_file, answers = report / "decision_rule.json", tmp_path / "answers.csv"
    code, counted, _ = run([str(fresh), "--rule", str(rule_file), "--answers", str(answers)], capsys)
    assert code == 0
    rule = json.loads(rule_file.read_text())
    rows = list(csv.DictReader(answers.open()))
    assert SECRET not in answers.read_text()
    assert [int(row["line"]) for row in rows] == list(range(2, 2 + len(rows)))
    for index, name in enumerate(FINDINGS):
        # by hand from the numbers of the file: a line in the logit, and two edges
        p = expit(new[f"logit:{name}"] * rule["calibrator"]["slopes"][index] + rule["calibrator"]["intercepts"][index])
        line = rule["policy"]["findings"][index]
        said = np.where(p >= line["high"], "present", np.where(p <= line["low"], "absent", "abstain"))
        np.testing.assert_allclose([float(row[f"probability:{name}"]) for row in rows], p, rtol=1e-12)
        assert [row[f"decision:{name}"] for row in rows] == said.tolist()
        assert {row[f"reason:{name}"] for row in rows if row[f"decision:{name}"] == "abstain"} <= {"uncertain"}
        assert counted["findings"][name]["present"] == (said == "present").sum()
        assert 0.7 < (said != "abstain").mean() < 0.9


def test_the_rates_of_the_rule_are_those_of_its_answers(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = write_csv(tmp_path / "outputs.csv", given)
    _, found, _ = run([str(outputs), "--out", str(tmp_path / "report")], capsys)
    test = given["split"] == "test"
    rows = {name: values[test] for name, values in given.items() if values.ndim == 1}
    fresh = write_csv(tmp_path / "test.csv", rows)
    answers = tmp_path / "answers.csv"
    run([str(fresh), "--rule", str(tmp_path / "report" / "decision_rule.json"), "--answers", str(answers)], capsys)
    table = list(csv.DictReader(answers.open()))
    for name, one in found["findings"].items():
        said = np.array([{"present": 1, "absent": 0, "abstain": -1}[row[f"decision:{name}"]] for row in table])
        labels = rows[f"label:{name}"]
        keep = np.isin(labels, (0, 1))
        given_answers = keep & (said >= 0)
        tn, fp, fn, tp = confusion_matrix(labels[given_answers], said[given_answers]).ravel()
        rates = {key: figure["value"] for key, figure in one["at_rule"].items()}
        assert rates["coverage"] == pytest.approx(given_answers.sum() / keep.sum(), abs=1e-12)
        assert rates["sensitivity_answered"] == pytest.approx(tp / (tp + fn), abs=1e-12)
        assert rates["specificity_answered"] == pytest.approx(tn / (tn + fp), abs=1e-12)
        assert rates["error_answered"] == pytest.approx((fp + fn) / given_answers.sum(), abs=1e-12)


def test_a_gate_withholds_foreign_cases_and_says_why(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report"
    run([str(write_arrays(tmp_path / "outputs.npz", given)), "--out", str(report)], capsys)
    new = simulated(30, seed=5)
    new["features"][:3] += 50.0
    fresh = write_arrays(tmp_path / "new.npz", new)
    answers = tmp_path / "answers.csv"
    run([str(fresh), "--rule", str(report / "decision_rule.json"), "--answers", str(answers)], capsys)
    table = list(csv.DictReader(answers.open()))
    assert [row["row"] for row in table[:4]] == ["0", "1", "2", "3"]
    for row in table[:3]:
        assert {row[f"decision:{name}"] for name in FINDINGS} == {"abstain"}
        assert {row[f"reason:{name}"] for name in FINDINGS} == {"out_of_distribution"}
    (report / "decision_rule.npz").unlink()
    assert main(["uq", str(fresh), "--rule", str(report / "decision_rule.json")]) == 2
    assert "decision_rule.npz must stand beside the rule" in capsys.readouterr().err


def test_a_promise_is_made_and_shown(given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = write_csv(tmp_path / "outputs.csv", simulated(500))
    _, found, _ = run([str(outputs), "--target-risk", "0.3", "--risk-confidence", "0.9"], capsys)
    promises = [row["promise"] for row in found["rule"].values()]
    assert any(promise is not None for promise in promises)
    for promise in filter(None, promises):
        assert (promise["target_risk"], promise["confidence"]) == (0.3, 0.9)
        assert promise["upper"] <= 0.3
    _, found, words = run([str(outputs), "--target-risk", "0.3"], capsys)
    assert all(row["promise"] is None for row in found["rule"].values())
    assert "not a promise" in words


def test_the_page_stands_alone_and_names_nobody(given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from plotly.graph_objects import Figure

    from vesalius.audit.page import TEMPLATES

    out = tmp_path / "report"
    given = given | {"label:<b>x</b>": given["label:Effusion"], "logit:<b>x</b>": given["logit:Effusion"]}
    outputs = write_arrays(tmp_path / "outputs.npz", given, without=("member_logits",))
    run([str(outputs), "--out", str(out), "--by", "sex"], capsys)
    for path in out.iterdir():
        assert SECRET.encode() not in path.read_bytes()
    page = (out / "index.html").read_text()
    start = page.index("<script>", page.index('id="figures"'))
    ours = page[:start] + page[page.index("</script>", start) :]
    assert not re.findall(r"https?://", ours)
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", ours)
    assert "default-src 'none'" in ours
    assert "<b>x</b>" not in ours
    assert set(re.findall(r'href="#([\w-]+)"', ours)) <= set(re.findall(r'id="([\w-]+)"', ours))
    drawn = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert set(drawn) == {html.unescape(name) for name in re.findall(r'data-figure="([^"]+)"', page)}
    style = (TEMPLATES / "style.css").read_text()
    for colour in set(re.findall(r'"@([\w-]+)"', json.dumps(drawn))):
        assert len(re.findall(rf"--{colour}: ", style)) == 2
    for spec in json.loads(re.sub(r'"@[\w-]+"', '"#123456"', json.dumps(drawn))).values():
        Figure(spec)
    saved = json.loads((out / "uq.json").read_text())
    assert {row["group"] for row in saved["subgroups"]} == {"F", "M"}
    assert f"{saved['macro']['auroc']['value']:.3f} <small>" in ours


def test_the_same_command_gives_the_same_numbers(given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = write_arrays(tmp_path / "outputs.npz", given, without=("split",))
    first, second = (run([str(outputs)], capsys)[1] for _ in range(2))
    for document in (first, second):
        del document["made"]
    assert first == second


WRONG = {
    "one class": ({"label:a": np.zeros(8), "logit:a": np.arange(8.0)}, "both 1 and 0 are needed"),
    "nothing to fit on": (
        {"label:a": np.arange(8) % 2.0, "logit:a": np.arange(8.0), "split": np.array(["test"] * 8)},
        "0 cases of split 'calibration'",
    ),
    "nothing to measure": (
        {"label:a": np.arange(8) % 2.0, "logit:a": np.arange(8.0), "split": np.array(["calibration"] * 8)},
        "0 cases of split 'test'",
    ),
    "one patient": (
        {"label:a": np.arange(8) % 2.0, "logit:a": np.arange(8.0), "patient_id": np.array([SECRET] * 8)},
        "has one patient",
    ),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_what_cannot_be_measured_ends_with_2_and_the_next_step(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, words = WRONG[case]
    path = write_csv(tmp_path / "outputs.csv", {name: np.asarray(values) for name, values in given.items()})
    assert main(["uq", str(path), "--json"]) == 2
    told = capsys.readouterr()
    error = json.loads(told.out)["error"]
    assert error["code"] == "outputs"
    assert words in error["message"]
    assert words in told.err
    assert SECRET not in told.out + told.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--by", "ward"], "no column 'ward' for --by; it has: sex"),
        (["--threshold-rule", "best"], "expected f1, youden, or sensitivity=0.95"),
        (["--coverage", "2"], "coverage"),
        (["--risk-confidence", "0.9"], "target_risk"),
        (["--resamples", "0"], "two resamples or more"),
        (["--answers", "x.csv"], "add --rule"),
        (["--rule", "missing.json"], "missing.json cannot be read"),
    ],
)
def test_wrong_options(
    options: list[str], words: str, given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["uq", str(write_csv(tmp_path / "outputs.csv", given)), *options]) == 2
    assert words in capsys.readouterr().err


def test_a_finding_of_one_class_is_shown_without_figures_beside_the_others(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rare = given | {"label:Rare": np.zeros(len(given["split"])), "logit:Rare": given["logit:Effusion"]}
    del rare["member_logits"]
    code, found, _ = run([str(write_arrays(tmp_path / "outputs.npz", rare)), "--out", str(tmp_path / "report")], capsys)
    assert code == 0
    assert found["findings"]["Rare"]["auroc"]["value"] is None
    assert "never answered" in " ".join(found["rule"]["Rare"]["notes"])
    both = [found["findings"][name]["auroc"]["value"] for name in FINDINGS]
    assert found["macro"]["auroc"]["value"] == pytest.approx(np.mean(both))
    assert "never answered" in (tmp_path / "report" / "index.html").read_text()


def test_features_that_do_not_vary_are_left_aside_and_said(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = given | {"features": np.ones((len(given["split"]), 4))}
    code, found, words = run([str(write_arrays(tmp_path / "outputs.npz", flat)), "--out", str(tmp_path / "report")], capsys)
    assert code == 0
    assert "the features do not vary" in words
    assert set(found["macro"]["failure_detection"]) == {"softmax_distance", "ensemble_spread", "combination"}
    assert json.loads((tmp_path / "report" / "decision_rule.json").read_text())["gate"] is None


def test_a_patient_on_both_sides_is_told(given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = given["split"].copy()
    split[:2] = ["calibration", "test"]
    patient = given["patient_id"].copy()
    patient[:2] = f"{SECRET}both"
    _, _, words = run([str(write_csv(tmp_path / "outputs.csv", given | {"split": split, "patient_id": patient}))], capsys)
    assert "1 patients have cases both in calibration and in test" in words


def test_words_for_people(given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["uq", str(write_csv(tmp_path / "outputs.csv", given)), "--resamples", "20"]) == 0
    said = capsys.readouterr().out
    for word in ("Effusion", "Pleural Thickening", "macro average", "temperature", "decision rule", "--out DIR", "fitted on"):
        assert word in said
    assert SECRET not in said
