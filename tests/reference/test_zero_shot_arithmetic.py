"""CheXzero's score by hand: template, encode, unit length, mean, unit length, cosine, softmax of the pair, mean of checkpoints.

The numbers of the first test are worked out on paper with the triples 3-4-5 and 5-12-13:

    for the finding      (3, 4) / 5 and (5, 12) / 13    mean (64, 112) / 130     unit (4, 7) / sqrt(65)
    against the finding  (4, 3) / 5 and (12, 5) / 13    mean (112, 64) / 130     unit (7, 4) / sqrt(65)
    image                (1, 2) / sqrt(5)               cosines 18 / sqrt(325) and 15 / sqrt(325)

Source of the order: the published zero_shot.py of CheXzero at commit 5c341db (MIT), described, not copied.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.bundles import make_film
from tests.image_text import CONTRACT, make_config, make_model, make_tokenizer
from vesalius.inference.zero_shot import ZeroShotInference
from vesalius.zeroshot.heads import Cosines, TextTable, build_head, contrast, cosines, paired_score, text_weights
from vesalius.zeroshot.prompts import Prompt, PromptSet, Template

ROOT = math.sqrt(325)


def unit(*numbers: float) -> np.ndarray:
    return np.float32(np.array(numbers) / np.linalg.norm(numbers))


def test_the_authors_order_on_paper() -> None:
    asked = PromptSet("paper", "pair", (Prompt("F", ("F",)),), (Template("{}", "no {}"), Template("seen: {}", "not seen: {}")))
    table = TextTable({"F": unit(3, 4), "seen: F": unit(5, 12), "no F": unit(4, 3), "not seen: F": unit(12, 5)})
    head = build_head(table, asked, average="embeddings")
    np.testing.assert_allclose(head.positive, [[4 / math.sqrt(65), 7 / math.sqrt(65)]], atol=1e-7)
    image = unit(1, 2)[None]
    answer = cosines(image, head)
    np.testing.assert_allclose(answer.positive, [[18 / ROOT]], atol=1e-7)
    assert answer.negative is not None
    np.testing.assert_allclose(answer.negative, [[15 / ROOT]], atol=1e-7)
    assert contrast(image, head)[0, 0] == pytest.approx(3 / ROOT, abs=1e-7)
    assert paired_score([answer])[0, 0] == pytest.approx(0.5415067, abs=1e-6), "exp(18 / r) / (exp(18 / r) + exp(15 / r))"


def test_the_mean_of_logits_on_paper() -> None:
    asked = PromptSet("paper", "pair", (Prompt("F", ("F",)),), (Template("{}", "no {}"), Template("seen: {}", "not seen: {}")))
    table = TextTable({"F": unit(3, 4), "seen: F": unit(5, 12), "no F": unit(4, 3), "not seen: F": unit(12, 5)})
    got = contrast(unit(1, 2)[None], build_head(table, asked, average="logits"))[0, 0]
    # cosines 11/5, 29/13 for it and 10/5, 22/13 against it, each over sqrt(5)
    assert got == pytest.approx(((11 / 5 + 29 / 13) - (10 / 5 + 22 / 13)) / 2 / math.sqrt(5), abs=1e-7)


def test_checkpoints_are_averaged_after_the_softmax() -> None:
    far, near = Cosines(np.array([[0.9]]), np.array([[-0.9]])), Cosines(np.array([[0.1]]), np.array([[0.0]]))
    expected = (1 / (1 + math.exp(-1.8)) + 1 / (1 + math.exp(-0.1))) / 2
    assert paired_score([far, near])[0, 0] == pytest.approx(expected)
    assert abs(expected - 1 / (1 + math.exp(-0.95))) > 0.01, "the softmax of the mean is another number"


@pytest.mark.parametrize("members", [1, 3])
def test_batches_and_one_pass_give_what_the_authors_procedure_gives(members: int) -> None:
    """Batch 1, every film encoded once for the positive and again for the negative prompt, each sentence alone at full context."""
    tokenizer = make_tokenizer()
    models = [make_model(make_config(tokenizer), seed) for seed in range(members)]
    findings = ["heart", "effusion", "nodule"]
    films = [make_film(seed) for seed in range(5)]
    tensors = torch.from_numpy(CONTRACT.apply(films))
    theirs = []
    with torch.inference_mode():
        for model in models:
            halves = []
            for template in ("{}", "no {}"):
                columns = []
                for finding in findings:
                    tokens, mask = tokenizer.encode([template.format(finding)], 16)
                    row = model.embed_texts(torch.from_numpy(tokens), torch.from_numpy(mask))
                    row = row / row.norm(dim=-1, keepdim=True)
                    mean = row.mean(dim=0)
                    columns.append(mean / mean.norm())
                rows = []
                for tensor in tensors:
                    seen = model.embed_images(tensor[None])
                    rows.append((seen / seen.norm(dim=-1, keepdim=True)) @ torch.stack(columns, dim=1))
                halves.append(torch.cat(rows))
            theirs.append((halves[0].exp() / (halves[0].exp() + halves[1].exp())).numpy())
    asked = PromptSet("authors", "pair", tuple(Prompt(name, (name,)) for name in findings))
    heads = [text_weights(model, lambda texts: tokenizer.encode(texts, 16), asked) for model in models]
    inference = ZeroShotInference(models, CONTRACT, heads, device="cpu")
    ours = paired_score(inference.cosines(inference.embedder.embed(films)))
    np.testing.assert_allclose(ours, np.mean(theirs, axis=0), atol=1e-5)
    assert np.ptp(ours, axis=0).min() > 1e-5, "films differ, so equal scores say something"
