"""Figures of the publication that can be computed again from its lists, and from iRefIndex.

Facts from Image2Reg (Paysan et al., Cell Systems 2025): the 249 genes of its interactome, and at
which rank each of 39 left-out targets was found. The figures that are compared were printed, or
follow from formulas; no code of theirs is run.
"""

import os

import networkx as nx
import numpy as np
import pytest

from i2r.formats.interactions import read_interactions
from i2r.kernels.interactome import count_degrees, find_largest_part
from i2r.kernels.kernel_regression import ntk_kernel
from i2r.kernels.ranking import published_auc, top_k_curve

GENES = (  # noqa: SIM905
    "ACAN AKT1S1 ALOX5 AMPH APPBP2 AQP1 ARMCX2 ATF4 ATXN7 AURKA AURKB AXL BAX BCL2L11 BCR "
    "BEX1 BIRC5 BMP4 BRAF BUB1 BUB1B C1QL1 CASP8 CCNA2 CCNB1 CCNB2 CCND2 CCNE1 CCNF CD40 "
    "CDC20 CDC42 CDC42EP1 CDC45 CDC6 CDCA2 CDCA3 CDCA8 CDK1 CDK14 CDK2 CDK6 CDKN1A CEBPA "
    "CENPA CENPE CEP192 CKS2 CLSPN CLU CNN1 COL1A1 COL4A1 COL4A2 COL5A1 CREB1 CRMP1 CRYAB "
    "CYBA DHRS2 DIABLO DNMT3B DSP DUSP6 E2F1 EEF1A2 EFEMP1 ELK1 EPB41L3 ERG EXO1 FBLN1 FBN1 "
    "FBN2 FEN1 FGF1 FGFR2 FGFR3 FHL2 FKBP4 FN1 FOS FOXM1 FOXO1 FSTL1 GABRB3 GIT1 GLI1 GLI2 "
    "GNAQ GSK3B GTSE1 HAPLN1 HJURP HK2 HRAS HSP90AB1 HSPA1B HSPB1 HSPG2 IGF2 IGFBP5 INHBA "
    "IRAK4 IRF7 JUN KIF15 KIF23 KIF2C KIF4A KLK6 KPNA2 KRT15 KRT18 KRT8 KRT80 KRT81 LAMA1 LBH "
    "LDOC1 LGALS1 LOXL4 LRP1 LTBP2 LZTS2 MAGEA1 MAGEA11 MAGEA12 MAGEA4 MAGEA6 MAGED1 MAP2K3 "
    "MAP3K2 MAP3K5 MAP3K9 MAPK7 MAPK8 MBP MCM10 MCM3 MCM4 MCM5 MCM7 MDC1 MDFI MDK MFAP2 MKI67 "
    "MMP2 MSH2 MYBL2 MYC MYD88 MYH9 MYL2 MYL9 NCAM1 NCAPH NCF2 NCOR2 NDC80 NDN NEFL NEK2 "
    "NOTCH3 NUF2 PAK2 PARP2 PCLO PCNA PCOLCE PDGFRB PIK3R2 PLAT PLCB2 PLCG1 PLK1 PRAME PRC1 "
    "PRKACA PRKCA PRKCE PRSS23 PTCH1 PTN RACGAP1 RAF1 RARA RELB RHOA RPS6KB1 RRM2 RUNX1 "
    "S100A14 S100A2 SDC1 SDC2 SDC3 SERPINE1 SFN SKP2 SMAD4 SMO SPARC SPC24 SPC25 SRC SREBF1 "
    "STAC STC2 SUV39H1 TCF4 TENM3 TGFB1 TGM2 THBS1 THRA THY1 TIMP1 TINAGL1 TK1 TLR4 TNC TNNC1 "
    "TNNT1 TNNT2 TONSL TP73 TPM1 TPM2 TPX2 TRAF2 TRIB3 TSC2 TTK TUBA1A TUBB TUBB2B TUBB6 "
    "UBE2C UBE2S UCHL5 VCAN VIM WEE1 WWTR1 YES1 YWHAQ ZWINT "
).split()
# Ranks of the targets among the 249 genes, in falling order of how well they were found.
CMAP_RANKS = (
    1, 1, 2, 2, 2, 5, 5, 6, 6, 7, 8, 9, 9, 12, 12, 13, 15, 17, 23, 24, 25, 28, 30, 40, 41,
    41, 42, 42, 43, 66, 78, 96, 107, 111, 131, 138, 154, 198, 212,
)  # fmt: skip
IMAGE_RANKS = (
    1, 1, 5, 8, 9, 9, 9, 9, 12, 13, 17, 19, 19, 20, 23, 26, 27, 30, 31, 35, 37, 37, 38, 46,
    51, 59, 66, 78, 89, 95, 120, 136, 137, 166, 167, 180, 181, 196, 223,
)  # fmt: skip


