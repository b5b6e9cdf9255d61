"""The 3D backbone on a full-range frame: the torch engine against spconv.

On the CPU spconv 2.3.8 is right on one thread only, so that is what it gets; the torch engine has
one row per number of threads. spconv runs as kd3d's engine, since its own backward does not run on
a CPU. Finding the pairs is part of every forward, and timed by itself.
"""

import argparse
import copy
from collections.abc import Callable

import torch
from _scene import full_range_points
from _timing import compare, interleaved_medians, machine
from torch import Tensor

from kd3d.detectors import create_detector
from kd3d.detectors.sparse import SparseTensor
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
    parser.add_argument("--repeats", type=int, default=7, help="interleaved runs of each")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[2, 1], help="of the torch engine"
    )
    arguments = parser.parse_args()
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        run(arguments, torch.device(device))


def run(arguments: argparse.Namespace, device: torch.device) -> None:
    """Compare the engines on one device."""
    torch.manual_seed(0)
    try:
        peer_detector = create_detector(arguments.detector, engine="spconv")
        ours_detector = create_detector(arguments.detector, engine="torch")
        ours_detector.load_state_dict(peer_detector.state_dict())
        points = full_range_points(arguments.points).to(device)
        voxels = ours_detector.voxelizer(points, torch.zeros(len(points)).long().to(device), 1)
        features = ours_detector.vfe(voxels)
        ours, peer = (d.backbone_3d.to(device) for d in (ours_detector, peer_detector))

        def frame() -> SparseTensor:
            return SparseTensor(features, voxels.coords, ours_detector.sparse_shape, 1)

        check(ours, peer, frame)
    except ConfigError as error:
        print(f"left out on {device}: {error}")
        return
    title = machine() if device.type == "cpu" else torch.cuda.get_device_name(device)
    print(f"{title}\n{arguments.detector}: {len(points)} points in {len(voxels)} voxels")
    print(f"{'':44} {'torch':>11} {'spconv':>13} {'ratio':>8}")
    threads = arguments.threads if device.type == "cpu" else [1]
    for label, task in (("forward", forward), ("forward + backward", step)):
        tasks = [on_threads(count, task(ours, frame)) for count in threads]
        times = interleaved_medians([*tasks, on_threads(1, task(peer, frame))], arguments.repeats)
        for count, seconds in zip(threads, times, strict=False):
            compare(f"{label}, {count} to 1 threads", seconds, times[-1], LARGEST_RATIO)
    tasks = [on_threads(count, pairs(ours, frame)) for count in threads]
    for count, seconds in zip(threads, interleaved_medians(tasks, arguments.repeats), strict=True):
        print(f"finding the pairs, {count} threads {1e3 * seconds:.1f} ms")


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


def on_threads(count: int, task: Callable[[], None]) -> Callable[[], None]:
    """Make the task run on `count` threads."""

    def run_on_threads() -> None:
        torch.set_num_threads(count)
        task()

    return run_on_threads


def finish(result: Tensor) -> None:
    """Wait for the device."""
    if result.is_cuda:
        torch.cuda.synchronize()


def check(ours: VoxelBackbone, peer: VoxelBackbone, frame: Callable[[], SparseTensor]) -> None:
    """Make sure that features and gradients agree."""
    results = []
    for network in (ours, peer):
        network = copy.deepcopy(network).eval()
        volume = network(frame()).dense()
        volume.square().mean().backward()
        results.append([volume, *(parameter.grad for parameter in network.parameters())])
    for own, other in zip(*results, strict=True):
        scale = other.abs().max().clamp(min=1e-30)
        torch.testing.assert_close(own / scale, other / scale, rtol=0, atol=1e-3)


if __name__ == "__main__":
    main()
