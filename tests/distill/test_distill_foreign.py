"""Networks, heads and batches that kd3d has never seen."""

import pytest
import torch
from distill_fakes import CLASSES, TinyDetector, TinyModule, make_grid, make_loader, make_trainer
from lightning.pytorch import LightningModule
from torch import nn

from kd3d.detectors import create_detector
from kd3d.distill import BatchView, KDCallback, LabelKD, PivotalLogitKD, RegressionKD, View
from kd3d.distill.teacher import Teacher
from kd3d.distill.truth_heat import truth_heat
from kd3d.distill.views import Outputs, ViewedNetwork
from kd3d.errors import ConfigError, TeacherError
from kd3d.geometry import BEVGrid
from kd3d.structures import ClassMaps, Detections, HeadMaps

pytestmark = pytest.mark.filterwarnings("ignore")

SOFTMAX = ("Car", "Truck", "Walker", "Bike")


class SoftmaxNet(nn.Module):
    """Class scores with background over a stride of its own, under names of its own."""

    def __init__(self, cells=8, names=("cls", "reg")):
        super().__init__()
        self.cells = cells
        self.tower = nn.ModuleDict(
            {names[0]: nn.Conv2d(1, 1 + len(SOFTMAX), 3, padding=1), names[1]: nn.Conv2d(1, 3, 1)}
        )

    def forward(self, occupied):
        coarse = nn.functional.adaptive_max_pool2d(occupied, self.cells)
        return [layer(coarse) for layer in self.tower.values()]


def softmax_view(names=("cls", "reg"), **options):
    def read(network, captured):
        scores = captured[f"tower.{names[0]}"].softmax(dim=1)[:, 1:]
        return ClassMaps.from_probabilities(scores, make_grid(network.cells))

    return View(read, taps=[f"tower.{name}" for name in names], classes=SOFTMAX, **options)


class SoftmaxModule(LightningModule):
    """Trains on tuples (occupied, boxes, labels)."""

    def __init__(self, cells=4):
        super().__init__()
        self.net = SoftmaxNet(cells)
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch)
        return self.net(batch[0])[0].square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def tuples(frames=4):
    random = torch.Generator().manual_seed(0)
    boxes = torch.rand(frames, 3, 7, generator=random) * 4 + 0.5
    labels = torch.tensor([[0, 3, -1]]).expand(frames, -1)
    occupied = (torch.rand(frames, 1, 16, 16, generator=random) > 0.7).float()
    data = list(zip(occupied, boxes, labels, strict=True))
    return torch.utils.data.DataLoader(data, batch_size=2)


def foreign_callback(objectives, teacher=None, **options):
    return KDCallback(
        teacher or SoftmaxNet(8, ("logits", "offsets")),
        objectives,
        student_path="net",
        student_view=softmax_view(),
        **{
            "teacher_view": softmax_view(("logits", "offsets"), call=lambda net, b: net(b[0])),
            "batch_view": BatchView(truth=lambda batch: (batch[1], batch[2])),
            "teacher_check_frames": 0,
            **options,
        },
    )


def test_probabilities_become_logits():
    probability = torch.tensor([0.0, 0.25, 0.5, 1.0], requires_grad=True).view(1, 1, 2, 2)
    maps = ClassMaps.from_probabilities(probability, make_grid(2))
    assert maps.heatmap.sigmoid().flatten().tolist() == pytest.approx([0, 0.25, 0.5, 1], abs=2e-6)
    assert maps.heatmap.isfinite().all()
    assert (
        ClassMaps.from_probabilities(probability.bfloat16(), maps.grid).heatmap.dtype
        == torch.float32
    )
    maps.heatmap.sum().backward()


def test_softmax_head_other_strides_and_names_learn_from_each_other():
    torch.manual_seed(0)
    module = SoftmaxModule()
    trainer = make_trainer(foreign_callback([PivotalLogitKD(5.0)]), max_epochs=2)
    before = module.net.tower["cls"].weight.clone()
    trainer.fit(module, tuples())
    assert trainer.callback_metrics["kd/logit"] > 0
    assert not torch.equal(before, module.net.tower["cls"].weight)


def test_the_same_maps_by_another_head_cost_nothing():
    student = SoftmaxNet(8, ("logits", "offsets"))
    teacher = Teacher(SoftmaxNet(8), view=softmax_view(call=lambda net, batch: net(batch[0])))
    student.load_state_dict(
        {
            key.replace("cls", "logits").replace("reg", "offsets"): value
            for key, value in teacher.network.state_dict().items()
        }
    )
    batch = next(iter(tuples()))
    viewed = ViewedNetwork(student, softmax_view(("logits", "offsets")), "student")
    viewed.taps.attach()
    viewed.taps.listen()
    viewed.network(batch[0])
    mine, theirs = viewed.read().maps, teacher.teach(batch).maps
    assert torch.equal(mine.heatmap, theirs.heatmap)


def test_objectives_that_read_boxes_refuse_class_maps_before_the_first_optimiser_step():
    module = SoftmaxModule()
    before = module.net.tower["cls"].weight.clone()
    with pytest.raises(ConfigError, match=r"student_view: the view gives ClassMaps.*HeadMaps"):
        make_trainer(foreign_callback([RegressionKD()])).fit(module, tuples())
    assert torch.equal(before, module.net.tower["cls"].weight)


