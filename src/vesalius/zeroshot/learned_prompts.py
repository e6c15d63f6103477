"""MedPrompt: a prompt that is learned from class labels and adapts itself to the image, before frozen towers.

    prompt of a class:   [start] v1 + m ... vM + m   n1 + c ... nK + c  [end]

    v   context vectors, shared by all classes, learned; they begin as the token embeddings of given words, or at random
    m   what a small network (the meta-network) makes of the image; one vector, added to every context vector
    n   token embeddings of the class's name, as the text tower has them
    c   a learned vector of the class

The sequence passes the frozen text tower like any sentence. Everything learned is a difference that begins at 0 (weight decay pulls
it back there), so before the first step the generator says exactly the hand-written prompt "words + name": that is its zero shot.

Source: Zheng 2024, arXiv:2402.03783 (MedPrompt), of which no code is public. This is our reading of its published summary: context
vectors, a class vector guided by class labels alone, a meta-network of image features. docs/learned-prompts.md lists every choice
that the summary leaves open. The meta-network (linear, ReLU, linear) is that of Zhou 2022, arXiv:2203.05557 (CoCoOp); context
vectors: Zhou 2022, arXiv:2109.01134 (CoOp).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vesalius.errors import BundleError, TextTooLong, ValueOutOfRange
from vesalius.zeroshot.prompts import PromptKind, PromptSet

if TYPE_CHECKING:
    from vesalius.models.clip import ImageTextModel
    from vesalius.zeroshot.heads import Encode

Reads = Literal["embedding", "features"]
"""What of an image the meta-network sees: its unit vector in the shared space, as in CoCoOp, or the pooled features before it."""

RANDOM_SPREAD = 0.02
"""Standard deviation of context vectors that begin at random, as in CoOp."""


@dataclass(frozen=True)
class PromptDesign:
    """What a prompt generator is made of, as plain data: a bundle keeps it.

    Attributes:
        kind: Pairs or classes.
        findings: Names in the answer, in the order of the logits.
        positive: Words of each finding in its prompt.
        negative: Words of its denial; empty for `classes`.
        context: Words that the context vectors begin as; empty for a random start.
        context_tokens: Context vectors of a random start; with `context`, as many as its words have tokens.
        hidden: Width of the meta-network; 0: none, and the prompt is the same for every image (CoOp).
        reads: What the meta-network sees.
        bias: Has the meta-network biases?
        class_vectors: Has each class a learned vector?
    """

    kind: PromptKind
    findings: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...] = ()
    context: str = ""
    context_tokens: int = 4
    hidden: int = 16
    reads: Reads = "embedding"
    bias: bool = True
    class_vectors: bool = True

    def __post_init__(self) -> None:
        expected = (len(self.findings), len(self.findings) if self.kind == "pair" else 0)
        if not self.findings or (len(self.positive), len(self.negative)) != expected:
            raise ValueOutOfRange(
                f"{len(self.findings)} findings with {len(self.positive)} prompts and {len(self.negative)} denials; "
                "expected one of each a finding, and no denials for classes"
            )
        if self.kind == "classes" and len(self.findings) < 2:
            raise ValueOutOfRange("one class alone cannot be told from anything; name at least 2, or use pairs")
        if self.hidden < 0 or self.context_tokens < 0 or (not self.context and not self.context_tokens and not self.class_vectors):
            raise ValueOutOfRange(f"context_tokens {self.context_tokens} and hidden {self.hidden}; expected something to learn")

    @property
    def words(self) -> tuple[str, ...]:
        """Words of every prompt: those of all findings, then those of all denials."""
        return self.positive + self.negative

    def to_json(self) -> dict[str, Any]:
        """Returns a plain dict."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PromptDesign:
        """Reads what `to_json` returned.

        Raises:
            BundleError: A field is unknown or missing; the bundle or run was made by another version.
        """
        try:
            held: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}
            return cls(**held)
        except TypeError as error:
            raise BundleError(f"this prompt generator cannot be read ({error}); was it made by another version?") from error


