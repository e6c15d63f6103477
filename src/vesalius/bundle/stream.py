"""Many films through one bundle: reading runs ahead of the network, memory stays flat, order stays that of the input.

A batch always covers the same window of the input, whatever was finished before. The last bit of a logit depends on the batch
a film is in; so a run that was stopped and went on gives the same numbers as one that was not.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from vesalius.dicom.read import MAX_PIXELS, read
from vesalius.errors import ValueOutOfRange, VesaliusError
from vesalius.types import Failure, Prediction

if TYPE_CHECKING:
    from vesalius.bundle.cases import Case
    from vesalius.types import Image


class Reader(Protocol):
    """What answers films: a `Predictor`, or towers that were asked in words."""

    @property
    def reference(self) -> str:
        """Names the bundle in every answer."""
        ...

    def predict_batch(
        self, images: Sequence[Image], cases: Sequence[str] | None = None, *, evidence: bool = False
    ) -> Sequence[Prediction]:
        """Answers several films in one pass."""
        ...


@dataclass(frozen=True)
class StreamOptions:
    """How films are streamed.

    Attributes:
        batch_size: Films a pass of the network.
        workers: Threads that read and decode while the network computes.
        evidence: Keep the patch logits, for heat maps.
        max_pixels: A film that claims more is refused before it is decoded.

    Raises:
        ValueOutOfRange: One of the numbers below 1.
    """

    batch_size: int = 8
    workers: int = 1
    evidence: bool = False
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if min(self.batch_size, self.workers, self.max_pixels) < 1:
            raise ValueOutOfRange(
                f"batches of {self.batch_size} films read by {self.workers} threads, of {self.max_pixels} pixels at most "
                "(`--batch-size`, `--workers`, `--limit-pixels`); expected at least 1 of each"
            )


@dataclass(frozen=True)
class Reading:
    """A film as it came from disk, or why it did not."""

    case: Case
    seconds: float
    image: Image | None = None
    failure: Failure | None = None


def answer_cases(
    predictor: Reader, cases: Sequence[Case], *, finished: Collection[str] = (), options: StreamOptions = StreamOptions()
) -> Iterator[tuple[Prediction, Image | None]]:
    """Yields an answer to each case that is not finished, in the order of `cases`, with its film; a failed case has none.

    A film that cannot be read, and one that cannot be answered, is an answer with `error`; the next one still runs.
    """
    windows = [cases[at : at + options.batch_size] for at in range(0, len(cases), options.batch_size)]
    open_windows = [window for window in windows if any(case.name not in finished for case in window)]
    readings = _read_ahead((case for window in open_windows for case in window), options)
    for window in open_windows:
        for prediction, image in _answer_window(predictor, list(islice(readings, len(window))), options):
            if prediction.case not in finished:
                yield prediction, image


def _read_ahead(cases: Iterable[Case], options: StreamOptions) -> Iterator[Reading]:
    """Yields readings in order, at most a batch ahead of what was taken: large films are many megabytes each."""
    rest = iter(cases)
    pool = ThreadPoolExecutor(max_workers=options.workers, thread_name_prefix="read")
    try:
        queue: deque[Future[Reading]] = deque(
            pool.submit(_read, case, options.max_pixels) for case in islice(rest, options.batch_size)
        )
        while queue:
            reading = queue.popleft().result()
            queue.extend(pool.submit(_read, case, options.max_pixels) for case in islice(rest, 1))
            yield reading
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _read(case: Case, max_pixels: int) -> Reading:
    started = time.perf_counter()
    try:
        image = read(case.path, max_pixels=max_pixels)
    except VesaliusError as error:
        return Reading(case, time.perf_counter() - started, failure=Failure(error.code, str(error)))
    except OSError as error:
        words = f"the file could not be read: {error.strerror or type(error).__name__}; check the disk and its permissions"
        return Reading(case, time.perf_counter() - started, failure=Failure("unreadable", words))
    return Reading(case, time.perf_counter() - started, image=image)


def _answer_window(
    predictor: Reader, readings: Sequence[Reading], options: StreamOptions
) -> Iterator[tuple[Prediction, Image | None]]:
    films = [(reading.image, reading.case.name) for reading in readings if reading.image is not None]
    answers = iter(_answer(predictor, films, evidence=options.evidence))
    for reading in readings:
        if reading.failure is None:
            prediction = next(answers)
            yield replace(prediction, seconds=prediction.seconds + reading.seconds), reading.image
        else:
            failed = Prediction(reading.case.name, None, predictor.reference, error=reading.failure, seconds=reading.seconds)
            yield failed, None


def _answer(predictor: Reader, films: Sequence[tuple[Image, str]], *, evidence: bool) -> Sequence[Prediction]:
    try:
        return predictor.predict_batch([image for image, _ in films], [name for _, name in films], evidence=evidence)
    except VesaliusError as error:
        if len(films) > 1:  # one film must not take its batch with it
            return [answer for film in films for answer in _answer(predictor, [film], evidence=evidence)]
        image, name = films[0]
        return [Prediction(name, image.image_id, predictor.reference, error=Failure(error.code, str(error)), seconds=0.0)]
