"""Folds of many classes at once: whole groups are held out, every class in every fold."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Seed = int | np.random.SeedSequence
Part = npt.NDArray[np.str_]

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# Shares of the published splits: the test fold is one of n, and of the rest one in five validates.
VALIDATION_FOLDS = 5


def deal_groups(
    groups: npt.ArrayLike,
    classes: npt.ArrayLike,
    *,
    n_folds: int,
    seed: Seed,
    blocks: npt.ArrayLike | None = None,
) -> npt.NDArray[np.intp]:
    """Deal groups to folds so that every fold holds about its share of every class and block.

    Groups come in random order, those whose members are of few classes first, and each goes to
    the fold where it leaves the shares of classes most equal, among equal ones where it leaves
    the shares of blocks so, and then to the smallest. Without blocks this is the greedy rule of
    scikit-learn's ``StratifiedGroupKFold``. Where every group is of one class, folds differ by
    at most one group of each.

    Parameters
    ----------
    groups
        Shape (n,): what is held out together, such as wells.
    classes
        Shape (n,): the class of each member.
    n_folds
        Folds, at least 2. A class of fewer groups than folds is absent from some of them.
    seed
        Seed of the order. The same seed and members give the same folds in whatever order.
    blocks
        Shape (n,): plates, or what else is to be spread over folds.

    Returns
    -------
    ndarray of intp, shape (n,)
        Fold of each member, 0 to n_folds - 1; members of a group have one.

    Raises
    ------
    ValueError
        If ``n_folds`` is below 2 or above the number of groups, or lengths differ.
    """
    names, of_group = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    if n_folds < 2 or n_folds > names.size:
        raise ValueError(f"n_folds is {n_folds}, expected 2 to the {names.size} groups there are")
    counts = _count_shares(of_group, np.asarray(classes), names.size)
    n_classes = counts.shape[1]
    random = np.random.default_rng(seed)
    order = random.permutation(names.size)
    order = order[np.argsort(-counts[order].std(axis=1), kind="stable")]
    if blocks is not None:
        of_block = _count_shares(of_group, np.asarray(blocks), names.size)
        counts = np.concatenate([counts, of_block], axis=1)
    held = np.zeros((n_folds, counts.shape[1]))
    folds = np.empty(names.size, dtype=np.intp)
    for group in order:
        trial = held[None] + np.eye(n_folds)[:, :, None] * counts[group]
        # Rounded: sums in another order must not decide between equal folds.
        spread = trial.std(axis=1)
        of_classes = np.round(spread[:, :n_classes].mean(axis=1), 12)
        of_blocks = np.round(spread[:, n_classes:].sum(axis=1), 12)
        size = np.round(held.sum(axis=1), 12)
        fold = np.lexsort((np.arange(n_folds), size, of_blocks, of_classes))[0]
        folds[group] = fold
        held[fold] += counts[group]
    return folds[of_group]


def _count_shares(
    of_group: npt.NDArray[np.intp], labels: npt.NDArray[Any], n_groups: int
) -> npt.NDArray[np.float64]:
    """Give the share of every label's members in each group, shape (group, label)."""
    if labels.shape != of_group.shape:
        raise ValueError(f"{of_group.size} groups and {labels.size} labels, expected as many")
    _, of_label = np.unique(labels.astype(str), return_inverse=True)
    counts = np.zeros((n_groups, of_label.max() + 1))
    np.add.at(counts, (of_group, of_label), 1)
    return counts / counts.sum(axis=0)


def split_parts(
    groups: npt.ArrayLike,
    classes: npt.ArrayLike,
    *,
    n_folds: int,
    fold: int,
    seed: Seed,
    blocks: npt.ArrayLike | None = None,
) -> Part:
    """Split members into training, validation and one test fold, groups whole.

    Parameters
    ----------
    groups, classes, n_folds, seed, blocks
        See `deal_groups`; n_folds is lowered to the number of groups where there are fewer.
    fold
        The fold that tests.

    Returns
    -------
    ndarray of str, shape (n,)
        ``train``, ``validation`` (a fifth, and something of every class) or ``test``. What is
        never trained on can't be told apart: a class with one group beside the tested ones
        trains on that and has none to validate, and one of a single group has none to test.
    """
    group_names, class_names = np.asarray(groups).astype(str), np.asarray(classes).astype(str)
    block_names = None if blocks is None else np.asarray(blocks)
    n_groups = np.unique(group_names).size
    folds = deal_groups(
        group_names, class_names, n_folds=min(n_folds, n_groups), seed=seed, blocks=block_names
    )
    parts = split_rest(group_names, class_names, folds == fold, seed=seed, blocks=block_names)
    for name in np.unique(class_names):
        own = class_names == name
        for taken in (VALIDATION, TEST):
            if not (own & (parts == TRAIN)).any():
                parts[own & (parts == taken)] = TRAIN
    return parts