@pytest.mark.parametrize(
    ("ranks", "auc_20", "auc_50", "hits", "median", "mean", "reciprocal"),
    [
        (CMAP_RANKS, 0.300366, 0.486677, {1: 2, 5: 7, 10: 13, 20: 18, 30: 23, 50: 29}, 24, 46.2, 0.142),
        (IMAGE_RANKS, 0.174603, 0.373555, {1: 2, 5: 3, 10: 8, 20: 14, 30: 18, 50: 24}, 35, 62.2, 0.092),
    ],
)  # fmt: skip
def test_published_ranks_have_the_published_areas(
    ranks: tuple[int, ...], auc_20: float, auc_50: float, hits: dict[int, int], median: int,
    mean: float, reciprocal: float,
) -> None:  # fmt: skip
    found = np.array(ranks, dtype=float)
    assert len(found) == 39
    assert published_auc(found, 20) == pytest.approx(auc_20, abs=5e-7)
    assert published_auc(found, 50) == pytest.approx(auc_50, abs=5e-7)
    curve = top_k_curve(found, 50)
    assert {k: round(39 * curve[k - 1]) for k in hits} == hits
    assert np.median(found) == median
    assert found.mean() == pytest.approx(mean, abs=0.06)
    assert (1 / found).mean() == pytest.approx(reciprocal, abs=6e-4)


def test_the_tangent_kernel_has_its_known_values() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]])
    kernel = ntk_kernel(rows, rows)
    assert kernel[0, 1] == pytest.approx(1.884662, abs=5e-7)
    assert np.diagonal(kernel) == pytest.approx([4, 4, 52])


@pytest.mark.skipif("I2R_DATA" not in os.environ, reason="needs iRefIndex (I2R_DATA)")
def test_the_published_genes_make_the_published_network() -> None:
    found = read_interactions(
        f"{os.environ['I2R_DATA']}/interactome/iRefIndex_v14_MIScore_interactome_C9.costs.txt.gz"
    )
    assert len(GENES) == 249
    inside = np.isin(found.genes, GENES)
    assert inside.sum() == 249
    among = inside[found.edges].all(axis=1)
    counts = {}
    for cut in (0.562, 0.594, 0.598, 1.0):
        edges = found.edges[among & (found.costs < cut)]
        counts[cut] = len(edges)
    assert counts == {0.562: 510, 0.594: 526, 0.598: 563, 1.0: 900}
    edges = (np.cumsum(inside) - 1)[found.edges[among & (found.costs < 0.594)]]
    assert find_largest_part(edges, 249).all()
    degrees = count_degrees(edges, 249)
    names = [name for name, yes in zip(found.genes, inside, strict=True) if yes]
    assert (degrees.max(), names[degrees.argmax()]) == (27, "CDKN1A")
    assert (degrees == 1).sum() == 55
    assert degrees.mean() == pytest.approx(4.2249, abs=5e-5)
    graph = nx.Graph(edges.tolist())
    assert nx.average_clustering(graph) == pytest.approx(0.126, abs=5e-4)
    assert nx.diameter(graph) == 11
