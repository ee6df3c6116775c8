"""How sharp the fields of wells are, as the stage 'quality' measured them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from i2r.analysis.screen.explanations import find_dna_channel
from i2r.store import files, tables


def read_focus(urls: Sequence[str]) -> npt.NDArray[np.float64]:
    """Give the focus of wells in the channel that shows nuclei.

    Other channels look sharper or blurred for what they stain.

    Parameters
    ----------
    urls
        Of each well's table of 'quality'.

    Returns
    -------
    ndarray, shape (well,)
        Mean logarithm over the fields that were not excluded; NaN where there is none.
    """
    found = np.full(len(urls), np.nan)
    for number, url in enumerate(urls):
        if not files.exists(url):
            continue
        table = tables.read_table(url, columns=["field", "channel", "focus", "reason"])
        left_out = table.loc[table["reason"] != "", "field"]
        channel = find_dna_channel(table["channel"].unique().tolist())
        used = (table["channel"] == channel) & ~table["field"].isin(left_out) & (table["focus"] > 0)
        if used.any():
            found[number] = np.log(table.loc[used, "focus"].to_numpy(dtype=np.float64)).mean()
    return found
