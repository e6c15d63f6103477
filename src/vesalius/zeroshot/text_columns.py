"""From prompt sets to the columns that patches are multiplied by: each sentence is embedded once, however many sets it is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vesalius.errors import EmptyInput, PromptsError
from vesalius.zeroshot.heads import Average, Encode, build_head, embed_texts, texts_of
from vesalius.zeroshot.slide_scores import TextColumns

if TYPE_CHECKING:
    from vesalius.models.clip import ImageTextModel
    from vesalius.zeroshot.prompts import PromptSet


def text_columns(
    models: Sequence[ImageTextModel], encode: Encode, prompt_sets: Sequence[PromptSet], *, average: Average = "embeddings"
) -> TextColumns:
    """Returns one column a finding and prompt set: of a pair the difference of its texts, of a class its text.

    Args:
        models: Checkpoints; each embeds every sentence once.
        encode: From sentences to ids: `ImageTextBundle.encode`.
        prompt_sets: Of the same findings in the same order.
        average: Over the sentences of a finding.

    Raises:
        EmptyInput: No prompt set, or no model.
        PromptsError: Sets of different findings.
        TextTooLong: A sentence of more tokens than the text tower reads.
    """
    if not prompt_sets or not models:
        raise EmptyInput("no prompt set or no model; give at least one of each")
    names = prompt_sets[0].findings
    if any(one.findings != names for one in prompt_sets):
        raise PromptsError("prompt sets of different findings; every set must name the same ones in the same order")
    tables = [embed_texts(model, encode, texts_of(prompt_sets)) for model in models]
    heads = [np.stack([build_head(table, one, average=average).difference for table in tables]) for one in prompt_sets]
    return TextColumns.stack(heads, names)
