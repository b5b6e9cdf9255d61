import importlib.util
from pathlib import Path

from matplotlib.image import imread

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "make_pictures.py"


def test_the_documentation_s_pictures_can_be_drawn_again(tmp_path):
    spec = importlib.util.spec_from_file_location("make_pictures", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    kept = {path.name for path in script.IMAGES.glob("coordinates.png")}
    script.IMAGES = tmp_path
    script.main()
    drawn = {path.name: imread(path) for path in tmp_path.iterdir()}
    assert set(drawn) == kept
    assert all(image.std() > 0.05 for image in drawn.values())
