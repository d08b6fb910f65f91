"""What a decoder may see, and what reaches it."""

import pytest
import torch
from transformers import AutoConfig

from hf_bnvae import BnVaeConfig, LstmLMConfig, LstmLMForCausalLM
from hf_bnvae.models.configuration_bnvae import DECODER_NAMES
from hf_bnvae.models.decoders import DECODERS, LstmDecoder

TINY = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 30}


def decoder_of(name, **settings):
    if name == "pretrained":
        settings["decoder_config"] = AutoConfig.for_model("llama", **TINY, initializer_range=0.3)
    config = BnVaeConfig(
        **{"vocab_size": 30, "embedding_size": 8, "hidden_size": 12, "latent_size": 3, "decoder": name} | settings
    )
    decoder = DECODERS[name](config).eval()
    if name == "pretrained":  # far enough from its start for z to be seen
        torch.nn.init.normal_(decoder.latent_to_words.weight, std=0.3)
    return decoder


OWN = [name for name in DECODER_NAMES if name != "pretrained"]


@pytest.mark.parametrize("name", DECODER_NAMES)
def test_no_decoder_sees_the_future_and_all_see_z(name):
    decoder = decoder_of(name)
    tokens, latents = torch.randint(4, 30, (2, 12)), torch.randn(2, 3)
    before, _ = decoder(tokens, latents)
    changed = tokens.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 30
    after, _ = decoder(changed, latents)
    torch.testing.assert_close(after[:, :7], before[:, :7])
    assert not torch.allclose(after[:, 7], before[:, 7])
    moved, _ = decoder(tokens, latents + 1)
    assert ((moved - before).abs().amax(-1) > 1e-4).all()


@pytest.mark.parametrize(("dilations", "kernel", "field"), [([1, 2, 4], 3, 15), ([1, 2, 4, 8, 16], 3, 63), ([1], 2, 2)])
def test_the_receptive_field_of_the_cnn_is_what_its_dilations_say(dilations, kernel, field):
    decoder = decoder_of("cnn", cnn_dilations=dilations, cnn_kernel_size=kernel)
    assert decoder.receptive_field == field
    vectors = []
    decoder.embedding.register_forward_hook(lambda module, inputs, output: vectors.append(output.requires_grad_()))
    length = field + 9
    # All ReLUs open, so that nothing that could reach the end is hidden.
    for module in decoder.modules():
        if isinstance(module, torch.nn.Conv1d):
            torch.nn.init.uniform_(module.weight, 0.01, 0.1)
            torch.nn.init.constant_(module.bias, 1.0)
    outputs, _ = decoder(torch.randint(4, 30, (1, length)), torch.randn(1, 3))
    (gradient,) = torch.autograd.grad(outputs[0, -1].sum(), vectors[0])
    seen = gradient[0].abs().sum(-1) > 0
    assert seen.tolist() == [False] * (length - field) + [True] * field


@pytest.mark.parametrize("name", DECODER_NAMES)
@pytest.mark.parametrize("piece", [1, 2, 5])
def test_reading_in_pieces_equals_reading_at_once(name, piece):
    decoder = decoder_of(name, cnn_dilations=[1, 2])
    tokens, latents = torch.randint(4, 30, (3, 20)), torch.randn(3, 3)
    whole, _ = decoder(tokens, latents)
    state, outputs = None, []
    for part in tokens.split(piece, 1):
        output, state = decoder(part, latents, state)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, 1), whole)
    assert state.get_seq_length() == 20


def test_the_skip_connection_reaches_every_step_whatever_the_lstm_does():
    decoder = decoder_of("skip_lstm")
    for parameter in decoder.lstm.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.zeros_(decoder.latent_to_cell.weight)
    latents = torch.randn(2, 3)
    outputs, _ = decoder(torch.randint(4, 30, (2, 6)), latents)
    expected = decoder.latent_to_output(latents).unsqueeze(1).expand(-1, 6, -1)
    torch.testing.assert_close(outputs, expected)


def test_the_language_model_is_the_decoder_with_no_latent():
    """With the weights that read z at 0, a VAE's decoder says what the language model says."""
    settings = {"vocab_size": 30, "embedding_size": 8, "hidden_size": 12}
    model = LstmLMForCausalLM(LstmLMConfig(**settings, initializer_range=0.5)).eval()
    decoder = LstmDecoder(BnVaeConfig(**settings, latent_size=3)).eval()
    with torch.no_grad():
        for mine, theirs in zip(decoder.lstm.parameters(), model.decoder.lstm.parameters(), strict=True):
            mine.zero_()
            mine[tuple(slice(size) for size in theirs.shape)] = theirs
        decoder.embedding.load_state_dict(model.decoder.embedding.state_dict())
        decoder.output.load_state_dict(model.decoder.output.state_dict())
        decoder.latent_to_cell.weight.zero_()
    tokens = torch.randint(4, 30, (2, 7))
    outputs, _ = decoder(tokens, torch.randn(2, 3))
    torch.testing.assert_close(decoder.logits(outputs), model(tokens).logits)


def test_a_language_model_takes_labels_shifted_or_not():
    model = LstmLMForCausalLM(LstmLMConfig(vocab_size=30, embedding_size=8, hidden_size=12)).eval()
    tokens = torch.randint(4, 30, (2, 7))
    assert torch.equal(model(tokens, labels=tokens).loss, model(tokens, labels=tokens[:, 1:]).loss)


@pytest.mark.parametrize("name", OWN)
def test_locked_dropout_drops_the_same_units_of_a_sentence_at_every_word(name):
    decoder = decoder_of(name, locked_dropout=True, output_dropout=0.5, embedding_dropout=0.0).train()
    tokens, latents = torch.randint(4, 30, (6, 9)), torch.randn(6, 3)
    seen = []
    decoder.output_dropout.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    outputs, _ = decoder(tokens, latents)
    (before, after) = seen[0]
    assert torch.equal(after, outputs)
    mask = torch.where(before.abs() > 0, after / before, torch.nan)
    for sentence in mask:
        for unit in sentence.T:
            kept = unit[~unit.isnan()]
            assert torch.allclose(kept, kept[:1]) and set(kept.round().tolist()) <= {0.0, 2.0}
    assert not torch.equal(mask[0].nan_to_num(), mask[1].nan_to_num())
    assert torch.equal(decoder.eval()(tokens, latents)[0], decoder(tokens, latents)[0])
