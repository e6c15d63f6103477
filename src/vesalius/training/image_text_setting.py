"""Which films and words a run of images and words learns from, and what is settled before its first step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Int64

from vesalius.datasets.store import Store
from vesalius.errors import RunError
from vesalius.metrics.classification import known_labels
from vesalius.models.clip_config import ImageTextConfig, build_config
from vesalius.models.preprocessing import Preprocessing
from vesalius.models.tokenizer import Tokenizer
from vesalius.training import data
from vesalius.training.image_text_options import ImageTextOptions, Score
from vesalius.training.report_data import (
    LabelledSentences,
    ReportSentences,
    Texts,
    label_sentences,
    labels_of_reports,
    read_texts,
    store_texts,
)

if TYPE_CHECKING:
    from vesalius.models.contracts import Contract
    from vesalius.training.image_text_start import Start


@dataclass(frozen=True)
class Validation:
    """Films that choose the weights.

    Attributes:
        films: All of them.
        pairs: Places of those that have a report.
        reports: Of those, in their order.
        truth: What is known of each finding: 1, 0, NaN.
    """

    films: data.Films
    pairs: Int64[np.ndarray, " pair"]
    reports: ReportSentences
    truth: Float64[np.ndarray, "case finding"]


@dataclass(frozen=True)
class Setting:
    """All that is settled before the first step.

    Attributes:
        config: Of both towers.
        contract: From film to tensor.
        tokenizer: From words to ids.
        train: Films to learn from.
        reports: Of these films (clip); empty ones in medclip where there is none.
        labels: What these films show of each finding: 1, 0, -1, NaN (medclip).
        sentences: Of all reports (medclip).
        validation: Films that choose the weights.
        findings: That validation scores by words, and medclip learns by.
        score: What chooses the weights.
        sites: Sites of the training films.
        fingerprint: Of the store.
        notes: What the user should know.
    """

    config: ImageTextConfig
    contract: Contract
    tokenizer: Tokenizer
    train: data.Films
    reports: ReportSentences
    labels: Float64[np.ndarray, "case finding"]
    sentences: LabelledSentences
    validation: Validation
    findings: tuple[str, ...]
    score: Score
    sites: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Material:
    """Which films and words of a store a run has: all that is settled before processes are started.

    Attributes:
        store: Where they are.
        rows: Training films.
        texts: Their reports.
        labels: What they show: 1, 0, -1, NaN.
        words: All that the vocabulary and labelled sentences are learned from; in medclip also reports of films that were left out,
            and reports without films.
        validation_rows: Films that choose the weights.
        validation_texts: Their reports.
        validation_truth: 1, 0, NaN.
        findings: Of the labels.
        score: What chooses the weights.
        notes: What the user should know.
    """

    store: Store
    rows: Int64[np.ndarray, " case"]
    texts: Texts
    labels: Float64[np.ndarray, "case finding"]
    words: Texts
    validation_rows: Int64[np.ndarray, " validation"]
    validation_texts: Texts
    validation_truth: Float64[np.ndarray, "validation finding"]
    findings: tuple[str, ...]
    score: Score
    notes: tuple[str, ...]


def gather(options: ImageTextOptions) -> Material:
    """Chooses films, reports and findings.

    Raises:
        StoreError, LabelsError, RunError: As `train_image_text`.
    """
    store, medclip = Store(options.store), options.recipe == "medclip"
    findings = data.choose_findings(store, options.findings) if store.findings else tuple(options.findings)
    if medclip and not findings:
        raise RunError("medclip matches films and sentences by findings; the store has no labels: name them with --findings")
    notes: list[str] = []
    rows = frontal_rows(store, "train", options.sites)
    texts = store_texts(store, rows, options.section)
    labels = labels_of_films(store, rows, texts, findings) if medclip else labels_of_store(store, rows, findings)
    kept = np.array([bool(text) for text in texts.texts]) if not medclip else ~np.isnan(labels).all(axis=1)
    if kept.sum() < options.contrasted:
        raise RunError(
            f"{int(kept.sum())} of {len(rows)} training films have a {'label or a report with one' if medclip else 'report'}; "
            f"a step needs {options.contrasted}: ingest more films (labels CSV, column `report`), or lower --batch-size"
        )
    if not kept.all():
        notes.append(f"{int((~kept).sum())} training films without {'any label' if medclip else 'a report'} were left out")
    own = pick(texts, kept)
    words = own
    if medclip:  # a report teaches whether or not its film does
        more = read_texts(options.texts, "train") if options.texts else Texts((), ())
        words = Texts(texts.texts + more.texts, texts.patients + more.patients)
    validation_rows = frontal_rows(store, "validation", options.sites)
    truth = known_labels(labels_of_store(store, validation_rows, findings))
    validation_texts = store_texts(store, validation_rows, options.section)
    return Material(
        store,
        rows[kept],
        own,
        labels[kept],
        words,
        validation_rows,
        validation_texts,
        truth,
        findings,
        choose_score(options.score, truth, validation_texts),
        tuple(notes),
    )


def pick(texts: Texts, kept: Bool[np.ndarray, " text"]) -> Texts:
    """Returns the texts that are kept."""
    places = np.flatnonzero(kept)
    return Texts(tuple(texts.texts[place] for place in places), tuple(texts.patients[place] for place in places))


def frontal_rows(store: Store, split: str, sites: tuple[str, ...]) -> Int64[np.ndarray, " case"]:
    """Returns the frontal films of a split and of these sites.

    Raises:
        RunError: A site that the store does not know, or no film is left.
    """
    known = sorted(store.manifest["site"].dropna().unique())
    strange = [site for site in sites if site not in known]
    if strange:
        raise RunError(f"the store has no site {', '.join(strange)}; it has: {', '.join(known) or 'none named'}")
    rows = store.rows(split=split, sites=list(sites) or None)
    frontal: Int64[np.ndarray, " case"] = rows[(store.manifest["view_position"] != "LATERAL").to_numpy(dtype=bool)[rows]]
    if not len(frontal):
        where = f" of site {', '.join(sites)}" if sites else ""
        raise RunError(
            f"no frontal film{where} is in split {split!r} of {store.path}; see the `split` column, or ingest more patients"
        )
    return frontal


def labels_of_films(
    store: Store, rows: Int64[np.ndarray, " case"], texts: Texts, findings: tuple[str, ...]
) -> Float64[np.ndarray, "case finding"]:
    """Returns the films' labels; those of a film without any are read from its report."""
    labels = labels_of_store(store, rows, findings)
    silent = np.flatnonzero(np.isnan(labels).all(axis=1)) if findings else np.zeros(0, dtype=np.int64)
    if len(silent):
        labels[silent] = labels_of_reports([texts.texts[case] for case in silent], findings)
    return labels


