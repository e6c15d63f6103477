"""The recipe `language`: reports in, an encoder of words out that tells each token from those before it.

Setup, here: which texts, the vocabulary, the encoder.
Fit: the one loop (`vesalius.training.fit`).
Done, here: `model.json`; `vesalius train image-text --init-text RUN` begins with the encoder.

Source: Lu et al. 2023, arXiv:2306.07831 (MI-Zero), section 3.2: L_clm = -sum_t log p(w_t | w_0 ... w_t-1).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vesalius.errors import RunError
from vesalius.models.clip import TEXT_ENCODERS
from vesalius.models.clip_config import TextTower, build_config
from vesalius.models.tokenizer import Tokenizer
from vesalius.training import state
from vesalius.training.data import films_of_step, share_of
from vesalius.training.fit import Plan, Task, fit
from vesalius.training.image_text_run import LANGUAGE, TOKENIZER, load_language_run
from vesalius.training.image_text_start import make_tokenizer
from vesalius.training.language_options import LanguageOptions
from vesalius.training.optimization import average_weights, build_optimizer
from vesalius.training.options import save_toml, to_plain
from vesalius.training.recipe import LEAST, begun_before, launch, refuse_counts, signature
from vesalius.training.report_data import Texts, fingerprint, read_texts, store_texts
from vesalius.training.run import FORMAT, RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning_fabric import Fabric

    from vesalius.types import ProgressCallback

PLACES = frozenset({"store", "out", "texts", "tokenizer"})
SCORE = "log_likelihood"


class LanguageModel(nn.Module):
    """A causal encoder of words under a head that is its own token embedding.

    Source: Lu et al. 2023, section 3.2; the tied head: Press & Wolf 2017, arXiv:1608.05859.
    Checked against: the likelihood written out token by token, and transformers' own head (tests/reference/losses).
    """

    def __init__(self, text: TextTower) -> None:
        super().__init__()
        self.text = TEXT_ENCODERS[text.kind](text)

    def forward(self, tokens: Int[Tensor, "text token"], mask: Int[Tensor, "text token"]) -> Float[Tensor, ""]:
        """Returns the mean negative log-likelihood of every token but the first, in nats; padding does not count."""
        hidden = self.text.hidden(tokens, mask)
        told = mask[:, 1:].bool()
        embedding: Tensor = self.text.network.get_input_embeddings().weight
        return cross_entropy((hidden[:, :-1][told] @ embedding.T).float(), tokens[:, 1:][told])


@dataclass(frozen=True)
class TextBatch:
    """Texts of one part of a step, in one process.

    Attributes:
        tokens: Ids.
        mask: 1 for a token, 0 for padding.
        counts: Tokens that are told from those before them.
    """

    tokens: Int[Tensor, "text token"]
    mask: Int[Tensor, "text token"]
    counts: Float[Tensor, "1"]


@dataclass(frozen=True)
class LanguageSummary:
    """What a run reached.

    Attributes:
        path: Its folder.
        texts: Texts in each split, and tokens of the vocabulary.
        best: The line of `metrics.jsonl` whose weights were kept.
        seconds: Wall time, over all its starts.
        nothing_to_do: The run was finished before it was asked for.
    """

    path: Path
    texts: dict[str, int]
    best: dict[str, Any]
    seconds: float
    nothing_to_do: bool = False


def train_language(options: LanguageOptions, progress: ProgressCallback | None = None) -> LanguageSummary:
    """Trains an encoder of words, or goes on with the run in `options.out`.

    Raises:
        StoreError: The store is missing or unfinished.
        EmptyInput: No word is shared by enough patients, or a file without texts.
        RunError: No texts, the folder holds a run with other settings, or the loss stopped being a number.
    """
    refuse_counts(options, {**LEAST, "accumulate": 1, "context_length": 3})
    if options.batch_size < options.devices * options.nodes * options.accumulate:
        raise RunError(f"--batch-size {options.batch_size} cannot be split over devices x nodes x accumulate")
    train, validation = (gather_texts(options, split) for split in ("train", "validation"))
    folder, read = RunFolder(options.out), fingerprint(train, validation)
    if begun_before(folder, options) and folder.model.is_file():
        return finished(folder, read)
    fabric = launch(options)
    if fabric.is_global_zero and not folder.settings.is_file():
        folder.path.mkdir(parents=True, exist_ok=True)
        (folder.path / TOKENIZER).unlink(missing_ok=True)  # of a start that came to nothing
    tokenizer = make_tokenizer(fabric, folder.path / TOKENIZER, options, None, train)
    if fabric.is_global_zero:
        save_toml(options, folder.settings)
    text = build_config("vit-tiny", options.text, vocabulary=tokenizer.vocabulary, context_length=options.context_length).text
    steps = options.steps if options.steps is not None else max(1, round(options.epochs * len(train) / options.batch_size))
    plan = Plan(
        steps=steps,
        films=options.batch_size,
        epoch_films=len(train),
        parts=options.accumulate,
        evaluations=options.evaluations,
        save_every=options.save_every,
        seed=options.seed,
        signature=signature(options, tokenizer.sha256 + read),
    )
    torch.manual_seed(options.seed)
    network = LanguageModel(text)
    averaged = average_weights(network, steps, options.optimization)
    learner = state.Learner(network, averaged, build_optimizer(network, options.optimization, options.precision))
    task = make_task(fabric, options, tokenizer, train.texts, validation.texts)
    standing = fit(fabric, learner, task, plan, options.optimization, folder, progress)
    counts = {"train": len(train), "validation": len(validation), "vocabulary": tokenizer.vocabulary}
    summary = LanguageSummary(folder.path, counts, state.finite(standing.best), standing.seconds)
    if fabric.is_global_zero:
        describe(folder, options, text, summary, read)
    return summary


def finished(folder: RunFolder, read: str) -> LanguageSummary:
    """Returns what the finished run in this folder reached.

    Raises:
        RunError: It read other texts.
    """
    run = load_language_run(folder.path)
    if run.fingerprint != read:
        raise RunError(f"{folder.path} holds a run on other texts, or they have changed since; use another --out")
    return LanguageSummary(folder.path, run.texts, run.best, run.seconds, nothing_to_do=True)


def gather_texts(options: LanguageOptions, split: Any) -> Texts:
    """Returns the texts of a split: of the store's films, and of the file.

    Raises:
        RunError: Neither has any.
    """
    texts, patients = [], []
    if options.store is not None:
        from vesalius.datasets.store import Store

        store = Store(options.store)
        found = store_texts(store, store.rows(split=split, sites=list(options.sites) or None), options.section)
        once = {text: who for text, who in zip(found.texts, found.patients, strict=True) if text}  # two films, one report
        texts += list(once)
        patients += list(once.values())
    if options.texts is not None:
        more = read_texts(options.texts, split)
        texts += more.texts
        patients += more.patients
    if not texts:
        raise RunError(f"no text for {split}; give --store with reports in that split, or --texts FILE")
    return Texts(tuple(texts), tuple(patients))


def make_task(
    fabric: Fabric, options: LanguageOptions, tokenizer: Tokenizer, train: Sequence[str], validation: Sequence[str]
) -> Task:
    """Returns the three functions, for this process of `fabric`."""

    def encode(texts: Sequence[str]) -> TextBatch:
        encoded = tokenizer.encode(texts, options.context_length, too_long="cut", padding="longest")
        tokens, mask = fabric.to_device((torch.from_numpy(encoded.tokens), torch.from_numpy(encoded.mask)))
        return TextBatch(tokens, mask, mask[:, 1:].sum().float()[None])

    def batch(step: int, part: int) -> TextBatch:
        shares = fabric.world_size * options.accumulate
        cases = films_of_step(step, len(train), options.batch_size, options.seed)
        return encode([train[case] for case in share_of(cases, fabric.global_rank * options.accumulate + part, shares)])

    def evaluate(network: nn.Module) -> dict[str, Any]:
        mine = np.arange(fabric.global_rank, len(validation), fabric.world_size)
        sums = torch.zeros(2, dtype=torch.float64, device=fabric.device)
        for few in np.array_split(mine, -(-len(mine) // options.batch_size) or 1):
            if len(few):
                texts = encode([validation[case] for case in few])
                count = texts.counts[0].double()
                sums += torch.stack([network(texts.tokens, texts.mask).double() * count, count])
        if fabric.world_size > 1:
            sums = fabric.all_reduce(sums, reduce_op="sum")
        loss = float(sums[0] / sums[1])
        return {"validation_loss": loss, SCORE: -loss, "perplexity": math.exp(min(loss, 700.0))}

    return Task(batch, lambda network, texts: network(texts.tokens, texts.mask)[None], evaluate, SCORE)


def describe(folder: RunFolder, options: LanguageOptions, text: TextTower, summary: LanguageSummary, read: str) -> None:
    """Writes `model.json`: with it the run is finished."""
    model = {
        "format": FORMAT,
        "kind": LANGUAGE,
        "text": asdict(text),
        "texts": summary.texts,
        "texts_fingerprint": read,
        "options": {name: value for name, value in to_plain(options).items() if name not in PLACES},
        "best": summary.best,
        "seconds": summary.seconds,
        "versions": {name: version(name) for name in ("vesalius", "torch", "transformers", "tokenizers")},
    }
    state.save_json(folder.model, model)
