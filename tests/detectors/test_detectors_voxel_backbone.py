import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kd3d.detectors.map_to_bev import HeightCompression
from kd3d.detectors.mean_encoder import MeanEncoder
from kd3d.detectors.sparse import SparseConvolution, SparseTensor
from kd3d.detectors.voxel_backbone import (
    BEV_STRIDE,
    VoxelBackbone,
    VoxelNorm,
    fewest_cells,
    output_shape,
)
from kd3d.detectors.voxelize import Voxelizer
from kd3d.errors import InputError

FILTERS = (2, 4, 6, 8)


def backbone(depth=(1, 2, 0, 1)):
    torch.manual_seed(0)
    made = VoxelBackbone(3, FILTERS, 5, depth)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d):  # so that a norm left out would show
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return made.eval()


def full_grid(shape, channels=3, frames=1):
    """Every cell of a grid occupied, and the same as a dense volume."""
    volume = torch.randn(frames, channels, *shape, generator=torch.Generator().manual_seed(1))
    coords = torch.ones(frames, *shape).nonzero()
    return SparseTensor(
        volume.permute(0, 2, 3, 4, 1).reshape(-1, channels), coords, shape, frames
    ), volume


def dense_conv(module, x):
    weight = module.weight.permute(0, 4, 1, 2, 3)
    return F.conv3d(x, weight, module.bias, stride=module.stride, padding=module.padding)


def dense_norm(module, x):
    return F.batch_norm(
        x, module.running_mean, module.running_var, module.weight, module.bias, eps=1e-3
    )


def dense_backbone(network, x):
    """The same function where every cell is occupied, spelled out with dense convolutions."""
    for stage in (
        network.conv_input,
        network.conv1,
        network.conv2,
        network.conv3,
        network.conv4,
        network.conv_out,
    ):
        if isinstance(stage[0] if len(stage) else None, SparseConvolution):
            x = F.relu(dense_norm(stage[1], dense_conv(stage[0], x)))
            continue
        for part in stage:
            if hasattr(part, "bn1"):
                inner = F.relu(dense_norm(part.bn1, dense_conv(part.conv1, x)))
                x = F.relu(x + dense_norm(part.bn2, dense_conv(part.conv2, inner)))
            else:
                x = F.relu(dense_norm(part[1], dense_conv(part[0], x)))
    return x


@pytest.mark.parametrize("shape", [(25, 8, 16), (41, 16, 8)])
def test_it_is_the_dense_network_where_every_cell_is_occupied(shape):
    network = backbone()
    voxels, volume = full_grid(shape)
    with torch.no_grad():
        found, expected = network(voxels), dense_backbone(network, volume)
    assert found.shape == expected.shape[2:] == output_shape(shape)
    torch.testing.assert_close(found.dense(), expected, rtol=1e-4, atol=1e-4)


def test_names_follow_the_depth():
    names = {name.rsplit(".", 1)[0] for name in backbone().state_dict()}
    assert {"conv1.0.conv1", "conv2.0.0", "conv2.1.conv2", "conv2.2.bn1", "conv3.0.1"} <= names
    assert not any(name.startswith(("conv1.1", "conv3.1", "conv2.3")) for name in names)


def test_only_residual_convolutions_have_a_bias():
    convolutions = {
        name: module
        for name, module in backbone().named_modules()
        if isinstance(module, SparseConvolution)
    }
    for name, module in convolutions.items():
        assert (module.bias is not None) == (".conv" in name), name
    assert len(convolutions) == 1 + 3 + 2 * 4 + 1


def test_sizes_of_the_published_grid():
    assert output_shape((41, 1504, 1504)) == (2, 188, 188)
    assert BEV_STRIDE == 8


@pytest.mark.parametrize(("cells", "layers"), [(25, 1), (32, 1), (41, 2), (49, 2), (57, 3)])
def test_layers_of_the_output(cells, layers):
    assert output_shape((cells, 16, 16))[0] == layers


def test_fewest_cells_are_just_enough():
    assert fewest_cells() == 25
    with pytest.raises(InputError, match="along z"):
        output_shape((fewest_cells() - 1, 16, 16))


def test_mean_of_the_points_that_a_voxel_keeps():
    voxelizer = Voxelizer(
        (0.0, 0.0, 0.0, 4.0, 4.0, 4.0), (1.0, 1.0, 1.0), max_points=2, max_voxels=9
    )
    points = torch.tensor(
        [[0.5, 0.5, 0.5, 1.0], [3.5, 0.5, 0.5, 4.0], [0.1, 0.5, 0.7, 2.0], [0.2, 0.2, 0.2, 99.0]]
    )
    voxels = voxelizer(points, torch.zeros(4, dtype=torch.int64), 1)
    expected = torch.tensor([[0.3, 0.5, 0.6, 1.5], [3.5, 0.5, 0.5, 4.0]])
    torch.testing.assert_close(MeanEncoder()(voxels), expected)


def test_means_keep_their_precision_under_autocast():
    voxelizer = Voxelizer(
        (0.0, 0.0, 0.0, 80.0, 1.0, 1.0), (1.0, 1.0, 1.0), max_points=5, max_voxels=9
    )
    points = torch.tensor([[75.11, 0.5, 0.5], [75.37, 0.5, 0.5]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mean = MeanEncoder()(voxelizer(points, torch.zeros(2, dtype=torch.int64), 1))
    assert mean.dtype == torch.float32
    assert mean[0, 0].item() == pytest.approx(75.24, abs=1e-4)


def test_layers_are_the_fast_part_of_the_channels():
    voxels, volume = full_grid((2, 3, 4), channels=5, frames=2)
    bev = HeightCompression()(voxels)
    assert bev.shape == (2, 10, 3, 4)
    for channel in range(5):
        for layer in range(2):
            assert torch.equal(bev[:, channel * 2 + layer], volume[:, channel, layer])


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("borrowed", [True, False])
def test_a_norm_of_one_voxel_or_none(rows, borrowed):
    norm = VoxelNorm(3).train()
    nn.init.constant_(norm.running_mean, 2.0)
    nn.init.constant_(norm.bias, 7.0)
    if not borrowed:  # as a teacher that uses the batch's statistics
        norm.running_mean = norm.running_var = None
    features = torch.randn(rows, 3, requires_grad=True)
    found = norm(features)
    found.sum().backward()
    expected = (features - 2) / (1 + 1e-3) ** 0.5 + 7 if borrowed else torch.full((rows, 3), 7.0)
    torch.testing.assert_close(found, expected)
    assert norm.weight.grad.isfinite().all()
    if borrowed:
        assert torch.equal(norm.running_mean, torch.full((3,), 2.0))


def test_a_norm_of_several_voxels_is_torchs():
    norm, plain = VoxelNorm(3), nn.BatchNorm1d(3, eps=1e-3, momentum=0.01)
    features = torch.randn(5, 3)
    assert torch.equal(norm(features), plain(features))
    assert torch.equal(norm.running_var, plain.running_var)
    assert torch.equal(norm.eval()(features), plain.eval()(features))


def test_norms_can_be_synchronised_over_processes():
    network = backbone()
    voxels, _ = full_grid((25, 8, 8))
    with torch.no_grad():
        expected = network(voxels)
        synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(network).eval()
        found = synchronised(voxels)
    assert isinstance(synchronised.conv_input[1], nn.SyncBatchNorm)
    torch.testing.assert_close(found.features, expected.features)