def labels_of_store(
    store: Store, rows: Int64[np.ndarray, " case"], findings: tuple[str, ...]
) -> Float64[np.ndarray, "case finding"]:
    """Returns the labels of some films; all NaN where the store has none of any finding."""
    every: Float64[np.ndarray, "case finding"] = np.full((len(store), len(findings)), np.nan)
    every = store.labels(findings) if store.findings else every
    labels: Float64[np.ndarray, "case finding"] = every[rows]
    return labels


def choose_score(wanted: Score, truth: Float64[np.ndarray, "case finding"], texts: Texts) -> Score:
    """Returns what chooses the weights.

    Raises:
        RunError: The validation films cannot give it.
    """
    scorable = bool(((truth == 1).any(axis=0) & (truth == 0).any(axis=0)).any())
    pairs = sum(map(bool, texts.texts))
    chosen: Score = wanted if wanted != "auto" else "zero-shot" if scorable else "retrieval"
    if (chosen == "zero-shot" and not scorable) or (chosen != "zero-shot" and pairs < 2):
        raise RunError(
            f"of {len(texts)} validation films {pairs} have a report, and {'a' if scorable else 'no'} finding is both present and "
            f"absent; the score {chosen} cannot be had: put more patients into the split `validation`, or take another --score"
        )
    return chosen


def settle(options: ImageTextOptions, material: Material, start: Start, tokenizer: Tokenizer) -> Setting:
    """Settles towers, contract and sentences, now that the words are known."""
    store = material.store
    config = start.config or build_config(
        options.vision,
        options.text,
        size_px=options.size_px,
        vocabulary=tokenizer.vocabulary,
        context_length=options.context_length,
        embedding_dim=options.embedding_dim,
    )
    config = replace(config, text=start.text) if start.text else config
    contract = start.contract_for(store.size_px)
    side = contract.size_px if isinstance(contract, Preprocessing) else store.size_px if contract else options.size_px
    films = data.Films(store, material.rows, side, options.cache_gb)
    if contract is None:
        mean, std = films.mean_and_spread()
        contract = Preprocessing(store.size_px, options.size_px, config.vision.channels, mean, std)
    pairs = np.flatnonzero([bool(text) for text in material.validation_texts.texts])
    labelled = bool((~np.isnan(material.validation_truth)).any())
    medclip = options.recipe == "medclip"
    cut = () if medclip else cut_notes(material.texts, tokenizer, config.text.context_length)  # medclip shows single sentences
    nothing = LabelledSentences((), np.zeros((0, len(material.findings))), np.zeros(0))
    return Setting(
        config=config,
        contract=contract,
        tokenizer=tokenizer,
        train=films,
        reports=ReportSentences(material.texts),
        labels=material.labels,
        sentences=label_sentences(material.words.texts, material.findings, names=options.names) if medclip else nothing,
        validation=Validation(
            films=data.Films(store, material.validation_rows, side, options.cache_gb),
            pairs=pairs,
            reports=ReportSentences(Texts(tuple(material.validation_texts.texts[case] for case in pairs), ("",) * len(pairs))),
            truth=material.validation_truth,
        ),
        findings=material.findings if medclip or labelled else (),
        score=material.score,
        sites=tuple(sorted(store.manifest["site"].iloc[material.rows].dropna().unique())),
        fingerprint=store.fingerprint,
        notes=(*material.notes, *start.notes, *cut),
    )


def cut_notes(texts: Texts, tokenizer: Tokenizer, context_length: int, most: int = 2000) -> tuple[str, ...]:
    """Says how many of the reports (of at most so many, evenly taken) do not fit into the context; nothing where all do."""
    told = [text for text in texts.texts if text]
    few = [told[place] for place in np.unique(np.linspace(0, len(told) - 1, min(most, len(told))).round().astype(int))]
    if not few:
        return ()
    share = float((tokenizer.encode(few, context_length + 1, too_long="cut").mask.sum(axis=1) > context_length).mean())
    words = (
        f"{share:.0%} of the reports are longer than {context_length} tokens: what is shown of one is cut there (--context-length)"
    )
    return (words,) if share > 0 else ()