def design_for(prompt_set: PromptSet, **settings: Any) -> PromptDesign:
    """Returns a design in the words of a prompt set: of each finding the first sentence for it, and the first against it.

    Args:
        prompt_set: `prompts_for` asks by name alone; "No Finding" is then a normal film against an abnormal one.
        settings: Fields of `PromptDesign`.
    """
    texts = prompt_set.texts().values()
    positive = tuple(words.positive[0] for words in texts)
    negative = tuple(words.negative[0] for words in texts) if prompt_set.kind == "pair" else ()
    return PromptDesign(prompt_set.kind, prompt_set.findings, positive, negative, **settings)


class Prompts(NamedTuple):
    """Prompts as a text tower takes them; one row that fits all images where there is no meta-network."""

    embeddings: Float[Tensor, "case prompt token width"]
    mask: Int[Tensor, "prompt token"]


class Layout(NamedTuple):
    """Where everything stands before training.

    Attributes:
        start: What the context vectors begin as.
        words: Embeddings of start token, name, end token and padding; the context goes in behind the first.
        named: 1 where a token is of the name.
        mask: For the text tower, the context with it.
    """

    start: Float[Tensor, "context width"]
    words: Float[Tensor, "prompt token width"]
    named: Float[Tensor, "prompt token"]
    mask: Int[Tensor, "prompt whole"]


class PromptGenerator(nn.Module):
    """From an image to the token embeddings of every class's prompt; all that is learned is here.

    The frozen model is read once, for the embeddings of the words (`prompt_generator`), and not kept: every parameter is the
    generator's own.

    Args:
        design: What it is made of.
        layout: Of its words, from `lay_out`.
        seen: How many numbers of an image the meta-network reads.

    Attributes:
        context: Learned difference of the context vectors from their start.
        classes: Learned vector of each prompt; None without.
        meta: The meta-network; None without.

    Source: Zheng 2024, arXiv:2402.03783; meta-network as Zhou 2022, arXiv:2203.05557, section 3.2.
    Checked against: the hand-written prompt before training, and each part written out (tests/unit/zeroshot).
    """

    start: Tensor
    words: Tensor
    named: Tensor
    mask: Tensor

    def __init__(self, design: PromptDesign, layout: Layout, seen: int) -> None:
        super().__init__()
        self.design = design
        for name, tensor in layout._asdict().items():
            self.register_buffer(name, tensor.clone())
        width = layout.words.shape[-1]
        self.context = nn.Parameter(torch.zeros(len(layout.start), width))
        self.classes = nn.Parameter(torch.zeros(len(design.words), width)) if design.class_vectors else None
        self.meta = build_meta(design, seen, width) if design.hidden else None

    def forward(self, images: Float[Tensor, "case dim"], features: Float[Tensor, "case seen"]) -> Prompts:
        """Returns every prompt for each image.

        Args:
            images: Unit vectors of the images.
            features: Pooled features of the vision tower.
        """
        context = (self.start + self.context)[None]
        if self.meta is not None:
            context = context + self.meta(images if self.design.reads == "embedding" else features)[:, None]
        names = self.words if self.classes is None else self.words + self.named[..., None] * self.classes[:, None]
        contexts = context[:, None].expand(-1, len(names), -1, -1)
        names = names[None].expand(len(context), -1, -1, -1)
        return Prompts(torch.cat([names[:, :, :1], contexts, names[:, :, 1:]], dim=2), self.mask)