def decode(network, captured):
    scores = captured["tower.logits"].softmax(dim=1)[:, 1:].flatten(1)
    best, cell = scores.topk(2)
    return [
        Detections(torch.ones(2, 7), score, label // network.cells**2)
        for score, label in zip(best, cell, strict=True)
    ]


def test_labels_of_a_foreign_teacher_reach_a_foreign_training_step():
    def with_targets(batch, targets):
        return batch[0], targets.boxes, targets.labels

    callback = foreign_callback(
        [LabelKD(0.0)],
        teacher_view=softmax_view(
            ("logits", "offsets"), call=lambda net, b: net(b[0]), decode=decode
        ),
        batch_view=BatchView(truth=lambda batch: batch[1:], with_targets=with_targets),
    )
    module = SoftmaxModule()
    make_trainer(callback, max_steps=1).fit(module, tuples())
    _, boxes, labels = module.seen[0]
    assert (labels[0] >= 0).sum() == 4  # two of the ground truth, two of the teacher
    assert torch.equal(boxes[0, 2], torch.ones(7))


def test_label_distillation_without_a_decoder_is_refused_at_the_start():
    with pytest.raises(TeacherError, match=r"SoftmaxNet\) has no method decode\(\)"):
        make_trainer(foreign_callback([LabelKD(0.5)])).fit(SoftmaxModule(), tuples())


def test_foreign_ground_truth_is_drawn_on_the_views_grid():
    batch = next(iter(tuples()))
    teacher = Teacher(SoftmaxNet(8), view=softmax_view(call=lambda net, batch: net(batch[0])))
    outputs = teacher.teach(batch)
    heat = teacher.heat_of(batch[1], batch[2], outputs)
    assert heat.shape == outputs.maps.heatmap.shape
    row, column = ((batch[1][0, 1, [1, 0]] + 8) / 2).long()
    assert heat[0, 3, row, column] == 1.0
    assert heat[0, 1:3].max() == 0  # no trucks, no walkers
    with pytest.raises(TeacherError, match=r"no method assign_targets\(\)"):
        teacher.assign_targets(batch[1], batch[2])


def test_heat_equals_that_of_kd3ds_own_targets():
    detector = create_detector(
        "cp_pillar_v064", point_cloud_range=(-10.24, -10.24, -2, 10.24, 10.24, 4)
    )
    boxes = torch.tensor([[[1.0, 2, 0, 4, 2, 1.5, 0.3], [-9.0, 9.9, 0, 1, 1, 2, 0], [0.0] * 7]])
    labels = torch.tensor([[0, 1, -1]])
    own = detector.assign_targets(boxes, labels).heatmap
    assert torch.equal(truth_heat(boxes, labels, detector.grid, 3), own)


def test_heat_leaves_out_what_is_not_on_the_grid_or_has_no_size():
    boxes = torch.tensor([[[100.0, 0, 0, 4, 2, 1, 0], [1.0, 1, 0, 0, 2, 1, 0]]])
    heat = truth_heat(boxes, torch.tensor([[0, 0]]), BEVGrid(-8, -8, 1, 1, 16, 16), 1)
    assert heat.abs().sum() == 0


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda network, captured: captured[""], "gives list, not HeadMaps.*teacher_view="),
        (
            lambda network, captured: ClassMaps(captured[""][0], make_grid(8)),
            r"\[2, 5, 8, 8\], but 4 classes on a grid of 8 rows and 8 columns make \[B, 4, 8, 8\]",
        ),
        (
            lambda network, captured: ClassMaps(captured[""][0][:, 1:], make_grid(4)),
            r"grid of 4 rows and 4 columns make \[B, 4, 4, 4\]",
        ),
    ],
)
def test_views_that_read_the_wrong_thing(read, message):
    view = View(read, classes=SOFTMAX, call=lambda net, batch: net(batch[0]))
    with pytest.raises(ConfigError, match=message):
        Teacher(SoftmaxNet(), view=view).teach(next(iter(tuples())))


def test_another_number_or_order_of_classes_is_refused():
    turned = (*reversed(SOFTMAX),)
    for classes in (turned, SOFTMAX[:3]):
        view = View(softmax_view().read, classes=classes)
        with pytest.raises(TeacherError, match="teacher's classes"):
            make_trainer(foreign_callback([PivotalLogitKD()], teacher_view=view)).fit(
                SoftmaxModule(), tuples()
            )


def test_box_maps_of_head_maps_are_the_maps():
    maps = HeadMaps(*[torch.zeros(1)] * 5, make_grid(2))
    assert Outputs(maps, {}).box_maps is maps


class Dictionaries(TinyModule):
    """Trains on dictionaries with kd3d's names."""

    def training_step(self, batch, batch_idx):
        self.seen_targets.append(batch.get("targets"))
        targets = self.detector.assign_targets(batch["boxes"], batch["labels"])
        maps = self.detector(batch["cloud"])
        return nn.functional.binary_cross_entropy_with_logits(maps.heatmap, targets.heatmap)


def test_batches_that_are_dictionaries():
    def as_dictionary(batch):
        return {"cloud": batch, "boxes": batch.boxes, "labels": batch.labels}

    module = Dictionaries(TinyDetector())
    callback = KDCallback(
        TinyDetector(),
        [PivotalLogitKD(5.0), LabelKD(0.1)],
        teacher_view=View(classes=CLASSES, call=lambda net, batch: net(batch["cloud"])),
        batch_view=BatchView(with_targets=lambda batch, targets: {**batch, "targets": targets}),
        teacher_check_frames=0,
    )
    batches = [as_dictionary(batch) for batch in make_loader(4)]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    trainer = make_trainer(callback)
    trainer.fit(module, loader)
    assert trainer.callback_metrics["kd/logit"] > 0
    assert all(targets.from_teacher.any() for targets in module.seen_targets)
