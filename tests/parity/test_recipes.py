"""The core's logistic regression against scikit-learn's, on random data and on real features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tlcore
from tlcore import _core
from tlcore.preprocessing.image import ImageDataGenerator

linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
WEIGHTS = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"


def check(x: np.ndarray, y: np.ndarray, weights: np.ndarray, l2: float) -> None:
    """Probabilities to 1e-4: softmax, the same weighed, and one class against the others."""
    questions = ((y, None), (y, weights), ((y == 1).astype(int), None))
    for labels, given in questions:
        total = len(y) if given is None else given.sum()
        theirs = linear_model.LogisticRegression(C=1 / (l2 * total), tol=1e-7, max_iter=20000)
        theirs.fit(x.astype(np.float64), labels, sample_weight=given)
        expected = theirs.predict_proba(x.astype(np.float64))
        outputs = expected.shape[1] if expected.shape[1] > 2 else 1
        found = _core.logistic_regression(
            x, labels, outputs, l2, sample_weight=given, tolerance=1e-8
        )["probabilities"]
        np.testing.assert_allclose(found, expected[:, -outputs:], atol=1e-4)


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("shape", [(200, 30), (60, 300)])
def test_random_features(shape: tuple[int, int], l2: float) -> None:
    random = np.random.default_rng(0)
    x = random.gamma(1, 0.5, shape).astype(np.float32)
    y = np.arange(shape[0]) % 5
    x[:, :5] += 0.3 * np.eye(5, dtype=np.float32)[y]
    check(x, y, random.uniform(0.1, 2, shape[0]), l2)


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
def test_features_of_flowers(shared_data: Path, l2: float) -> None:
    base = tlcore.applications.MobileNetV2(
        (224, 224, 3),
        alpha=0.35,
        include_top=False,
        pooling="avg",
        weights=str(shared_data / "weights" / WEIGHTS),
    )
    photos = ImageDataGenerator(
        preprocessing_function=tlcore.applications.mobilenet_v2.preprocess_input
    ).flow_from_directory(shared_data / "photos" / "flowers", (224, 224), shuffle=False)
    x = base.predict(photos, verbose=0)
    random = np.random.default_rng(0)
    check(x, np.asarray(photos.classes), random.uniform(0.1, 2, len(x)), l2)
