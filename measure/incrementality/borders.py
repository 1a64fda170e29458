"""Third-party warnings that are known and harmless, held back where those packages are called.

Everything else stays a warning, and an error in the tests.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pymc_border() -> Iterator[None]:
    """Around importing and running PyMC."""
    with warnings.catch_warnings():
        # PyMC 6.3 imports IfElse from where PyTensor no longer wants it.
        warnings.filterwarnings("ignore", "Importing 'IfElse'", DeprecationWarning)
        yield


@contextmanager
def zarr_border() -> Iterator[None]:
    """Around writing zarr stores."""
    with warnings.catch_warnings():
        # xarray consolidates metadata, which readers want and the zarr 3 format has not fixed yet.
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        yield


@contextmanager
def econml_border() -> Iterator[None]:
    """Around EconML: its warnings, and a scikit-learn setting it cannot work with."""
    with warnings.catch_warnings():
        # LightGBM trained on arrays invents column names; scikit-learn then misses them.
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        import sklearn

        with sklearn.config_context(transform_output="default"):
            yield
