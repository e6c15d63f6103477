"""BiomedCLIP, as open_clip lays it out: timm's ViT-B/16, PubMedBERT, a linear and a two-layer projection.

Sources: mlfoundations/open_clip timm_model.py and hf_model.py; the model's published configuration.
Checked against: open_clip's own class over timm and transformers with the same weights (tests/reference/checkpoints).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vesalius.models.checkpoints import Translated
from vesalius.models.checkpoints.strict import Rule, Sizes, name_sources, take_strictly
from vesalius.models.checkpoints.towers import BERT, TIMM_VIT, bert_sizes, expected_shapes, of_text, of_vision, timm_vit_sizes
from vesalius.models.clip_config import ImageTextConfig, TextTower, VisionTower

TRUNK, TEXT = "visual.trunk.", "text.transformer."
IGNORABLE = (f"{TEXT}embeddings.position_ids",)
RULES = [
    *of_vision(TIMM_VIT, TRUNK),
    *of_text(BERT, TEXT),
    Rule("vision_projection.weight", "visual.head.proj.weight"),
    Rule(r"text_projection\.(0|2)\.weight", r"text.proj.\1.weight"),
    Rule("log_scale", "logit_scale"),
]
CONTEXT = 256


def translate(state: Mapping[str, Tensor], family: str) -> Translated:
    """Returns the configuration and the state in our names.

    Raises:
        CheckpointMismatch: A tensor is missing, of another shape, or has no place; every one is named.
    """
    sizes = Sizes(state)
    settings, size_px, channels = timm_vit_sizes(sizes, TRUNK)
    words = bert_sizes(sizes, TEXT)
    config = ImageTextConfig(
        VisionTower("vit", size_px, channels, settings, "linear", pooling="class"),
        TextTower(
            "bert",
            min(CONTEXT, words["max_position_embeddings"]),
            words,
            "first",
            "mlp",
            sizes.agree(("text.proj.0.weight", 0), ("text.proj.2.weight", 1), published=640),
        ),
        sizes.agree(("visual.head.proj.weight", 0), ("text.proj.2.weight", 0), published=512),
    )
    expected = expected_shapes(config, sizes)
    taken, ignored = take_strictly(expected, state, name_sources(expected, RULES), IGNORABLE, sizes)
    variant = f"ViT, {settings['num_hidden_layers']} layers, patch {settings['patch_size']}, {size_px} px"
    return Translated(config, taken, variant, ignored, ())
