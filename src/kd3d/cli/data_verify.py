"""``kd3d-data verify``: is a simulated dataset still what was simulated?"""

from dataclasses import dataclass, field

from omegaconf import MISSING

from kd3d.cli.data_task import DataTask

__all__ = ["VERIFY", "VerifyOptions"]


@dataclass
class VerifyOptions:
    """What ``kd3d-data verify`` takes, each as ``name=value``."""

    root: str = field(default=MISSING, metadata={"help": "folder of a simulated dataset"})


def _verify(options: VerifyOptions) -> None:
    from rich.filesize import decimal

    from kd3d.simulate import verify_dataset

    whole = verify_dataset(options.root, progress=True)
    print(
        f"{whole.root}: {whole.segments:,} segments, {whole.frames:,} frames, "
        f"{decimal(whole.bytes)}, all as they were made\nfingerprint: {whole.fingerprint}"
    )


VERIFY = DataTask(
    "verify",
    "Compare every file of a simulated dataset with its checksum",
    VerifyOptions,
    _verify,
)
