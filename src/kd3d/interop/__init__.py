"""Networks of other code bases."""

from kd3d.interop.openpcdet import ImportReport, import_openpcdet

__all__ = ["ImportReport", "import_openpcdet"]
