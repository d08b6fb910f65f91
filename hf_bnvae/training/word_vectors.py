"""Pretrained word vectors to start a training from."""

import numpy as np
import torch

from ..errors import ParameterError
from ..evaluation import WordVectors


def start_from_vectors(model, tokenizer, vectors: WordVectors) -> str:
    """Put known word vectors into those of a model's encoder and decoder; the others stay as they started.

    Returns:
        How many words were known, in one sentence.

    Raises:
        ParameterError: the vectors have another width than the model's.
    """
    width = vectors.matrix.shape[1]
    if width != model.config.embedding_size:
        raise ParameterError(
            f"`initial_word_vectors` {vectors.name} have {width} dimensions: use `embedding_size` {width} with them"
        )
    vocabulary = tokenizer.get_vocab()
    known = {number: vectors.rows[word] for word, number in vocabulary.items() if word in vectors.rows}
    rows = torch.from_numpy(np.ascontiguousarray(vectors.matrix[list(known.values())]))
    embeddings = {model.get_input_embeddings(), getattr(model.decoder, "embedding", None)} - {None}
    with torch.no_grad():
        for embedding in embeddings:
            embedding.weight[list(known)] = rows.to(embedding.weight)
    return f"{len(known):,} of {len(vocabulary):,} words start from {vectors.name}"
