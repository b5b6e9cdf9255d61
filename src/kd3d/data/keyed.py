"""Random numbers that depend on a key only, never on global state, workers or ranks."""

import hashlib

import numpy as np

__all__ = ["keyed_generator"]


def keyed_generator(*key: int | str) -> np.random.Generator:
    """Build a generator whose stream is a function of the key alone.

    Args:
        key: what the stream is for, such as ``("world", seed, epoch, frame_id)``.

    Returns:
        A fresh Philox generator; equal keys give equal streams, in any process.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
