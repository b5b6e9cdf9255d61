"""The protobuf messages of Waymo v1 frames and metric files, generated from ``frame.proto``.

After a change of ``frame.proto``, from the root of the repository::

    python -m venv .protoc
    .protoc/bin/pip install "grpcio-tools==1.60.*" "setuptools<80"
    . .protoc/bin/activate && cd src
    python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. kd3d/waymo/frame.proto

That compiler belongs to protobuf 4.25, so what it writes runs on 4.25 and everything after.
"""

from kd3d.waymo.frame_pb2 import (
    Context,
    Frame,
    Label,
    Laser,
    LaserCalibration,
    MatrixFloat,
    MatrixFloatElements,
    MatrixInt32,
    MatrixShape,
    Object,
    Objects,
    Polygon2d,
    RangeImage,
    Transform,
)

__all__ = [
    "Context",
    "Frame",
    "Label",
    "Laser",
    "LaserCalibration",
    "MatrixFloat",
    "MatrixFloatElements",
    "MatrixInt32",
    "MatrixShape",
    "Object",
    "Objects",
    "Polygon2d",
    "RangeImage",
    "Transform",
]
