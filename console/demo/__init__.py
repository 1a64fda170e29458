"""The seeded world of ``truelift demo``: a retailer whose true lift is known to the last order.

People come first (:func:`build_people`), the product assigns their arms, then the world behaves
(:func:`simulate`) and is written as files a retailer would have (:func:`write_files`). Both
potential outcomes of every customer are drawn, so the truth is a fact of the world, not a guess.
"""

from console.demo.files import DataFile, write_files, write_people
from console.demo.people import People, build_people
from console.demo.setting import CONTROL, EXPERIMENT, SHARES, TREATMENT
from console.demo.truth import Defect, Quantity, Truth, truth_of
from console.demo.world import World, build_world, simulate

__all__ = [
    "CONTROL",
    "EXPERIMENT",
    "SHARES",
    "TREATMENT",
    "DataFile",
    "Defect",
    "People",
    "Quantity",
    "Truth",
    "World",
    "build_people",
    "build_world",
    "simulate",
    "truth_of",
    "write_files",
    "write_people",
]
