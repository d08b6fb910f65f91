"""The encoder as a module of sentence-transformers, which the extra `sentence-transformers` installs."""

from typing import Any, cast

import torch
from sentence_transformers.base.modules import InputModule
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from .data.encoded_texts import encode_texts
from .model_with_tokenizer import where_from
from .models import BnVaeModel


class TextVaeModule(InputModule):
    """Posterior means as sentence embeddings, `(n, latent_size)`.

    Args:
        model: the encoder.
        tokenizer: its tokenizer.
        max_seq_length: texts are cut at so many tokens, both ends counted.

    Example:

        embedder = SentenceTransformer(modules=[TextVaeModule.from_pretrained("out")])
        vectors = embedder.encode(texts)
        embedder.save("embedder")  # and SentenceTransformer("embedder", trust_remote_code=True), with this package
    """

    save_in_root = False
    config_file_name = "text_vae_config.json"
    config_keys = ["max_seq_length"]
    modalities = ["text"]

    def __init__(self, model: BnVaeModel, tokenizer: PreTrainedTokenizerBase, max_seq_length: int = 512):
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.max_seq_length = max_seq_length

    @classmethod
    def from_pretrained(cls, name: str, max_seq_length: int = 512, **options) -> "TextVaeModule":
        """Load the encoder of a text VAE, and its tokenizer, from a folder or the Hub."""
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **where_from(options))
        return cls(BnVaeModel.from_pretrained(name, **options), tokenizer, max_seq_length)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> "TextVaeModule":  # type: ignore[override]
        where = {name: options.get(name) for name in ("token", "cache_folder", "revision")}
        local = options.get("local_files_only", False)
        config = cls.load_config(model_name_or_path, subfolder, local_files_only=local, **where)
        folder = cls.load_dir_path(model_name_or_path, subfolder, local_files_only=local, **where)
        return cls.from_pretrained(cast(str, folder), **config, **(options.get("model_kwargs") or {}))

    def save(self, output_path: str, *args, safe_serialization: bool = True, **kwargs) -> None:
        self.model.save_pretrained(output_path)
        self.save_tokenizer(output_path)
        self.save_config(output_path)

    def get_embedding_dimension(self) -> int:
        return self.model.config.latent_size

    def preprocess(self, inputs: Any, prompt: str | None = None, **kwargs) -> dict[str, torch.Tensor]:
        tokenizer = cast(PreTrainedTokenizerBase, self.tokenizer)
        rows, _ = encode_texts([(prompt or "") + text for text in inputs], tokenizer, self.max_seq_length)
        return dict(tokenizer.pad({"input_ids": rows}, padding_side="right", return_tensors="pt"))

    def forward(self, features: dict[str, torch.Tensor], **kwargs) -> dict[str, torch.Tensor]:
        posterior = self.model.infer(features["input_ids"], features["attention_mask"])
        return features | {"sentence_embedding": posterior.mean}
