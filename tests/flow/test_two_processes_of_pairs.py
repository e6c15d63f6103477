"""Two processes contrast each other's pairs and take the step that one process takes from all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.reports import square_reports

ROOT = Path(__file__).parents[2]
CASES = {"hard": ("clip", "negatives", 1), "shared": ("clip", "positives", 2), "medclip": ("medclip", "positives", 2)}
"""Recipe, whether shared words are right answers, and parts of the cached gradient in each of two processes."""
SCRIPT = """
import sys
from dataclasses import replace
import torch
from lightning_fabric import Fabric
from tests.flow.test_two_processes_of_pairs import CASES
from tests.reports import tiny
from vesalius.datasets.augmentation import AugmentationOptions
from vesalius.datasets.store import Store
from vesalius.models.clip import ImageTextModel
from vesalius.models.tokenizer import Tokenizer
from vesalius.training import image_text_setting as settings
from vesalius.training.image_text_options import ImageTextOptions
from vesalius.training.image_text_start import Start
from vesalius.training.image_text_task import make_task

torch.set_num_threads(1)
store, out, devices = Store(sys.argv[1]), sys.argv[2], int(sys.argv[3])
fabric = Fabric(accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto")
fabric.launch()
still = AugmentationOptions(rotate_deg=0, scale=0, shift=0, gamma=0, contrast=0, noise=0, blur=0)
found = {}
for case, (recipe, shared, parts) in CASES.items():
    at_once = 12 // parts if devices > 1 else 12
    batches = {"contrast_batch": 12, "batch_size": at_once, "devices": devices, "augmentation": still}
    options = ImageTextOptions(**tiny(store, out, recipe=recipe, shared_words=shared, **batches))
    material = settings.gather(options)
    tokenizer = Tokenizer.train([text for text in material.words.texts if text], kind="bert", vocabulary=200)
    setting = settings.settle(options, material, Start(), tokenizer)
    quiet = {**setting.config.text.settings, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    torch.manual_seed(0)
    model = ImageTextModel(replace(setting.config, text=replace(setting.config.text, settings=quiet)))
    module = fabric.setup_module(model)
    module.train()
    task = make_task(fabric, options, setting)
    loss = task.gradient(module, [task.batch(0, part) for part in range(options.parts)])
    loss = fabric.all_reduce(loss, reduce_op="mean") if devices > 1 else loss
    with torch.inference_mode():
        scores = task.evaluate(model.eval())
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    found[case] = {"loss": loss, "gradients": gradients, "scores": [scores["recall_at_5"], scores["zero_shot_macro_auroc"]]}
if fabric.is_global_zero:
    torch.save(found, out)
"""


def step(store: Path, out: Path, devices: int) -> dict[str, Any]:
    script = out.with_suffix(".py")  # a file: every further process runs it again
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(store), str(out), str(devices)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(torch.load(out, weights_only=True))


def test_the_gradient_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    store = square_reports(tmp_path / "store").path
    alone, together = (step(store, tmp_path / f"{devices}.pt", devices) for devices in (1, 2))
    for case in CASES:
        one, two = alone[case], together[case]
        assert float(two["loss"]) == pytest.approx(float(one["loss"]), rel=1e-5), case
        length = torch.stack([gradient.norm() for gradient in one["gradients"].values()]).norm()
        assert set(one["gradients"]) == set(two["gradients"])
        for name, gradient in one["gradients"].items():
            apart = float((two["gradients"][name] - gradient).norm())
            assert apart <= float(1e-5 * gradient.norm() + 1e-6 * length), (case, name)
        assert two["scores"] == pytest.approx(one["scores"], abs=1e-9), case


@pytest.mark.slow
def test_the_command_trains_on_two_processes_and_one_of_them_speaks(tmp_path: Path) -> None:
    store = square_reports(tmp_path / "store").path
    words = "--vision vit-tiny --text bert-tiny --size 32 --embedding-dim 16 --context-length 24 --steps 4 --evaluations 2"
    words += " --batch-size 8 --contrast-batch 16 --accelerator cpu --devices 2 --json"
    command = [sys.executable, "-m", "vesalius", "train", "image-text", "--store", str(store), "--out", str(tmp_path / "run")]
    done = subprocess.run([*command, *words.split()], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1, "only the first process speaks"
    assert json.loads(done.stdout)["best"]["step"] in (2, 4)
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
