"""Arrays that can't be written to: the only ones that kernels are compiled for ahead.

Numba compiles one version for arrays that can be written and another for those that can't, and
takes seconds for each.
"""

from typing import Any

import numpy as np
import numpy.typing as npt


def freeze(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give a contiguous view that can't be written to, as fields of a store are.

    Parameters
    ----------
    array
        Any shape and dtype; copied where it is not contiguous.
    """
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view
