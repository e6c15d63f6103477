"""Order, failures, resuming to the last bit, and how far reading may run ahead."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.bundles import make_film
from vesalius.bundle import stream
from vesalius.bundle.cases import Case, list_cases
from vesalius.bundle.load import load
from vesalius.bundle.predictor import Predictor
from vesalius.bundle.stream import StreamOptions, answer_cases
from vesalius.errors import ValueOutOfRange
from vesalius.types import Image, Prediction


@pytest.fixture(scope="module")
def bundle(locked: Path) -> Predictor:
    return load(locked, device="cpu")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven films; the third is cut off and the eighth is no picture."""
    folder = tmp_path_factory.mktemp("films") / "study"
    folder.mkdir()
    for seed in range(11):
        levels = np.rint(make_film(100 + seed).pixels * 255).astype(np.uint8)
        PIL.Image.fromarray(levels).save(folder / f"{seed:02d}.png")
    (folder / "02.png").write_bytes((folder / "02.png").read_bytes()[:500])
    (folder / "07.png").write_text("not a picture")
    return folder


def timeless(prediction: Prediction) -> tuple[object, ...]:
    return (prediction.case, prediction.image_id, prediction.findings, prediction.ood, prediction.warnings, prediction.error)


def test_every_case_in_order_and_failures_between_them(bundle: Predictor, study: Path) -> None:
    answers = list(answer_cases(bundle, list_cases([study]), options=StreamOptions(batch_size=4)))
    assert [prediction.case for prediction, _ in answers] == [f"study/{seed:02d}.png" for seed in range(11)]
    failed = {prediction.case: prediction for prediction, image in answers if image is None}
    assert set(failed) == {"study/02.png", "study/07.png"}
    assert failed["study/02.png"].error is not None
    assert failed["study/02.png"].error.code == "truncated"
    assert failed["study/07.png"].error is not None
    assert failed["study/07.png"].error.code == "not_an_image"
    assert failed["study/07.png"].findings == ()
    assert all(prediction.seconds > 0 and prediction.bundle == bundle.reference for prediction, _ in answers)


def test_answers_are_those_of_each_film_alone(bundle: Predictor, study: Path) -> None:
    import vesalius

    for prediction, _ in answer_cases(bundle, list_cases([study]), options=StreamOptions(batch_size=3, workers=3)):
        if prediction.error is None:
            alone = bundle.predict(vesalius.read(study.parent / prediction.case))
            assert [finding.decision for finding in prediction.findings] == [finding.decision for finding in alone.findings]
            logits = [finding.logit for finding in alone.findings]
            assert [finding.logit for finding in prediction.findings] == pytest.approx(logits, abs=1e-5)


@pytest.mark.parametrize("done", [0, 1, 3, 5, 10, 11])
def test_going_on_gives_the_same_bits_wherever_it_stopped(bundle: Predictor, study: Path, done: int) -> None:
    cases, options = list_cases([study]), StreamOptions(batch_size=4)
    whole = [timeless(prediction) for prediction, _ in answer_cases(bundle, cases, options=options)]
    finished = {case.name for case in cases[:done]}
    rest = [timeless(prediction) for prediction, _ in answer_cases(bundle, cases, finished=finished, options=options)]
    assert rest == whole[done:]


def test_finished_windows_are_not_read_again(bundle: Predictor, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = stream.read
    monkeypatch.setattr(stream, "read", lambda path, **options: (opened.append(path.name), real(path, **options))[1])
    cases = list_cases([study])
    list(answer_cases(bundle, cases, finished={case.name for case in cases[:9]}, options=StreamOptions(batch_size=4)))
    assert sorted(opened) == ["08.png", "09.png", "10.png"]


def test_reading_runs_ahead_but_never_far(bundle: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    read, lock = [0], threading.Lock()

    def count(path: Path, **options: object) -> Image:
        with lock:
            read[0] += 1
        return make_film(int(path.name))

    monkeypatch.setattr(stream, "read", count)
    cases = [Case(str(number), Path(str(number))) for number in range(60)]
    ahead = []
    for taken, _ in enumerate(answer_cases(bundle, cases, options=StreamOptions(batch_size=4, workers=2)), start=1):
        time.sleep(0.002)
        ahead.append(read[0] - taken)
    assert max(ahead) <= 4 + 4, "a batch waiting and one under way"
    assert ahead[20] > 4, "the next batch is read while this one is answered"


def test_one_film_that_breaks_the_network_does_not_take_its_batch_along(
    bundle: Predictor, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Predictor.predict_batch

    def refuse(self: Predictor, images: list[Image], cases: list[str], **options: bool) -> list[Prediction]:
        if "study/04.png" in cases:
            raise ValueOutOfRange("cannot be answered; look at the film")
        return real(self, images, cases, **options)

    monkeypatch.setattr(Predictor, "predict_batch", refuse)
    answers = {prediction.case: prediction for prediction, _ in answer_cases(bundle, list_cases([study]))}
    assert len(answers) == 11
    assert answers["study/04.png"].error is not None
    assert answers["study/04.png"].error.code == "value_out_of_range"
    assert {case for case, prediction in answers.items() if prediction.error is not None} == {
        f"study/{n}.png" for n in ("02", "04", "07")
    }


def test_a_film_that_claims_too_much_is_refused(bundle: Predictor, study: Path) -> None:
    answers = list(answer_cases(bundle, list_cases([study])[:2], options=StreamOptions(max_pixels=1000)))
    assert [prediction.error.code for prediction, _ in answers if prediction.error] == ["too_large"] * 2


def test_a_file_that_may_not_be_read(bundle: Predictor, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path, **options: object) -> Image:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(stream, "read", deny)
    ((prediction, image),) = answer_cases(bundle, list_cases([study])[:1])
    assert image is None
    assert prediction.error is not None
    assert prediction.error.code == "unreadable"
    assert str(study) not in prediction.error.message


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": -1}, {"workers": 0}, {"max_pixels": 0}])
def test_numbers_that_would_answer_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueOutOfRange, match="--batch-size"):
        StreamOptions(**wrong)
