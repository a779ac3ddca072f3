"""LoRA adapters for the real model, small and loud: random weights that change what it says."""

import json
import random
import struct
from pathlib import Path

LAYERS = 30
WIDTH = 576
"""Layers and hidden size of the default model (config.json of SmolLM2-135M)."""
STRENGTH = 0.05


def write_adapter(folder: Path, seed: int, rank: int = 8) -> Path:
    """An adapter of every layer's `q_proj`, in PEFT's format. Returns its folder."""
    dice = random.Random(seed)
    tensors = {}
    for layer in range(LAYERS):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{name}.lora_A.weight"] = ((rank, WIDTH), dice)
        tensors[f"{name}.lora_B.weight"] = ((WIDTH, rank), dice)
    folder.mkdir(parents=True)
    config = {
        "peft_type": "LORA", "base_model_name_or_path": "smollm2", "r": rank, "lora_alpha": 4 * rank,
        "target_modules": ["q_proj"], "bias": "none", "task_type": "CAUSAL_LM", "lora_dropout": 0.0,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(_safetensors(tensors))
    return folder


def _safetensors(tensors: dict[str, tuple[tuple[int, int], random.Random]]) -> bytes:
    """Random float32 tensors in the safetensors format: length of the header, header, data."""
    header, data = {}, bytearray()
    for name, ((rows, columns), dice) in tensors.items():
        begin = len(data)
        values = [dice.gauss(0, STRENGTH) for _ in range(rows * columns)]
        data += struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [begin, len(data)]}
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + bytes(data)
