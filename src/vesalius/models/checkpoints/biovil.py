"""BioViL: ResNet-50 under a projector of 1 x 1 convolutions, and CXR-BERT under a head of its own.

The two towers are published as two files; pass both, or the folder they lie in. Neither holds a temperature: scores are cosines.

Source: microsoft/hi-ml hi-ml-multimodal (MIT).
Checked against: hi-ml's own classes with the same weights (tests/reference/checkpoints).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vesalius.models.checkpoints import Translated
from vesalius.models.checkpoints.strict import Rule, Sizes, mismatch, name_sources, take_strictly
from vesalius.models.checkpoints.towers import (
    BERT,
    bert_sizes,
    expected_shapes,
    of_text,
    of_vision,
    resnet_sizes,
    torchvision_resnet,
)
from vesalius.models.clip_config import ImageTextConfig, TextTower, VisionTower

SEEN, TEXT, HEAD = "encoder.encoder.", "bert.", "cls_projection_head."
FILES = {"images": (SEEN, "projector."), "words": (TEXT, HEAD)}
"""How the names of either file begin."""

IGNORABLE = (
    f"{SEEN}fc.weight",
    f"{SEEN}fc.bias",
    f"{TEXT}embeddings.position_ids",
    "cls.predictions.bias",
    "cls.predictions.transform.dense.weight",
    "cls.predictions.transform.dense.bias",
    "cls.predictions.transform.LayerNorm.weight",
    "cls.predictions.transform.LayerNorm.bias",
    "cls.predictions.decoder.weight",
    "cls.predictions.decoder.bias",
)
SIZE_PX, CONTEXT = 480, 512


def translate(state: Mapping[str, Tensor], family: str) -> Translated:
    """Returns the configuration and the state in our names.

    Raises:
        CheckpointMismatch: A tensor is missing, of another shape, or has no place; every one is named.
    """
    for which, beginnings in FILES.items():
        if not any(key.startswith(beginnings) for key in state):
            raise mismatch(
                missing=[f"{beginning}*" for beginning in beginnings],
                more=f"BioViL's encoder of {which} is a file of its own: pass both files, or their folder",
            )
    sizes = Sizes(state)
    settings, words = resnet_sizes(sizes, SEEN), bert_sizes(sizes, TEXT)
    hidden = sizes.agree(*[(f"projector.model.{name}", 0) for name in ("0.weight", "1.weight", "1.bias")], published=128)
    names = ("dense_to_hidden.weight", "dense_to_hidden.bias", "LayerNorm.weight")
    shared = [(f"projector.model.3.{name}", 0) for name in ("weight", "bias")]
    shared += [(f"{HEAD}dense_to_output.{name}", 0) for name in ("weight", "bias")]
    config = ImageTextConfig(
        VisionTower("resnet", SIZE_PX, sizes.agree((f"{SEEN}conv1.weight", 1), published=3), settings, "conv-mlp", hidden, "mean"),
        TextTower(
            "bert",
            min(CONTEXT, words["max_position_embeddings"]),
            words,
            "first",
            "mlp-bias-norm",
            sizes.agree(*[(f"{HEAD}{name}", 0) for name in names], published=128),
        ),
        sizes.agree(*shared, published=128),
    )
    expected = expected_shapes(config, sizes)
    mapping = name_sources(expected, _rules(len(settings["depths"])), {"log_scale": 0.0})
    taken, ignored = take_strictly(expected, state, mapping, IGNORABLE, sizes)
    note = "the files hold no temperature: scores are cosines, and the scale is 1"
    return Translated(config, taken, "ResNet and CXR-BERT", ignored, (note,))


def _rules(stages: int) -> list[Rule]:
    return [
        *of_vision(torchvision_resnet(stages), SEEN),
        *of_text(BERT, TEXT),
        Rule(r"vision_projection\.first\.weight", "projector.model.0.weight", "pointwise"),
        Rule(r"vision_projection\.norm\.(\w+)", r"projector.model.1.\1"),
        Rule(r"vision_projection\.second\.weight", "projector.model.3.weight", "pointwise"),
        Rule(r"vision_projection\.second\.bias", "projector.model.3.bias"),
        Rule(r"text_projection\.0\.(weight|bias)", rf"{HEAD}dense_to_hidden.\1"),
        Rule(r"text_projection\.2\.(weight|bias)", rf"{HEAD}LayerNorm.\1"),
        Rule(r"text_projection\.3\.(weight|bias)", rf"{HEAD}dense_to_output.\1"),
    ]