def prompt_generator(design: PromptDesign, model: ImageTextModel, encode: Encode, seed: int = 0) -> PromptGenerator:
    """Returns a generator over these towers, before training.

    Args:
        design: What it is made of.
        model: The frozen towers.
        encode: From sentences to ids: `ImageTextBundle.encode`.
        seed: Of everything that begins at random.

    Raises:
        TextTooLong: Context and name together are longer than the text tower reads.
    """
    layout = lay_out(design, model, encode, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PromptGenerator(design, layout, image_width(model, design.reads))


def restore_generator(design: PromptDesign, state: Mapping[str, Tensor]) -> PromptGenerator:
    """Returns a generator of its design and its `state_dict`; neither towers nor tokenizer are needed.

    Raises:
        BundleError: They do not belong together.
    """
    try:
        layout = Layout(**{name: state[name] for name in Layout._fields})
        seen = state["meta.0.weight"].shape[1] if design.hidden else 1
        generator = PromptGenerator(design, layout, seen)
        generator.load_state_dict(dict(state))
    except (KeyError, RuntimeError) as error:
        raise BundleError("the learned prompts do not fit their design; train them again") from error
    return generator.eval().requires_grad_(False)


def build_meta(design: PromptDesign, seen: int, width: int) -> nn.Sequential:
    """Returns the meta-network: linear, ReLU, linear; its last layer begins at 0."""
    last = nn.Linear(design.hidden, width, bias=design.bias)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return nn.Sequential(nn.Linear(seen, design.hidden, bias=design.bias), nn.ReLU(), last)


def image_width(model: ImageTextModel, reads: Reads) -> int:
    """Returns how many numbers of an image the meta-network sees."""
    return int(model.config.embedding_dim if reads == "embedding" else model.vision.dim)


def lay_out(design: PromptDesign, model: ImageTextModel, encode: Encode, seed: int = 0) -> Layout:
    """Returns where everything of the prompts stands: the words' embeddings, looked up once.

    Raises:
        TextTooLong: Context and name together are longer than the text tower reads.
        ValueOutOfRange: The tokenizer joins context and name.
    """
    sentences = [f"{design.context} {words}".strip() for words in design.words]
    tokens, mask = (torch.from_numpy(np.ascontiguousarray(array)) for array in encode(sentences))
    context = int(encode([design.context]).mask.sum()) - 2 if design.context else 0
    longest = int(mask.sum(dim=1).max())
    tokens, mask = tokens[:, :longest], mask[:, :longest]
    if bool((tokens[:, 1 : 1 + context] != tokens[:1, 1 : 1 + context]).any()):
        raise ValueOutOfRange("the tokenizer joins the context's last word to the names; end the context with another word")
    with torch.no_grad():
        embeddings = model.embed_tokens(tokens.to(model.log_scale.device)).float().cpu()
    words = torch.cat([embeddings[:, :1], embeddings[:, 1 + context :]], dim=1)
    ends = mask.sum(dim=1, keepdim=True) - context - 1
    places = torch.arange(words.shape[1])[None]
    start = embeddings[0, 1 : 1 + context]
    if not design.context:
        random = torch.Generator().manual_seed(seed)
        start = torch.randn(design.context_tokens, words.shape[-1], generator=random) * RANDOM_SPREAD
        mask = torch.cat([mask[:, :1], mask.new_ones(len(mask), design.context_tokens), mask[:, 1:]], dim=1)
    room = model.config.text.context_length
    if mask.shape[1] > room:
        raise TextTooLong(f"context and name take {mask.shape[1]} tokens where {room} fit; use fewer context tokens")
    return Layout(start, words, ((places > 0) & (places < ends)).float(), mask)


def embed_prompts(model: ImageTextModel, prompts: Prompts) -> Float[Tensor, "case prompt dim"]:
    """Returns the unit vector of every prompt for each image, through the text tower; a gradient passes.

    As in `heads.embed_texts` each prompt is read at its own length, without padding.
    """
    embeddings, mask = prompts.embeddings.to(model.log_scale.dtype), prompts.mask
    cases, count, _, width = embeddings.shape
    lengths = mask.sum(dim=1)
    texts = embeddings.new_empty(cases, count, model.config.embedding_dim, dtype=torch.float32)
    for length in sorted(set(lengths.tolist())):
        alike = torch.nonzero(lengths == length)[:, 0]
        sentences = embeddings[:, alike, :length].reshape(-1, length, width)
        vectors = model.embed_texts(sentences, mask.new_ones(len(sentences), length))
        texts = texts.index_copy(1, alike, vectors.reshape(cases, len(alike), -1))
    return texts


def contrast(
    kind: PromptKind, images: Float[Tensor, "case dim"], texts: Float[Tensor, "case prompt dim"]
) -> Float[Tensor, "case finding"]:
    """Returns raw contrasts: cosine with a finding's prompt minus cosine with its denial, or the cosine with each class."""
    cosines = torch.einsum("cd,cpd->cp", images, texts.expand(len(images), -1, -1))
    count = cosines.shape[1] // 2
    return cosines[:, :count] - cosines[:, count:] if kind == "pair" else cosines


def freeze(model: ImageTextModel) -> ImageTextModel:
    """Returns the model as a generator needs it: no weight learns, no dropout."""
    return model.eval().requires_grad_(requires_grad=False)
