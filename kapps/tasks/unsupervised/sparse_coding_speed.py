"""How many sparse codes a second, against scikit-learn's coordinate descent, from 64 atoms to 1,024?

    kapps train sparse_coding_speed --seeds 5

Data: 10,000 whitened 8x8 patches of photographs, built in. The dictionary has learned from 20,000 others. Lambda is 1,
where about a twentieth of the coefficients is not zero with 256 atoms, or a quarter, where three times as many are not.
Both code the same patches, two thousand at a time, one after the other in the same process: what else the machine does
meets both. Ours was compiled before (the seconds it took are told), as a network is before it serves. scikit-learn's
`SparseCoder` with `lasso_cd` asks for a duality gap of 1e-8, ours for one of 3e-3 of the objective, a bound that is
far off: so the objectives are compared, and ours may be higher by one ten-thousandth at most, else the run fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import SparseCoder

from kapps.architectures.unsupervised.sparse_coding import SparseCoding, SparseCodingConfig
from kapps.data.patches import natural_patches
from kapps.errors import TrainingError, UnknownNameError
from kapps.tasks.experiments import Experiment

SIZES = (64, 128, 256, 512, 1024)
PATCHES = 10_000
ROUND = 2_000  # patches that one codes before it is the other's turn
CASES = {"lambda 1": 1.0, "lambda 0.25": 0.25}
MOST_ABOVE = 1e-4  # what part of the objective ours may be above scikit-learn's


def run(
    case: str,
    seed: int,
    *,
    size: int,
    data_dir: Path | None,
    folder: Path,
    report: Callable[[str], None],
    patches: int = PATCHES,
    taught: int = 20_000,
) -> dict[str, Any]:
    """Code the same patches by both; `value` is ours over scikit-learn's codes a second.

    Args:
        case: of `CASES`.
        size: atoms.
        patches: how many are coded.
        taught: how many the dictionary learns from.

    Raises:
        UnknownNameError: no such case.
        TrainingError: our codes are not as good.
    """
    if case not in CASES:
        raise UnknownNameError("case", case, CASES)
    penalty = CASES[case]
    learner = SparseCoding((8, 8, 1), SparseCodingConfig(atoms=size, penalty=penalty, seed=seed))
    learner.fit(natural_patches(8, taught, seed=seed), batch_size=256, verbose=0)
    x = natural_patches(8, patches, seed=1000 + seed)
    coder = SparseCoder(
        learner.components_.reshape(size, -1).astype(np.float64),
        transform_algorithm="lasso_cd",
        transform_alpha=penalty,
    )
    began = time.perf_counter()
    learner.transform(x[:ROUND])
    compiling = time.perf_counter() - began
    seconds = {"ours": 0.0, "theirs": 0.0}
    totals = {"ours": 0.0, "theirs": 0.0}
    nonzero = 0
    for start in range(0, patches, ROUND):
        some = x[start : start + ROUND]
        rows = some.reshape(len(some), -1).astype(np.float64)
        for name, code, given in (("ours", learner.transform, some), ("theirs", coder.transform, rows)):
            began = time.perf_counter()
            codes = code(given)
            seconds[name] += time.perf_counter() - began
            totals[name] += float(learner.objective(some, codes).sum(dtype=np.float64))
        nonzero += int(np.count_nonzero(codes))
        report(f"{start + len(some)} patches: ours {seconds['ours']:.2f} s, theirs {seconds['theirs']:.2f} s")
    if totals["ours"] > (1 + MOST_ABOVE) * totals["theirs"]:
        raise TrainingError(
            f"expected an objective of at most {totals['theirs'] / patches:.6g} (scikit-learn's) and a ten-thousandth, "
            f"got {totals['ours'] / patches:.6g}: take a smaller tolerance"
        )
    return {
        "value": seconds["theirs"] / seconds["ours"],
        "parts": {
            "ours, codes a second": patches / seconds["ours"],
            "scikit-learn, codes a second": patches / seconds["theirs"],
            "ours, objective": totals["ours"] / patches,
            "scikit-learn, objective": totals["theirs"] / patches,
            "coefficients that are not zero": nonzero / patches,
            "seconds of compiling": compiling,
        },
    }


EXPERIMENT = Experiment(
    title="Sparse codes a second: FISTA in batches against coordinate descent",
    question="How many times as many sparse codes a second does a batch at a time give, to the same objective?",
    claim="At least three times as many as scikit-learn's SparseCoder (lasso_cd) with 256 atoms.",
    finding="Holds where forty of 256 coefficients are not zero: seven times as many, and never under six with any "
    "number of atoms. Where only twelve are, two and a half times: coordinate descent gains more from zeros.",
    metric="times scikit-learn's codes a second",
    cases=tuple(CASES),
    run=run,
    data="natural patches, 8x8, whitened",
    sizes=SIZES,
    size_name="atoms",
)
