"""How large road users are: what the shapes draw, and the published figures behind it.

`SIZES` is what `draw_size` draws from, row by row with its source; `REFERENCES` are published sizes
of whole classes (anchors of detectors, which follow the class means), with which the drawn classes
can be compared. Sizes are those of labels, which include side mirrors (Waymo Open Dataset labelling
specifications). Where a source states only a mean or a single model, the spread is a choice; so are
the correlations.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["CORRELATIONS", "REFERENCES", "SIZES", "Reference", "SizeRow", "draw", "draw_size"]

#: Draws are kept within this many spreads of the mean.
_WIDEST = 2.5


@dataclass(frozen=True, slots=True)
class SizeRow:
    """One quantity that is drawn.

    Args:
        class_name: class of the label: "Vehicle", "Pedestrian" or "Cyclist".
        kind: of object within the class.
        quantity: "length", "width" or "height" of the label, or "stature" of a body; metres.
        mean: metres.
        spread: standard deviation, metres; draws are cut at two and a half.
        source: public document that the mean follows.
    """

    class_name: str
    kind: str
    quantity: str
    mean: float
    spread: float
    source: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A published size of a class.

    Args:
        class_name: class of the label here.
        name: what the source calls it.
        size: length, width, height in metres.
        source: public document.
    """

    class_name: str
    name: str
    size: tuple[float, float, float]
    source: str


_OPENPCDET_WAYMO = "OpenPCDet, tools/cfgs/waymo_models/pv_rcnn.yaml (anchors)"
_MMDET_WAYMO = "MMDetection3D, configs/_base_/models/hv_pointpillars_secfpn_waymo.py (anchors)"
_NUSCENES = "OpenPCDet, tools/cfgs/nuscenes_models/cbgs_second_multihead.yaml (anchors)"
_MMDET_LYFT = (
    "MMDetection3D, configs/regnet/hv_pointpillars_regnet-400mf_secfpn_sbn-all_2x8_2x_lyft-3d.py"
    " (anchors)"
)

REFERENCES = (
    Reference("Vehicle", "Waymo Vehicle", (4.7, 2.1, 1.7), _OPENPCDET_WAYMO),
    Reference("Vehicle", "Waymo Vehicle", (4.73, 2.08, 1.77), _MMDET_WAYMO),
    Reference("Vehicle", "nuScenes car", (4.63, 1.97, 1.74), _NUSCENES),
    Reference("Vehicle", "nuScenes truck", (6.93, 2.51, 2.84), _NUSCENES),
    Reference("Vehicle", "nuScenes bus", (10.5, 2.94, 3.47), _NUSCENES),
    Reference("Vehicle", "nuScenes trailer", (12.29, 2.90, 3.87), _NUSCENES),
    Reference("Vehicle", "Lyft bus", (12.70, 2.92, 3.42), _MMDET_LYFT),
    Reference("Pedestrian", "Waymo Pedestrian", (0.91, 0.86, 1.73), _OPENPCDET_WAYMO),
    Reference("Pedestrian", "Waymo Pedestrian", (0.91, 0.84, 1.74), _MMDET_WAYMO),
    Reference("Pedestrian", "nuScenes pedestrian", (0.73, 0.67, 1.77), _NUSCENES),
    Reference("Cyclist", "Waymo Cyclist", (1.78, 0.84, 1.78), _OPENPCDET_WAYMO),
    Reference("Cyclist", "Waymo Cyclist", (1.81, 0.84, 1.77), _MMDET_WAYMO),
)

_GOLF = "Volkswagen, Golf VII at its launch: 4.255 x 1.799 x 1.452 m"
_CAMRY = "Toyota, Camry (2018): 4.86 to 4.88 x 1.84 x 1.445 m"
_RAV4 = "Toyota, RAV4 (fifth generation): 4.600 x 1.855 x 1.685 m"
_VAN = (
    "KITTI class Van, 5.03 x 1.87 x 2.21 m: second.pytorch, second/configs/all.fhd.config (anchors)"
)
_F150 = "Ford, F-150 (2020): 5.1 to 6.4 m long, 2.03 m wide, 2.46 m with mirrors"
_NUSCENES_TRUCK = "nuScenes truck, 6.93 x 2.51 x 2.84 m: " + _NUSCENES
_EU_LIMITS = (
    "a choice within Council Directive 96/53/EC, Annex I: at most 2.55 m wide and 4.00 m high"
)
_NUSCENES_TRAILER = "nuScenes trailer, 12.29 x 2.90 x 3.87 m: " + _NUSCENES
_BUS = "between nuScenes bus, 10.5 x 2.94 x 3.47 m, and Mercedes-Benz Citaro, 11.95 x 2.55 x 3.08 m"
_MIRRORS = "; mirrors added"
_ADULTS = (
    "means: NCHS, Vital and Health Statistics, series 3, no. 39 (NHANES 2011-2014);"
    " spreads: series 11, no. 8"
)
_CHILDREN = "CDC growth charts (2000): medians of 1.15 m at 6 and 1.38 m at 10 years"
_WAYMO_PEOPLE = "so that the class mean meets Waymo's, 0.91 x 0.86 m: " + _OPENPCDET_WAYMO
_WAYMO_CYCLISTS = "around Waymo's mean, 1.78 x 0.84 x 1.78 m: " + _OPENPCDET_WAYMO
_BICYCLE = "Minnesota DOT, Bikeway Facility Design Manual, chapter 3: bicycles of 1.5 to 1.8 m"

