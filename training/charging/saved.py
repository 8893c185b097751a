"""Learned policies on disk: every seed's weights in one .npz, the shipped one as ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError
from training.charging.policies import Network

Floats = NDArray[np.float64]

SEEDS_FILE = "charging-seeds.npz"


def save_networks(path: Path, networks: Mapping[str, Sequence[Network]]) -> None:
    """Write the policies of every algorithm, one a seed, as float32."""
    arrays = {}
    for name, seeds in networks.items():
        for seed, network in enumerate(seeds):
            for layer, (weight, bias) in enumerate(network.weights):
                arrays[f"{name}/{seed}/{int(network.squash)}/{layer}/w"] = weight.astype(np.float32)
                arrays[f"{name}/{seed}/{int(network.squash)}/{layer}/b"] = bias.astype(np.float32)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its stub wants a flag


def load_networks(path: Path) -> dict[str, list[Network]]:
    """What `save_networks` wrote; raises ModelError where that is not there."""
    found: dict[str, dict[int, dict[int, list[Floats]]]] = {}
    kinds: dict[str, bool] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                name, seed, squash, layer, _ = key.split("/")
                kinds[name] = squash == "1"
                layers = found.setdefault(name, {}).setdefault(int(seed), {})
                layers.setdefault(int(layer), []).append(file[key].astype(np.float64))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"charging policies {path}: {error}; run `cellpulse train charging`"
        ) from error
    return {
        name: [
            Network([(w, b) for w, b in (seeds[s][i] for i in sorted(seeds[s]))], kinds[name], name)
            for s in sorted(seeds)
        ]
        for name, seeds in found.items()
    }
