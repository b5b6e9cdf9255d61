"""What surfaces are made of, and how much of a laser's light they send back to it.

The light source and the receiver are in one place, so a surface is described by its answer to light
that returns along its own way. Three shares add up: light that the material scatters (matt or rough
surfaces: Oren and Nayar, "Generalization of Lambert's reflectance model", SIGGRAPH 1994, with both
directions equal), a lobe around the normal where the surface is polished, and retro-reflection.
A polished surface shows its body through a clear coat, which light passes twice and less and less
towards grazing angles (Schlick, "An inexpensive BRDF model for physically-based rendering", 1994).

The numbers are choices within what is common at near-infrared wavelengths, not measurements.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "BARK",
    "DARK",
    "FOLIAGE",
    "GLASS",
    "METAL",
    "REFLECTOR",
    "RUBBER",
    "SKIN",
    "Surface",
    "cloth",
    "echo_rows",
    "echo_strength",
    "ground_rows",
    "lets_through",
    "masonry",
    "matt",
    "paint",
    "plastic",
]

Floats = npt.NDArray[np.float32]

#: Roughness of asphalt, paving and soil, radians.
_GROUND_ROUGHNESS = 0.5
#: How much darker wet ground is, and how much of its grazing return the water takes.
_WET_DARKENING, _WET_MIRROR = 0.5, 0.85
#: Width of the lobe of polished surfaces, radians: panels are never quite flat.
_LOBE_WIDTH = 0.1


class Surface(NamedTuple):
    """What a part is made of.

    Args:
        diffuse: light scattered back at normal incidence, as a share of a white matt plate's.
        roughness: spread of the surface's slopes, radians; 0 is matt (Lambert), 0.5 keeps a third
            of its brightness at grazing angles.
        gloss: height of the lobe at normal incidence; above 0 the surface has a clear coat.
        retro: light sent straight back, whatever the angle; on the scale of `diffuse`.
        transmission: share of the rays at normal incidence that go on as if nothing were there.
        loss: share of the rays that never come back, whatever their strength (spokes, gaps).
    """

    diffuse: float
    roughness: float = 0.0
    gloss: float = 0.0
    retro: float = 0.0
    transmission: float = 0.0
    loss: float = 0.0


#: Panes, slightly dusty: a weak return at normal incidence, otherwise hardly any.
GLASS = Surface(0.0008, gloss=0.05, transmission=0.6)
#: Tyres and their rims: black rubber around shapes that send light elsewhere.
RUBBER = Surface(0.03, roughness=0.2, loss=0.3)
#: Shadowed or black things: underbodies, seats, radiators.
DARK = Surface(0.04, roughness=0.4)
METAL = Surface(0.25, roughness=0.1, gloss=0.3)
SKIN = Surface(0.4, roughness=0.3)
BARK = Surface(0.25, roughness=0.7)
FOLIAGE = Surface(0.45, roughness=0.6)
#: Number plates, traffic signs, rear reflectors.
REFLECTOR = Surface(0.3, retro=6.0)


def matt(diffuse: float, roughness: float = 0.0) -> Surface:
    """A surface that only scatters; `roughness` in radians."""
    return Surface(diffuse, roughness=roughness)


def paint(rng: np.random.Generator) -> Surface:
    """Car paint under a clear coat: dark and bright cars are both common."""
    return Surface(float(np.exp(rng.uniform(np.log(0.02), np.log(0.7)))), gloss=0.3)


def plastic(rng: np.random.Generator) -> Surface:
    """Bins, cabinets, stands: dull to slightly polished."""
    return Surface(float(rng.uniform(0.06, 0.6)), roughness=0.15, gloss=0.08)


def cloth(rng: np.random.Generator) -> Surface:
    """Clothes, which are mostly bright in the near infrared."""
    return Surface(float(rng.uniform(0.08, 0.7)), roughness=0.5)


def masonry(rng: np.random.Generator) -> Surface:
    """Plaster, brick, concrete."""
    return Surface(float(rng.uniform(0.15, 0.55)), roughness=0.5)


def echo_rows(surfaces: npt.NDArray[np.float64]) -> Floats:
    """Columns of `echo_strength` for a table of surfaces.

    Args:
        surfaces: ``[P, 6]`` the fields of `Surface`.

    Returns:
        ``[P, 5]`` float32: scattered at normal incidence, scattered at grazing angles, gloss,
        retro, loss.
    """
    diffuse, roughness, gloss, retro, _, loss = surfaces.T
    variance = roughness**2
    facing = 1.0 - 0.5 * variance / (variance + 0.33)
    grazing = 0.45 * variance / (variance + 0.09)
    rows = [diffuse * facing, diffuse * grazing, gloss, retro, loss]
    return np.stack(rows, axis=-1).astype(np.float32)


def ground_rows(cover: Floats, wetness: float = 0.0) -> Floats:
    """Columns of `echo_strength` for the ground.

    Args:
        cover: ``[N]`` diffuse share of the dry ground.
        wetness: from 0 (dry) to 1: water darkens the ground and turns it into a mirror, which sends
            light of grazing rays away.

    Returns:
        ``[N, 5]`` float32.
    """
    surfaces = np.zeros((len(cover), len(Surface._fields)))
    surfaces[:, 0], surfaces[:, 1] = cover, _GROUND_ROUGHNESS
    rows = echo_rows(surfaces)
    rows[:, :2] *= 1.0 - _WET_DARKENING * wetness
    rows[:, 1] *= 1.0 - _WET_MIRROR * wetness
    return rows


def echo_strength(rows: Floats, cosine: Floats) -> Floats:
    """Light that comes back, as a share of a white matt plate's at normal incidence.

    Args:
        rows: ``[N, 5]`` of `echo_rows`.
        cosine: ``[N]`` of the angle of incidence.

    Returns:
        ``[N]`` float32; above 1 for retro-reflectors.
    """
    square = cosine * cosine
    strength: Floats = rows[:, 0] * cosine + rows[:, 1] * (1 - square) + rows[:, 3] * square
    coated = np.flatnonzero(rows[:, 2] > 0)
    cosine, square = cosine[coated], np.maximum(square[coated], np.float32(1e-4))
    lobe = np.exp((1 - 1 / square) / (2 * _LOBE_WIDTH**2))
    strength[coated] = strength[coated] * _through_coat(cosine) ** 2 + rows[coated, 2] * lobe
    return strength


def lets_through(transmission: Floats, cosine: Floats) -> Floats:
    """Chance that a ray passes a pane: falls towards grazing angles like light in a clear coat.

    Args:
        transmission: ``[N]`` share at normal incidence.
        cosine: ``[N]`` of the angle of incidence.
    """
    return transmission * _through_coat(cosine)


def _through_coat(cosine: Floats) -> Floats:
    """Share of light that enters a coat (Schlick), 1 at normal incidence."""
    inside: Floats = 1 - (1 - cosine) ** 5
    return inside
