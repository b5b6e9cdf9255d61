"""What distillation adds to a step: no waiting for the device, no memory that nobody needs."""

import weakref
from contextlib import contextmanager

import pytest
import torch
from distill_fakes import (
    FeatureKD,
    TinyDetector,
    TinyModule,
    make_batch,
    make_loader,
    make_trainer,
)
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kd3d.distill import KDCallback, LabelKD, Objective, PivotalLogitKD, RegressionKD
from kd3d.distill.distilled_step import DistilledStep
from kd3d.structures import CenterTargets, Detections

pytestmark = pytest.mark.filterwarnings("ignore")

WAITING = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "unique", "bincount")


class NoWaiting(TorchDispatchMode):
    """Refuses what would wait for a CUDA device: values and counts wanted on the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        assert not name.startswith(WAITING), f"{name} waits for the device"
        if name == "index":
            masks = [index for index in args[1] if isinstance(index, Tensor)]
            assert all(mask.dtype != torch.bool for mask in masks), "a mask waits for the device"
        return func(*args, **(kwargs or {}))


class Free(TinyDetector):
    """A network that never waits: no voxels, and targets without a search."""

    def count_points(self, batch):
        height, width = self.grid.shape
        cells = self.grid.to_cells(batch.points[:, :2]).long().clamp(min=0)
        rows, columns = cells[:, 1].clamp(max=height - 1), cells[:, 0].clamp(max=width - 1)
        flat = (batch.batch_index * height + rows) * width + columns
        counts = torch.zeros(len(batch) * height * width, device=flat.device)
        counts = counts.index_add(0, flat, torch.ones_like(flat, dtype=torch.float32))
        return counts.view(len(batch), 1, height, width).log1p()

    def assign_targets(self, boxes, labels, *, heat_weight=None, box_weight=None):
        height, width = self.grid.shape
        mask = labels >= 0
        cells = self.grid.to_cells(boxes[..., :2])
        columns, rows = cells.long().clamp(min=0).unbind(dim=-1)
        indices = rows.clamp(max=height - 1) * width + columns.clamp(max=width - 1)
        heat = torch.zeros(len(boxes), len(self.classes) * height * width, device=boxes.device)
        places = labels.clamp(min=0) * height * width + indices
        heat = heat.scatter_reduce(1, places, mask.float(), "amax")
        return CenterTargets(
            heatmap=heat.view(len(boxes), len(self.classes), height, width),
            indices=indices,
            mask=mask,
            codes=torch.zeros(*labels.shape, 8, device=boxes.device),
            weight=mask.float() if box_weight is None else box_weight,
            labels=labels,
            grid=self.grid,
        )


def make_free(seed, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Free(**changes)


def shipped_objectives():
    predicted = {f"frame {k}": boxes_of_frame() for k in range(4)}
    return {
        "gaussian": PivotalLogitKD(),
        "confidence": PivotalLogitKD(pivots="confidence", alignment="resize"),
        "rank": PivotalLogitKD(pivots="rank", alignment="pool", top_k=5),
        "metres": RegressionKD(code_weights=[1.0] * 8),
        "decoded": LabelKD(0.4, duplicates="cell", max_boxes=9),
        "soft": LabelKD([0.4, 0.5, 0.5], soft_targets=True),
        "files": LabelKD(0.1, predictions=predicted),
        "feature": FeatureKD(),
    }


def boxes_of_frame():
    boxes = torch.tensor([[1.0, 1.0, 0.0, 4.0, 2.0, 1.5, 0.3]])
    return Detections(boxes, torch.tensor([0.9]), torch.tensor([0]))


def guard(monkeypatch, make_guard):
    """Put a guard around what distillation does in every step but the first."""
    guarded = []

    def wrap(name):
        original = getattr(DistilledStep, name)

        def run(self, value):
            if name == "before_step":
                guarded.append(0)
            if len(guarded) == 1:
                return original(self, value)
            with make_guard():
                guarded[-1] += 1
                return original(self, value)

        monkeypatch.setattr(DistilledStep, name, run)

    wrap("before_step")
    wrap("after_step")
    return guarded


def fit_guarded(objectives, steps=3, **options):
    feature = objectives.get("feature")
    if feature is not None:  # its maps have one shape only on equal grids
        objectives = {**objectives, "feature": SameShape(feature.weight)}
    callback = KDCallback(
        make_free(1, cells=32), objectives, teacher_check_frames=0, watch_every_n_steps=0
    )
    trainer = make_trainer(callback, max_steps=steps, num_sanity_val_steps=0, **options)
    trainer.fit(TinyModule(make_free(0)), named_loader())
    return trainer


class SameShape(FeatureKD):
    def forward(self, student, teacher, context):
        mine = self.adapters["project"](student.taps["body"].float())
        theirs = torch.nn.functional.avg_pool2d(teacher.taps["body"].float(), 2)
        return self.weight * (mine - theirs).square().mean()


def named_loader():
    loader = make_loader(8)
    collate, names = loader.collate_fn, iter([f"frame {k % 4}" for k in range(99)])

    def with_names(frames):
        batch = collate(frames)
        object.__setattr__(batch, "frame_ids", tuple(next(names) for _ in frames))
        return batch

    loader.collate_fn = with_names
    return loader


@pytest.fixture
def as_on_cuda(monkeypatch):
    """Values are looked at as rarely as where that waits for the device."""
    monkeypatch.setattr(DistilledStep, "_waits", lambda self: True)


@pytest.mark.usefixtures("as_on_cuda")
def test_no_shipped_objective_waits(monkeypatch):
    guarded = guard(monkeypatch, NoWaiting)
    trainer = fit_guarded(shipped_objectives())
    assert guarded == [0, 2, 2]
    assert trainer.callback_metrics["kd/total"] > 0


class Waits(Objective):
    def forward(self, student, teacher, context):
        return student.maps.heatmap.sum() * float(teacher.maps.heatmap.amax())


class Searches(Objective):
    def forward(self, student, teacher, context):
        heat = student.maps.heatmap
        return heat[heat > 0].sum()


@pytest.mark.usefixtures("as_on_cuda")
@pytest.mark.parametrize("objective", [Waits(), Searches(), LabelKD(0.4, duplicates="iou")])
def test_what_waits_is_noticed(monkeypatch, objective):
    guard(monkeypatch, NoWaiting)
    with pytest.raises(AssertionError, match="waits for the device"):
        fit_guarded({"waits": objective})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_host_synchronisation_on_cuda(monkeypatch):
    @contextmanager
    def strict():
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    guarded = guard(monkeypatch, strict)
    fit_guarded(shipped_objectives(), accelerator="gpu")
    assert guarded == [0, 2, 2]


class Observed(Free):
    """Keeps weak references to everything that its body gives, and to its maps."""

    def __init__(self, **changes):
        super().__init__(**changes)
        self.features, self.maps = [], []

    def forward(self, batch):
        features = self.body(self.count_points(batch))
        heatmap, box = self.head["heatmap"](features), self.head["box"](features)
        self.features.append(weakref.ref(features))
        self.maps.append(weakref.ref(heatmap))
        return self.as_maps(heatmap, box)

    def as_maps(self, heatmap, box):
        from kd3d.structures import HeadMaps

        return HeadMaps(heatmap, *box.split((2, 1, 3, 2), dim=1), self.grid)


class Looks(TinyModule):
    """Notes what of the teacher is alive when the student starts, and in the backward pass."""

    def __init__(self, teacher):
        super().__init__(make_free(0))
        self.others = (teacher,)  # no child
        self.alive = []

    def training_step(self, batch, batch_idx):
        self.look()
        return super().training_step(batch, batch_idx)

    def on_before_backward(self, loss):
        self.look()

    def look(self):
        teacher = self.others[0]
        self.alive.append((teacher.features[-1]() is not None, teacher.maps[-1]() is not None))


@pytest.mark.parametrize(
    ("objectives", "before", "after"),
    [
        ([PivotalLogitKD()], (False, True), (False, False)),
        ([PivotalLogitKD(), SameShape()], (True, True), (False, False)),
        ([LabelKD(0.4)], (False, True), (False, False)),
    ],
)
def test_only_what_objectives_need_stays_alive(objectives, before, after):
    teacher = Observed(cells=32)
    module = Looks(teacher)
    callback = KDCallback(teacher, objectives, teacher_check_frames=0)
    make_trainer(callback, max_steps=2).fit(module, make_loader())
    assert module.alive[2:] == [before, after]  # of the second step
    assert module.alive[:2] == [before, after]


def peak_of(run):
    """Measure the most memory that tensors hold at one time while something runs, in bytes."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        run()
    changes = [one for one in profile.profiler.kineto_results.events() if one.name() == "[memory]"]
    held = highest = 0
    for change in sorted(changes, key=lambda one: one.start_ns()):
        held += change.nbytes()
        highest = max(highest, held)
    return highest


def test_peak_memory_is_the_steps_and_the_teachers_at_most():
    teacher, batch = make_free(1, cells=64, channels=32), make_batch()

    def step(*callbacks):
        trainer = make_trainer(*callbacks, max_steps=1)
        module = TinyModule(make_free(0, cells=64, channels=16))
        return peak_of(lambda: trainer.fit(module, make_loader(2)))

    def distilled(*objectives):
        return step(KDCallback(teacher, objectives, teacher_check_frames=0))

    def teach():
        with torch.no_grad():
            teacher.eval()(batch)

    allowed = step() + peak_of(teach)
    recipe = [PivotalLogitKD(), LabelKD(0.4, duplicates="cell"), RegressionKD()]
    assert distilled(*recipe) <= allowed
    assert distilled(*recipe, FeatureKD()) > allowed  # trains on features: the measure notices