def split_rest(
    groups: npt.ArrayLike,
    classes: npt.ArrayLike,
    is_test: npt.ArrayLike,
    *,
    seed: Seed,
    blocks: npt.ArrayLike | None = None,
) -> Part:
    """Split what is not tested into training and validation, groups whole.

    Parameters
    ----------
    groups, classes, seed, blocks
        See `deal_groups`.
    is_test
        Shape (n,), bool: what tests.

    Returns
    -------
    ndarray of str, shape (n,)
        ``test`` where told so; of the others a fifth is ``validation``, with something of every
        class that has two groups or more among them; a class of one group is ``train``.
    """
    group_names, class_names = np.asarray(groups).astype(str), np.asarray(classes).astype(str)
    block_names = None if blocks is None else np.asarray(blocks)
    rest = ~np.asarray(is_test, dtype=bool)
    parts = np.where(rest, TRAIN, TEST).astype("<U10")
    for name in np.unique(class_names):
        own = rest & (class_names == name)
        if np.unique(group_names[own]).size < 2:
            rest[own] = False
    n_rest = np.unique(group_names[rest]).size
    if n_rest < 2:
        return parts
    inner = deal_groups(
        group_names[rest],
        class_names[rest],
        n_folds=min(VALIDATION_FOLDS, n_rest),
        seed=seed,
        blocks=None if block_names is None else block_names[rest],
    )
    parts[np.flatnonzero(rest)[inner == 0]] = VALIDATION
    # A class that none of these is of would have no say in when to stop.
    for name in np.unique(class_names[rest]):
        own = np.flatnonzero(rest & (class_names == name))
        if not (parts[own] == VALIDATION).any():
            taken = group_names[own][np.argmin(inner[class_names[rest] == name])]
            parts[rest & (group_names == taken)] = VALIDATION
    return parts


def validate_fields(
    parts: Part, classes: npt.ArrayLike, fields: npt.ArrayLike, *, seed: Seed
) -> Part:
    """Let fields validate for classes that could spare no group.

    A class with one well beside the tested ones has none to validate. Early stopping would listen
    to the other classes alone, in a screen of two wells per gene to nothing but the controls. So a
    fifth of the fields of its training wells validate, as in the published splits: who has seen
    their wells knows them better than it should, which is no harm to what is tested.

    Parameters
    ----------
    parts, classes, fields
        Shape (n,): from `split_rest` or `split_parts`, by member; fields are unique over wells.
    seed
        Seed of the choice.

    Returns
    -------
    ndarray of str, shape (n,)
        New parts. A class of one field is trained on; where that leaves validation members of one
        class alone, they are trained on too, since an epoch that calls everything by that class
        would be the best.
    """
    class_names, names = np.asarray(classes).astype(str), np.asarray(fields).astype(str)
    made = parts.copy()
    for name in np.unique(class_names[parts == TRAIN]):
        own = class_names == name
        here = np.unique(names[own & (parts == TRAIN)])
        if (own & (parts == VALIDATION)).any() or here.size < 2:
            continue
        n_taken = max(1, here.size // VALIDATION_FOLDS)
        taken = np.random.default_rng(seed).permutation(here)[:n_taken]
        made[own & (parts == TRAIN) & np.isin(names, taken)] = VALIDATION
    if np.unique(class_names[made == VALIDATION]).size < 2:
        made[made == VALIDATION] = TRAIN
    return made


class Confusion(NamedTuple):
    """How often members of each class were taken for which.

    Attributes
    ----------
    counts
        Shape (class, class), int64: rows are the truth, columns the prediction.
    """

    counts: npt.NDArray[np.int64]

    @property
    def recalls(self) -> npt.NDArray[np.float64]:
        """Share of each class that was recognised, shape (class,); NaN where it is absent."""
        totals = self.counts.sum(axis=1)
        return np.where(totals > 0, self.counts.diagonal() / np.maximum(totals, 1), np.nan)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that are there; NaN for none. Chance is 1 / n classes."""
        known = self.recalls[~np.isnan(self.recalls)]
        return float(known.mean()) if known.size else float("nan")

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Counts divided by their row's sum; NaN in rows of absent classes."""
        totals = self.counts.sum(axis=1, keepdims=True)
        return np.where(totals > 0, self.counts / np.maximum(totals, 1), np.nan)


def count_confusions(
    truth: npt.ArrayLike, predicted: npt.ArrayLike, *, n_classes: int
) -> Confusion:
    """Count predictions by true class.

    Parameters
    ----------
    truth, predicted
        Shape (n,), int: classes from 0.
    n_classes
        How many there are, absent ones included.
    """
    pairs = np.asarray(truth, dtype=np.int64) * n_classes + np.asarray(predicted, dtype=np.int64)
    counts = np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)
    return Confusion(counts.astype(np.int64))


def permute_groups(
    predictions: npt.ArrayLike, classes: npt.ArrayLike, *, n_draws: int, seed: Seed
) -> npt.NDArray[np.float64]:
    """Draw the balanced accuracy that predictions have when wells hold classes at random.

    Nuclei of a well are taken for the same classes together, so the labels of whole wells are
    exchanged and not those of nuclei, for which the null would be far too narrow.

    Parameters
    ----------
    predictions
        Shape (well, class), int: how many of a well's nuclei were taken for each class.
    classes
        Shape (well,), int: the true class of each well.
    n_draws
        Permutations.
    seed
        Of the permutations.

    Returns
    -------
    ndarray of float64, shape (n_draws,)
        NaN where there are no predictions.
    """
    counts = np.asarray(predictions, dtype=np.int64)
    truth = np.asarray(classes, dtype=np.int64)
    random = np.random.default_rng(seed)
    drawn = np.empty(n_draws)
    for index in range(n_draws):
        table = np.zeros((counts.shape[1], counts.shape[1]), dtype=np.int64)
        np.add.at(table, random.permutation(truth), counts)
        drawn[index] = Confusion(table).balanced_accuracy
    return drawn
