"""A slide to try things on, and a model that knows four words of it: everything painted by numbers, nothing downloaded.

    python examples/simulated_tissue.py --out tissue [--steps 60] [--slides 60]

Paints squares of four kinds of tissue (nuclei close together, pink fibres, dark lamellae, empty glass) in varying stain, trains a
small patch-text model on them with sentences, and writes

    tissue/bundle          the model, for `vesalius features` and `vesalius zeroshot`
    tissue/slide.tif       a slide put together of the same four kinds
    tissue/prompts.yaml    their names, with synonyms and templates

and with `--slides N`, to calibrate on and to measure by,

    tissue/slides/         N small slides, each mostly of one kind, with labels.csv; and one more in another stain
    tissue/classes.yaml    the three kinds that a slide can be of

It is a toy: it tells textures apart and knows no pathology.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from scipy import ndimage

from vesalius.bundle.image_text import save_image_text
from vesalius.losses.semantic_matching import semantic_matching_loss
from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import ImageTextConfig, TextTower, VisionTower
from vesalius.models.contracts import FamilyContract, TextRule
from vesalius.models.tokenizer import Tokenizer

PATCH_PX, MPP = 64, 1.0
CONTEXT = 16
CONTRACT = FamilyContract(
    "vesalius", PATCH_PX, "shortest", PATCH_PX, "bilinear", PATCH_PX, mean=(0.7,) * 3, std=(0.2,) * 3, text=TextRule(CONTEXT)
)
KINDS = {
    "epithelium": ("epithelium", "epidermis", "crowded nuclei"),
    "collagen": ("collagen", "connective tissue", "pink fibres"),
    "keratin": ("keratin", "horn", "dark lamellae"),
    "glass": ("empty glass", "no tissue", "white background"),
}
CLASSES = tuple(kind for kind in KINDS if kind != "glass")
SENTENCES = ("{}", "this is {}", "a field of {}", "{} under the microscope", "the patch shows {}")
TEMPLATES = ("{}", "{} in H&E stain", "a patch of {}", "microscopy of {}")


def paint(kind: str, side: int, random: np.random.Generator) -> np.ndarray:
    """A square of one kind at one micrometre per pixel, in [0, 255]; stain and size of things vary."""
    glass = np.array([242, 241, 243]) + random.normal(0, 2, 3)
    tint = random.normal(0, 9, 3)
    wave = ndimage.gaussian_filter(random.normal(size=(side, side)), random.uniform(2, 5))
    wave /= wave.std()
    if kind == "epithelium":
        picture = np.full((side, side, 3), np.array([178, 116, 168]) + tint) + 8 * wave[..., None]
        picture = _with_nuclei(picture, random, count=side * side // 90)
    elif kind == "collagen":
        angle = random.uniform(0, np.pi)
        y, x = np.mgrid[:side, :side]
        phase = (x * np.cos(angle) + y * np.sin(angle)) / random.uniform(1.6, 3) + 1.5 * wave
        fibre = (np.sin(phase) > random.uniform(-0.7, 0.0))[..., None]
        picture = np.where(fibre, np.array([216, 134, 172]) + tint, glass)
        picture = _with_nuclei(picture, random, count=side * side // 900)
    elif kind == "keratin":
        angle = random.uniform(0, np.pi)
        y, x = np.mgrid[:side, :side]
        phase = (x * np.cos(angle) + y * np.sin(angle)) / random.uniform(1.2, 2.4) + 2 * wave
        share = np.clip(0.75 + 0.4 * np.sin(phase), 0, 1)[..., None]
        picture = share * (np.array([112, 44, 88]) + tint) + (1 - share) * (np.array([190, 120, 150]) + tint)
    else:
        picture = np.full((side, side, 3), glass)
    blurred = ndimage.gaussian_filter(picture, (0.6, 0.6, 0))
    return np.clip(blurred + random.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def _with_nuclei(picture: np.ndarray, random: np.random.Generator, *, count: int) -> np.ndarray:
    """Dark ellipses of 5 to 9 micrometres."""
    side = len(picture)
    y, x = np.mgrid[:side, :side]
    colour = np.array([84, 52, 122]) + random.normal(0, 8, 3)
    for _ in range(count):
        row, column = random.uniform(0, side, 2)
        wide, high = random.uniform(2.2, 4.4, 2)
        inside = ((x - column) / wide) ** 2 + ((y - row) / high) ** 2 < 1
        picture[inside] = colour
    return picture


def write_slide(path: Path, random: np.random.Generator, *, across: int = 24, down: int = 18) -> None:
    """A slide of two levels: epithelium over collagen, with a stripe of keratin, glass about it."""
    import tifffile

    half = PATCH_PX // 2
    picture = np.concatenate([np.concatenate([paint("glass", half, random) for _ in range(across)], axis=1) for _ in range(down)])
    for row in range(2, down - 2):
        for column in range(3, across - 3):
            kind = "keratin" if row < 4 else "epithelium" if row < 9 else "collagen"
            picture[row * half : (row + 1) * half, column * half : (column + 1) * half] = paint(kind, half, random)
    with tifffile.TiffWriter(path) as file:
        for level, pixels in enumerate(
            (picture, picture[: len(picture) // 4 * 4].reshape(len(picture) // 4, 4, -1, 4, 3).mean((1, 3)))
        ):
            scale = (1e4 / (MPP * 4**level),) * 2
            file.write(
                pixels.astype(np.uint8),
                tile=(128, 128),
                photometric="rgb",
                subfiletype=min(level, 1),
                resolution=scale,
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def paint_small_slide(kind: str, random: np.random.Generator, *, share: float, side: int = PATCH_PX) -> np.ndarray:
    """Four by three squares of tissue with glass about them; so much of it is of this kind, and the rest of the others."""
    across, down = 6, 5
    others = [name for name in CLASSES if name != kind]
    rows = []
    for row in range(down):
        inside = [0 < row < down - 1 and 0 < column < across - 1 for column in range(across)]
        names = [(kind if random.random() < share else str(random.choice(others))) if one else "glass" for one in inside]
        rows.append(np.concatenate([paint(name, side, random) for name in names], axis=1))
    return np.concatenate(rows)


def restain(picture: np.ndarray) -> np.ndarray:
    """The same slide in another stain: what was pink is brown."""
    return picture[..., [0, 2, 1]]


def write_cohort(folder: Path, count: int, random: np.random.Generator) -> None:
    """Small slides of the three kinds with their labels; every other patient has two, and two thirds are for calibration."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["file,patient_id,split,class"]
    for number in range(count):
        kind, patient = CLASSES[number % 3], number // 3 * 2 // 3 * 3 + number % 3
        picture = paint_small_slide(kind, random, share=random.uniform(0.3, 1.0))
        write_tiff(folder / f"{number:03d}.tif", picture)
        lines.append(f"{number:03d}.tif,P{patient:03d},{'test' if patient % 9 > 5 else 'calibration'},{kind}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    write_tiff(folder / "other-stain.tif", restain(paint_small_slide("collagen", random, share=0.9)))


def write_tiff(path: Path, picture: np.ndarray, mpp: float = MPP) -> None:
    """A tiled TIFF of one level that says its scale."""
    import tifffile

    scale = (1e4 / mpp,) * 2
    tifffile.imwrite(
        path, picture, tile=(128, 128), photometric="rgb", resolution=scale, resolutionunit="CENTIMETER", metadata=None
    )


def train(steps: int, random: np.random.Generator) -> tuple[ImageTextModel, Tokenizer]:
    """Contrast of painted squares and sentences; squares of one kind are no negatives of each other."""
    said = [[sentence.format(name) for sentence in SENTENCES for name in names] for names in KINDS.values()]
    every = [text for texts in said for text in texts] + [one.format("") for one in TEMPLATES]
    tokenizer = Tokenizer.train(every * 3, kind="bert", vocabulary=300)
    words = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 128}
    vision = VisionTower("film", PATCH_PX, 3, {"encoder": "resnet-small"}, pooling="mean")
    text = TextTower("bert", CONTEXT, {**words, "vocab_size": tokenizer.vocabulary}, "mean")
    torch.manual_seed(0)
    model = ImageTextModel(ImageTextConfig(vision, text, 64)).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    numbers = np.repeat(np.arange(len(KINDS)), 6)
    same = torch.from_numpy(numbers[:, None] == numbers[None]).float() / 6
    for _ in range(steps):
        patches = np.stack([paint(list(KINDS)[number], PATCH_PX, random) for number in numbers])
        tokens, mask = tokenizer.encode([str(random.choice(said[number])) for number in numbers], CONTEXT)
        output = model(torch.from_numpy(CONTRACT.apply_rgb(patches)), torch.from_numpy(tokens), torch.from_numpy(mask))
        loss = semantic_matching_loss(output.images, output.texts, output.scale, (same, same.T))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print(f"loss {float(loss.detach()):.2f} after {steps} steps; {np.log(6):.2f} is the least there can be")
    return model.eval(), tokenizer


