"""Networks of other code bases."""

from kd3d.interop.compare import compare_openpcdet
from kd3d.interop.files import read_openpcdet, save_openpcdet
from kd3d.interop.layouts import Layout
from kd3d.interop.openpcdet import export_openpcdet, import_openpcdet
from kd3d.interop.report import ImportReport

__all__ = [
    "ImportReport",
    "Layout",
    "compare_openpcdet",
    "export_openpcdet",
    "import_openpcdet",
    "read_openpcdet",
    "save_openpcdet",
]
