"""The reference implementation's cases and weights."""

import importlib.util
import json

import numpy as np
import torch


def load(shared_data, name):
    settings = json.loads((shared_data / "parity" / f"{name}.json").read_text())["settings"]
    arrays = np.load(shared_data / "parity" / f"{name}.npz")
    return settings, {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def reference_weights(shared_data, model, salt=""):
    """The reference's state dict, filled by the rule of the oracle data; `salt` gives others."""
    source = shared_data / "parity" / "fill_tensor.py"
    spec = importlib.util.spec_from_file_location("fill_tensor", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shapes = json.loads((shared_data / "openpcdet_keys" / f"{model}.json").read_text())
    return {
        key: torch.from_numpy(np.asarray(module.fill_tensor(key, shape, salt)))
        for key, shape in shapes.items()
    }
