"""How well simple classifiers read labels off sentences: a linear probe on vectors, and what it must beat.

scikit-learn does the work; the extra `classification` installs it.
"""

from collections.abc import Sequence

import numpy as np

FOLDS = 5
INVERSE_REGULARISATIONS = (0.001, 0.01, 0.1, 1.0, 10.0)
MAX_ITERATIONS = 1000


def nested_samples(
    labels: Sequence, sizes: Sequence[int], seed: int = 0, balanced: bool = False
) -> dict[int, np.ndarray]:
    """Random samples without replacement, each of which holds every smaller one of the same seed.

    Args:
        labels: the class of each sentence.
        sizes: of the samples.
        seed: of the draw.
        balanced: as many sentences of one class as of any other; where the size does not divide, one more of some.

    Returns:
        Places in `labels` for each size.

    Raises:
        ValueError: when there are too few sentences, or too few of a class for a balanced sample.
    """
    if max(sizes) > len(labels):
        raise ValueError(f"a sample of {max(sizes):,} out of {len(labels):,} sentences")
    order = np.random.default_rng(seed).permutation(len(labels))
    if balanced:
        classes, numbers = np.unique(np.asarray(labels), return_inverse=True)
        turn = np.empty_like(numbers)
        for number in range(len(classes)):
            members = order[numbers[order] == number]
            turn[members] = np.arange(len(members))
        order = np.lexsort((numbers, turn))  # the first of every class, then the second of every class, ...
        counts = np.bincount(numbers[order[: max(sizes)]], minlength=len(classes))
        if counts.max() - counts.min() > 1:
            raise ValueError(
                f"the class {classes[counts.argmin()]} has {counts.min():,} sentences, too few for a balanced sample "
                f"of {max(sizes):,} from {len(classes)} classes"
            )
    return {size: order[:size] for size in sizes}


def probe(features, labels: Sequence[int] | np.ndarray, test_features, standardise: bool = True) -> np.ndarray:
    """The classes that a one-layer linear classifier (logistic regression) gives test sentences.

    Its L2 regularisation is chosen on the sample alone, by the likelihood under cross-validation: with a hundred labels
    it decides the accuracy, and vectors of different models want different ones. A class with a single sentence cannot
    be in every fold; the regularisation is then scikit-learn's default.

    Args:
        features: `(sentences, width)` of the labelled sample, dense or sparse.
        labels: its classes, `(sentences,)`, two or more different ones.
        test_features: `(test sentences, width)`.
        standardise: first give every dimension mean 0 and variance 1 on the sample, so that the classifier asks what a
            dimension says and not how loudly; not for sparse features.

    Returns:
        `(test sentences,)` classes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler() if standardise else "passthrough"
    classifier = make_pipeline(scaler, LogisticRegression(max_iter=MAX_ITERATIONS))
    _, counts = np.unique(labels, return_counts=True)
    folds = min(FOLDS, counts.min())
    if folds > 1:
        strengths = {"logisticregression__C": INVERSE_REGULARISATIONS}
        classifier = GridSearchCV(classifier, strengths, scoring="neg_log_loss", cv=StratifiedKFold(folds))
    return classifier.fit(features, labels).predict(test_features)


def bag_of_words(texts: Sequence[str], test_texts: Sequence[str]) -> tuple:
    """How often each word of a sample stands in its texts and in test texts, sparse `(texts, words)` both.

    Words stand between spaces; a word that the sample lacks is not counted.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(token_pattern=r"\S+")
    return counter.fit_transform(texts), counter.transform(test_texts)


def classification_scores(
    predictions: Sequence[int] | np.ndarray, references: Sequence[int] | np.ndarray
) -> dict[str, float]:
    """`accuracy`, and `f1` averaged over classes with equal weight (macro), as fractions."""
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(references, predictions)),
        "f1": float(f1_score(references, predictions, average="macro")),
    }
