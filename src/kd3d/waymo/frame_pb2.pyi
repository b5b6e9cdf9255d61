from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Frame(_message.Message):
    __slots__ = ("context", "timestamp_micros", "pose", "lasers", "laser_labels", "no_label_zones")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_MICROS_FIELD_NUMBER: _ClassVar[int]
    POSE_FIELD_NUMBER: _ClassVar[int]
    LASERS_FIELD_NUMBER: _ClassVar[int]
    LASER_LABELS_FIELD_NUMBER: _ClassVar[int]
    NO_LABEL_ZONES_FIELD_NUMBER: _ClassVar[int]
    context: Context
    timestamp_micros: int
    pose: Transform
    lasers: _containers.RepeatedCompositeFieldContainer[Laser]
    laser_labels: _containers.RepeatedCompositeFieldContainer[Label]
    no_label_zones: _containers.RepeatedCompositeFieldContainer[Polygon2d]
    def __init__(self, context: _Optional[_Union[Context, _Mapping]] = ..., timestamp_micros: _Optional[int] = ..., pose: _Optional[_Union[Transform, _Mapping]] = ..., lasers: _Optional[_Iterable[_Union[Laser, _Mapping]]] = ..., laser_labels: _Optional[_Iterable[_Union[Label, _Mapping]]] = ..., no_label_zones: _Optional[_Iterable[_Union[Polygon2d, _Mapping]]] = ...) -> None: ...

