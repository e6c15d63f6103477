"""MI-Zero: CTransPath (timm's Swin-tiny behind a convolutional stem) and a BERT, aligned on pairs of patch and caption.

A checkpoint `{"state_dict": ...}` with `module.` before every name. Two traps: timm from 0.9 on counts the downsamplings otherwise,
and the authors built PubMedBERT (30,522 words) whatever the configuration said, so that the file called after Bio_ClinicalBERT
very likely has that table, read with the ids of the other's 28,996 words. The table is sized from the tensor; which tokenizer goes
with which file cannot be read from it and is the user's to say.

Sources: mahmoodlab/MI-Zero src/models (facts only; CC BY-NC-ND 4.0).
Checked against: the authors' own classes over their fork of timm with the same weights (tests/reference/checkpoints).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vesalius.models.checkpoints import Translated
from vesalius.models.checkpoints.strict import Rule, Sizes, name_sources, take_strictly
from vesalius.models.checkpoints.towers import BERT, bert_sizes, expected_shapes, of_text, of_vision, swin_sizes, timm_swin
from vesalius.models.clip_config import ImageTextConfig, TextTower, VisionTower

TRUNK, TEXT = "visual.trunk.", "transformer."
IGNORABLE = (
    f"{TRUNK}layers.*.blocks.*.attn_mask",
    f"{TRUNK}layers.*.blocks.*.attn.relative_position_index",
    f"{TEXT}embeddings.position_ids",
)
SIZE_PX, CONTEXT = 224, 64
"""What the authors embed patches at, and cut sentences to."""

PUBMEDBERT = 30522


def translate(state: Mapping[str, Tensor], family: str) -> Translated:
    """Returns the configuration and the state in our names.

    Raises:
        CheckpointMismatch: A tensor is missing, of another shape, or has no place; every one is named.
    """
    sizes = Sizes(state)
    layers = f"{TRUNK}layers."
    stem = f"{TRUNK}patch_embed."
    names = ("proj.6.weight", "proj.6.bias", "norm.weight", "norm.bias")
    dim = sizes.agree(*[(f"{stem}{name}", 0) for name in names], published=96)
    channels = sizes.agree((f"{stem}proj.0.weight", 1), published=3)
    settings = swin_sizes(sizes, layers, "attn.relative_position_bias_table", dim, "mlp.fc1")
    words = bert_sizes(sizes, TEXT)
    config = ImageTextConfig(
        VisionTower("ctranspath", SIZE_PX, channels, settings, "linear-bias", pooling="mean"),
        TextTower("bert", min(CONTEXT, words["max_position_embeddings"]), words, "first", "linear"),
        sizes.agree(("visual.head.proj.weight", 0), ("visual.head.proj.bias", 0), ("text_projection", 1), published=512),
    )
    renumbered = not any(key.startswith(f"{layers}0.downsample.") for key in state)
    rules = [
        *of_vision(timm_swin(len(settings["depths"]), renumbered=renumbered), TRUNK),
        *of_text(BERT, TEXT),
        Rule(r"vision_projection\.(weight|bias)", r"visual.head.proj.\1"),
        Rule("text_projection.weight", "text_projection", "transposed"),
        Rule("log_scale", "logit_scale"),
    ]
    expected = expected_shapes(config, sizes)
    taken, ignored = take_strictly(expected, state, name_sources(expected, rules), IGNORABLE, sizes)
    return Translated(config, taken, "CTransPath and BERT", ignored, _notes(words["vocab_size"]))


def _notes(rows: int) -> tuple[str, ...]:
    if rows != PUBMEDBERT:
        return ()
    return (
        f"the table of words has {rows} rows, PubMedBERT's; the authors' code builds that table for every model, and yet reads "
        "sentences for the one called bioclinicalbert with Bio_ClinicalBERT's 28996 words: pass the tokenizer of the file's name",
    )