_Spread = tuple[float, float]


def _rows(
    class_name: str,
    kind: str,
    sizes: tuple[_Spread, _Spread, _Spread],
    sources: tuple[str, str, str],
) -> Iterator[SizeRow]:
    for quantity, (mean, spread), source in zip(
        ("length", "width", "height"), sizes, sources, strict=True
    ):
        yield SizeRow(class_name, kind, quantity, mean, spread, source)


def _vehicle(
    kind: str, length: _Spread, width: _Spread, height: _Spread, source: str, wide: str = ""
) -> Iterator[SizeRow]:
    sources = (source, wide or source + _MIRRORS, source)
    return _rows("Vehicle", kind, (length, width, height), sources)


SIZES: tuple[SizeRow, ...] = (
    *_vehicle("hatchback", (4.26, 0.16), (2.02, 0.06), (1.46, 0.04), _GOLF),
    *_vehicle("saloon", (4.84, 0.16), (2.06, 0.06), (1.46, 0.04), _CAMRY),
    *_vehicle("off-road car", (4.62, 0.20), (2.09, 0.06), (1.70, 0.07), _RAV4),
    *_vehicle("van", (5.05, 0.35), (2.16, 0.08), (2.20, 0.18), _VAN),
    *_vehicle("pickup", (5.75, 0.22), (2.30, 0.07), (1.92, 0.05), _F150),
    *_vehicle(
        "truck", (7.0, 0.9), (2.52, 0.08), (2.90, 0.28), _NUSCENES_TRUCK, wide=_NUSCENES_TRUCK
    ),
    *_vehicle("tractor", (6.0, 0.2), (2.72, 0.04), (3.60, 0.14), _EU_LIMITS),
    *_vehicle(
        "trailer", (12.3, 0.5), (2.55, 0.03), (3.87, 0.05), _NUSCENES_TRAILER, wide=_EU_LIMITS
    ),
    *_vehicle("bus", (11.5, 0.5), (2.82, 0.06), (3.20, 0.10), _BUS),
    SizeRow("Pedestrian", "man", "stature", 1.76, 0.072, _ADULTS),
    SizeRow("Pedestrian", "woman", "stature", 1.62, 0.066, _ADULTS),
    SizeRow("Pedestrian", "child", "stature", 1.28, 0.10, _CHILDREN),
    SizeRow("Pedestrian", "walking", "length", 0.96, 0.11, _WAYMO_PEOPLE),
    SizeRow("Pedestrian", "walking", "width", 0.85, 0.06, _WAYMO_PEOPLE),
    SizeRow("Pedestrian", "standing", "length", 0.80, 0.09, _WAYMO_PEOPLE),
    SizeRow("Pedestrian", "standing", "width", 0.86, 0.06, _WAYMO_PEOPLE),
    *_rows(
        "Cyclist",
        "upright",
        ((1.80, 0.06), (0.86, 0.05), (1.81, 0.06)),
        (_BICYCLE, _WAYMO_CYCLISTS, _WAYMO_CYCLISTS),
    ),
    *_rows(
        "Cyclist",
        "sporty",
        ((1.76, 0.05), (0.78, 0.05), (1.68, 0.06)),
        (_BICYCLE, _WAYMO_CYCLISTS, _WAYMO_CYCLISTS),
    ),
)

#: Correlation between any two of length, width and height within a kind, per class: larger cars are
#: wider and higher.
CORRELATIONS: Mapping[str, float] = {"Vehicle": 0.5, "Pedestrian": 0.2, "Cyclist": 0.3}

_TABLE = {(row.kind, row.quantity): row for row in SIZES}


def draw(rng: np.random.Generator, kind: str, quantity: str, common: float | None = None) -> float:
    """Draw one quantity (metres) of a kind.

    Args:
        rng: source of chance.
        kind: of `SIZES`.
        quantity: of `SIZES`.
        common: a standard normal number that this quantity shares with others of the same object.
    """
    row, score = _TABLE[kind, quantity], float(rng.standard_normal())
    if common is not None:
        share = CORRELATIONS[row.class_name]
        score = np.sqrt(share) * common + np.sqrt(1 - share) * score
    return row.mean + row.spread * float(np.clip(score, -_WIDEST, _WIDEST))


def draw_size(rng: np.random.Generator, kind: str) -> tuple[float, float, float]:
    """Draw length, width and height (metres) of the label of a vehicle or cyclist."""
    common = float(rng.standard_normal())
    return (
        draw(rng, kind, "length", common),
        draw(rng, kind, "width", common),
        draw(rng, kind, "height", common),
    )
