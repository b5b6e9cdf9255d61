"""The data of a study: made where it is missing, checked, and named by a fingerprint."""

import hashlib
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from kd3d.cli.data_simulate import simulate_records

__all__ = ["make_data"]


def make_data(config: DictConfig) -> str:
    """Simulate what is missing of a study's data, check it, and give its fingerprint.

    That of simulated data is of every byte; that of other folders of names and sizes; that of an
    address is the address.

    Args:
        config: a composed ``train`` configuration.

    Raises:
        DatasetError: if simulated data is half made or was changed.
        OutputError: if it cannot be written.
    """
    root = str(config.data.root)
    if config.simulate is not None:
        arguments = cast(dict[str, Any], OmegaConf.to_container(config.simulate, resolve=True))
        simulate_records({"out": root, **arguments})
    if (Path(root) / "simulation.json").is_file():
        from kd3d.simulate import verify_dataset

        return verify_dataset(root).fingerprint
    files = sorted(path for path in Path(root).rglob("*") if path.is_file())
    if not files:
        return root
    names = "\n".join(f"{path.relative_to(root)} {path.stat().st_size}" for path in files)
    return f"files-{hashlib.sha256(names.encode()).hexdigest()[:16]}"
