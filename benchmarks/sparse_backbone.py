"""The 3D backbone on a full-range frame: the torch engine against spconv.

On the CPU spconv 2.3.8 is right on one thread only, so that is what it gets; the torch engine has
one row per number of threads. spconv runs as kd3d's engine, since its own backward does not run on
a CPU. Finding the pairs is part of every forward, and timed by itself.
"""

import argparse
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from _scene import full_range_points
from _timing import compare, machine
from torch import Tensor

from kd3d.detectors import CenterPointVoxel, create_detector
from kd3d.detectors.sparse import Engine, SparseTensor
from kd3d.detectors.voxel_backbone import VoxelBackbone
from kd3d.errors import ConfigError

LARGEST_RATIO = 1.0


def main() -> None:
    """Print times and ratios on the CPU, on CUDA too where there is a device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", default="cp_voxel_xs")
    parser.add_argument("--points", type=int, default=160_000)
    parser.add_argument("--repeats", type=int, default=5, help="interleaved runs of each")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[2, 1], help="of the torch engine"
    )
    arguments = parser.parse_args()
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        run(arguments, torch.device(device))


def run(arguments: argparse.Namespace, device: torch.device) -> None:
    """Compare the engines on one device, each in a process of its own, by turns.

    A process keeps one number of threads: changing it back and forth makes OpenMP's teams wait.
    """
    threads = arguments.threads if device.type == "cpu" else [1]
    context = multiprocessing.get_context("spawn")
    workers = []
    for engine, count in [*(("torch", count) for count in threads), ("spconv", 1)]:
        here, there = context.Pipe()
        options = (there, arguments.detector, arguments.points, engine, count, device)
        process = context.Process(target=work, args=options, daemon=True)
        process.start()
        workers.append(here)
    problems = [worker.recv() for worker in workers]
    if problems[-1] is not None:
        print(f"left out on {device}: {problems[-1]}")
        return
    results = [ask(worker, "result") for worker in workers]
    for own in results[:-1]:
        compare_results(own, results[-1])
    title = machine() if device.type == "cpu" else torch.cuda.get_device_name(device)
    print(f"{title.replace(f', {torch.get_num_threads()} threads', '')}\n{results[0][0]}")
    print(f"{'':44} {'torch':>11} {'spconv':>13} {'ratio':>8}")
    for label in ("forward", "forward + backward", "finding the pairs"):
        rounds = [[ask(worker, label) for worker in workers] for _ in range(arguments.repeats)]
        times = [statistics.median(column) for column in zip(*rounds, strict=True)]
        for count, seconds in zip(threads, times, strict=False):
            limit = LARGEST_RATIO if label != "finding the pairs" else math.inf
            compare(f"{label}, {count} threads against 1", seconds, times[-1], limit)
    for worker in workers:
        worker.send("stop")


def ask(worker: Connection, what: str) -> Any:
    """Let a worker do something, and wait for the answer."""
    worker.send(what)
    return worker.recv()


def work(
    pipe: Connection, detector: str, points: int, engine: Engine, threads: int, device: torch.device
) -> None:
    """Hold one network, and run on demand what the pipe asks for."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    try:
        network = create_detector(detector, engine=engine)
    except ConfigError as error:
        pipe.send(str(error))
        return
    pipe.send(None)
    assert isinstance(network, CenterPointVoxel)
    cloud = full_range_points(points).to(device)
    voxels = network.voxelizer(cloud, torch.zeros(len(cloud)).long().to(device), 1)
    features = network.vfe(voxels)
    backbone = network.backbone_3d.to(device)

    def frame() -> SparseTensor:
        return SparseTensor(features, voxels.coords, network.sparse_shape, 1)

    tasks = {
        "forward": forward(backbone, frame),
        "forward + backward": step(backbone, frame),
        "finding the pairs": pairs(backbone, frame),
    }
    for task in tasks.values():
        task()
    for what in iter(pipe.recv, "stop"):
        if what == "result":
            heading = f"{detector}: {len(cloud)} points in {len(voxels)} voxels"
            pipe.send((heading, *outcome(backbone, frame)))
            continue
        start = time.perf_counter()
        tasks[what]()
        pipe.send(time.perf_counter() - start)


def outcome(network: VoxelBackbone, frame: Callable[[], SparseTensor]) -> list[Any]:
    """Give the output's checksums and the gradients, as arrays."""
    network.eval()
    network.zero_grad()
    output = network(frame()).dense()
    output.square().mean().backward()
    gradients = [parameter.grad.cpu().numpy() for parameter in network.parameters()]
    return [output.detach().cpu().numpy(), gradients]


def compare_results(ours: tuple[Any, ...], peer: tuple[Any, ...]) -> None:
    """Make sure that features and gradients agree."""
    _, own, own_gradients = ours
    _, other, other_gradients = peer
    for one, two in ((own, other), *zip(own_gradients, other_gradients, strict=True)):
        scale = max(abs(two).max(), 1e-6)
        np.testing.assert_allclose(one / scale, two / scale, rtol=0, atol=2e-3)


def forward(network: VoxelBackbone, frame: Callable[[], SparseTensor]) -> Callable[[], None]:
    """Make a forward in evaluation, from a tensor that knows no pairs yet."""

    @torch.no_grad()
    def task() -> None:
        network.eval()
        finish(network(frame()).features)

    return task


def step(network: VoxelBackbone, frame: Callable[[], SparseTensor]) -> Callable[[], None]:
    """Make a forward in training and its backward."""

    def task() -> None:
        network.train()
        network.zero_grad()
        output = network(frame()).features
        output.square().mean().backward()
        finish(output)

    return task


def pairs(network: VoxelBackbone, frame: Callable[[], SparseTensor]) -> Callable[[], None]:
    """Make a task that finds all pairs of the network, and computes nothing else."""
    inputs: list[SparseTensor] = []
    layers = [module for module in network.modules() if hasattr(module, "rulebook")]
    hooks = [
        layer.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
        for layer in layers
    ]
    with torch.no_grad():
        network.eval()(frame())
    for hook in hooks:
        hook.remove()

    def task() -> None:
        for tensor in inputs:
            tensor.rulebooks.clear()
        for layer, tensor in zip(layers, inputs, strict=True):
            rulebook = layer.rulebook(tensor)
        finish(rulebook.coords)

    return task


def finish(result: Tensor) -> None:
    """Wait for the device."""
    if result.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