class Context(_message.Message):
    __slots__ = ("name", "laser_calibrations", "stats")
    class Stats(_message.Message):
        __slots__ = ("laser_object_counts", "time_of_day", "location", "weather", "camera_object_counts")
        class ObjectCount(_message.Message):
            __slots__ = ("type", "count")
            TYPE_FIELD_NUMBER: _ClassVar[int]
            COUNT_FIELD_NUMBER: _ClassVar[int]
            type: int
            count: int
            def __init__(self, type: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...
        LASER_OBJECT_COUNTS_FIELD_NUMBER: _ClassVar[int]
        TIME_OF_DAY_FIELD_NUMBER: _ClassVar[int]
        LOCATION_FIELD_NUMBER: _ClassVar[int]
        WEATHER_FIELD_NUMBER: _ClassVar[int]
        CAMERA_OBJECT_COUNTS_FIELD_NUMBER: _ClassVar[int]
        laser_object_counts: _containers.RepeatedCompositeFieldContainer[Context.Stats.ObjectCount]
        time_of_day: bytes
        location: bytes
        weather: bytes
        camera_object_counts: _containers.RepeatedCompositeFieldContainer[Context.Stats.ObjectCount]
        def __init__(self, laser_object_counts: _Optional[_Iterable[_Union[Context.Stats.ObjectCount, _Mapping]]] = ..., time_of_day: _Optional[bytes] = ..., location: _Optional[bytes] = ..., weather: _Optional[bytes] = ..., camera_object_counts: _Optional[_Iterable[_Union[Context.Stats.ObjectCount, _Mapping]]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    LASER_CALIBRATIONS_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    laser_calibrations: _containers.RepeatedCompositeFieldContainer[LaserCalibration]
    stats: Context.Stats
    def __init__(self, name: _Optional[bytes] = ..., laser_calibrations: _Optional[_Iterable[_Union[LaserCalibration, _Mapping]]] = ..., stats: _Optional[_Union[Context.Stats, _Mapping]] = ...) -> None: ...

class Transform(_message.Message):
    __slots__ = ("transform",)
    TRANSFORM_FIELD_NUMBER: _ClassVar[int]
    transform: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, transform: _Optional[_Iterable[float]] = ...) -> None: ...

class LaserCalibration(_message.Message):
    __slots__ = ("name", "beam_inclinations", "beam_inclination_min", "beam_inclination_max", "extrinsic")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BEAM_INCLINATIONS_FIELD_NUMBER: _ClassVar[int]
    BEAM_INCLINATION_MIN_FIELD_NUMBER: _ClassVar[int]
    BEAM_INCLINATION_MAX_FIELD_NUMBER: _ClassVar[int]
    EXTRINSIC_FIELD_NUMBER: _ClassVar[int]
    name: int
    beam_inclinations: _containers.RepeatedScalarFieldContainer[float]
    beam_inclination_min: float
    beam_inclination_max: float
    extrinsic: Transform
    def __init__(self, name: _Optional[int] = ..., beam_inclinations: _Optional[_Iterable[float]] = ..., beam_inclination_min: _Optional[float] = ..., beam_inclination_max: _Optional[float] = ..., extrinsic: _Optional[_Union[Transform, _Mapping]] = ...) -> None: ...

class Laser(_message.Message):
    __slots__ = ("name", "ri_return1", "ri_return2")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RI_RETURN1_FIELD_NUMBER: _ClassVar[int]
    RI_RETURN2_FIELD_NUMBER: _ClassVar[int]
    name: int
    ri_return1: RangeImage
    ri_return2: RangeImage
    def __init__(self, name: _Optional[int] = ..., ri_return1: _Optional[_Union[RangeImage, _Mapping]] = ..., ri_return2: _Optional[_Union[RangeImage, _Mapping]] = ...) -> None: ...

class RangeImage(_message.Message):
    __slots__ = ("range_image_compressed", "camera_projection_compressed", "range_image_pose_compressed")
    RANGE_IMAGE_COMPRESSED_FIELD_NUMBER: _ClassVar[int]
    CAMERA_PROJECTION_COMPRESSED_FIELD_NUMBER: _ClassVar[int]
    RANGE_IMAGE_POSE_COMPRESSED_FIELD_NUMBER: _ClassVar[int]
    range_image_compressed: bytes
    camera_projection_compressed: bytes
    range_image_pose_compressed: bytes
    def __init__(self, range_image_compressed: _Optional[bytes] = ..., camera_projection_compressed: _Optional[bytes] = ..., range_image_pose_compressed: _Optional[bytes] = ...) -> None: ...

class MatrixShape(_message.Message):
    __slots__ = ("dims",)
    DIMS_FIELD_NUMBER: _ClassVar[int]
    dims: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, dims: _Optional[_Iterable[int]] = ...) -> None: ...

class MatrixFloat(_message.Message):
    __slots__ = ("data", "shape")
    DATA_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    shape: MatrixShape
    def __init__(self, data: _Optional[bytes] = ..., shape: _Optional[_Union[MatrixShape, _Mapping]] = ...) -> None: ...

class MatrixFloatElements(_message.Message):
    __slots__ = ("data", "shape")
    DATA_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedScalarFieldContainer[float]
    shape: MatrixShape
    def __init__(self, data: _Optional[_Iterable[float]] = ..., shape: _Optional[_Union[MatrixShape, _Mapping]] = ...) -> None: ...

class MatrixInt32(_message.Message):
    __slots__ = ("data", "shape")
    DATA_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    shape: MatrixShape
    def __init__(self, data: _Optional[bytes] = ..., shape: _Optional[_Union[MatrixShape, _Mapping]] = ...) -> None: ...

class Polygon2d(_message.Message):
    __slots__ = ("x", "y", "id")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    x: _containers.RepeatedScalarFieldContainer[float]
    y: _containers.RepeatedScalarFieldContainer[float]
    id: bytes
    def __init__(self, x: _Optional[_Iterable[float]] = ..., y: _Optional[_Iterable[float]] = ..., id: _Optional[bytes] = ...) -> None: ...

class Label(_message.Message):
    __slots__ = ("box", "metadata", "type", "id", "detection_difficulty_level", "tracking_difficulty_level", "num_lidar_points_in_box", "most_visible_camera_name", "camera_synced_box", "num_top_lidar_points_in_box")
    class Box(_message.Message):
        __slots__ = ("center_x", "center_y", "center_z", "width", "length", "height", "heading")
        CENTER_X_FIELD_NUMBER: _ClassVar[int]
        CENTER_Y_FIELD_NUMBER: _ClassVar[int]
        CENTER_Z_FIELD_NUMBER: _ClassVar[int]
        WIDTH_FIELD_NUMBER: _ClassVar[int]
        LENGTH_FIELD_NUMBER: _ClassVar[int]
        HEIGHT_FIELD_NUMBER: _ClassVar[int]
        HEADING_FIELD_NUMBER: _ClassVar[int]
        center_x: float
        center_y: float
        center_z: float
        width: float
        length: float
        height: float
        heading: float
        def __init__(self, center_x: _Optional[float] = ..., center_y: _Optional[float] = ..., center_z: _Optional[float] = ..., width: _Optional[float] = ..., length: _Optional[float] = ..., height: _Optional[float] = ..., heading: _Optional[float] = ...) -> None: ...
    class Metadata(_message.Message):
        __slots__ = ("speed_x", "speed_y", "accel_x", "accel_y", "speed_z", "accel_z")
        SPEED_X_FIELD_NUMBER: _ClassVar[int]
        SPEED_Y_FIELD_NUMBER: _ClassVar[int]
        ACCEL_X_FIELD_NUMBER: _ClassVar[int]
        ACCEL_Y_FIELD_NUMBER: _ClassVar[int]
        SPEED_Z_FIELD_NUMBER: _ClassVar[int]
        ACCEL_Z_FIELD_NUMBER: _ClassVar[int]
        speed_x: float
        speed_y: float
        accel_x: float
        accel_y: float
        speed_z: float
        accel_z: float
        def __init__(self, speed_x: _Optional[float] = ..., speed_y: _Optional[float] = ..., accel_x: _Optional[float] = ..., accel_y: _Optional[float] = ..., speed_z: _Optional[float] = ..., accel_z: _Optional[float] = ...) -> None: ...
    BOX_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    DETECTION_DIFFICULTY_LEVEL_FIELD_NUMBER: _ClassVar[int]
    TRACKING_DIFFICULTY_LEVEL_FIELD_NUMBER: _ClassVar[int]
    NUM_LIDAR_POINTS_IN_BOX_FIELD_NUMBER: _ClassVar[int]
    MOST_VISIBLE_CAMERA_NAME_FIELD_NUMBER: _ClassVar[int]
    CAMERA_SYNCED_BOX_FIELD_NUMBER: _ClassVar[int]
    NUM_TOP_LIDAR_POINTS_IN_BOX_FIELD_NUMBER: _ClassVar[int]
    box: Label.Box
    metadata: Label.Metadata
    type: int
    id: bytes
    detection_difficulty_level: int
    tracking_difficulty_level: int
    num_lidar_points_in_box: int
    most_visible_camera_name: bytes
    camera_synced_box: Label.Box
    num_top_lidar_points_in_box: int
    def __init__(self, box: _Optional[_Union[Label.Box, _Mapping]] = ..., metadata: _Optional[_Union[Label.Metadata, _Mapping]] = ..., type: _Optional[int] = ..., id: _Optional[bytes] = ..., detection_difficulty_level: _Optional[int] = ..., tracking_difficulty_level: _Optional[int] = ..., num_lidar_points_in_box: _Optional[int] = ..., most_visible_camera_name: _Optional[bytes] = ..., camera_synced_box: _Optional[_Union[Label.Box, _Mapping]] = ..., num_top_lidar_points_in_box: _Optional[int] = ...) -> None: ...

class Object(_message.Message):
    __slots__ = ("object", "score", "overlap_with_nlz", "context_name", "frame_timestamp_micros")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_WITH_NLZ_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_NAME_FIELD_NUMBER: _ClassVar[int]
    FRAME_TIMESTAMP_MICROS_FIELD_NUMBER: _ClassVar[int]
    object: Label
    score: float
    overlap_with_nlz: bool
    context_name: bytes
    frame_timestamp_micros: int
    def __init__(self, object: _Optional[_Union[Label, _Mapping]] = ..., score: _Optional[float] = ..., overlap_with_nlz: bool = ..., context_name: _Optional[bytes] = ..., frame_timestamp_micros: _Optional[int] = ...) -> None: ...

class Objects(_message.Message):
    __slots__ = ("objects",)
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[Object]
    def __init__(self, objects: _Optional[_Iterable[_Union[Object, _Mapping]]] = ...) -> None: ...
