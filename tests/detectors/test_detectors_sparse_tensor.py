import pytest
import torch
from sparse_oracle import SHAPE, sparse

from kd3d.detectors.sparse import SparseTensor
from kd3d.errors import InputError

CELLS = torch.tensor([(0, 1, 2, 3), (1, 4, 5, 6)])


def test_dense_puts_each_vector_in_its_cell():
    x = sparse(requires_grad=True)
    volume = x.dense()
    assert volume.shape == (3, 4, *SHAPE)
    frame, z, y, column = x.coords.unbind(1)
    assert torch.equal(volume[frame, :, z, y, column], x.features)
    assert (volume != 0).sum() == x.features.numel()
    volume.sum().backward()
    assert torch.equal(x.features.grad, torch.ones_like(x.features))


def test_dense_of_no_cells():
    x = SparseTensor(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.int64), SHAPE, 2)
    assert len(x) == 0
    assert torch.equal(x.dense(), torch.zeros(2, 4, *SHAPE))


def test_other_features_at_the_same_cells():
    x = sparse()
    y = x.with_features(torch.ones(len(x), 9))
    assert y.features.shape == (len(x), 9)
    assert y.coords is x.coords
    assert (y.shape, y.num_frames) == (x.shape, x.num_frames)
    assert x.features.shape == (len(x), 4)


@pytest.mark.parametrize(
    ("features", "coords", "shape", "frames", "message"),
    [
        (torch.ones(2), CELLS, SHAPE, 2, r"features: needs floating \[N, C\].*\[2\]"),
        (torch.ones(2, 3).long(), CELLS, SHAPE, 2, r"features: .*int64 \[2, 3\]"),
        (torch.ones(3, 3), CELLS, SHAPE, 2, r"coords: needs int64 \[3, 4\].*\[2, 4\]"),
        (torch.ones(2, 3), CELLS.int(), SHAPE, 2, r"coords: .*not int32"),
        (torch.ones(2, 3), CELLS[:, 1:], SHAPE, 2, r"coords: .*\[2, 3\]"),
        (torch.ones(2, 3), CELLS.to("meta"), SHAPE, 2, "coords: is on meta"),
        (torch.ones(2, 3), CELLS, SHAPE[1:], 2, "shape: "),
        (torch.ones(2, 3), CELLS, (0, 6, 7), 2, "shape: "),
        (torch.ones(2, 3), CELLS, SHAPE, -1, "num_frames: "),
    ],
)
def test_refuses_what_does_not_fit(features, coords, shape, frames, message):
    with pytest.raises(InputError, match=message):
        SparseTensor(features, coords, shape, frames)