def write_prompts(path: Path, kinds: tuple[str, ...]) -> None:
    """The names of some kinds, with synonyms and templates."""
    classes = "".join(f"  - name: {name}\n    synonyms: [{', '.join(KINDS[name])}]\n" for name in kinds)
    templates = "".join(f'  - "{template}"\n' for template in TEMPLATES)
    path.write_text(f"name: painted tissue\nkind: classes\ntemplates:\n{templates}findings:\n{classes}")


def main() -> None:
    """Paints, trains and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder to be made")
    parser.add_argument("--steps", type=int, default=60, help="training steps, of 24 squares")
    parser.add_argument("--slides", type=int, default=0, help="small labelled slides to calibrate on")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    options.out.mkdir(parents=True, exist_ok=True)
    write_slide(options.out / "slide.tif", random)
    write_prompts(options.out / "prompts.yaml", tuple(KINDS))
    if options.slides:
        write_cohort(options.out / "slides", options.slides, np.random.default_rng(1))
        write_prompts(options.out / "classes.yaml", CLASSES)
    model, tokenizer = train(options.steps, random)
    save_image_text(
        options.out / "bundle",
        name="painted-tissue",
        config=model.config,
        weights=[save(model.state_dict())],
        tokenizer=tokenizer.to_bytes(),
        contract=CONTRACT,
        family="vesalius",
        provenance={"files": [], "note": "examples/simulated_tissue.py"},
        notices=["Trained on painted squares: it tells textures apart and knows no pathology."],
        overwrite=True,
    )
    print(f"{options.out}/bundle, {options.out}/slide.tif, {options.out}/prompts.yaml")


if __name__ == "__main__":
    main()
