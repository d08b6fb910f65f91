"""How much of a known mutual information the metric `mi` sees, by the number of sentences that are judged.

    python benchmarks/mutual_information.py

The posteriors are drawn: n Gaussian means of a given variance with one σ, whose aggregate is Gaussian and whose
I(x; z) = n/2 · log(1 + variance/σ²) is known. This is the most that a posterior of these moments can hold. The metric
takes q(z) as the mixture of the N posteriors at hand, in which each sentence finds its own: it cannot pass log N, and
comes near the truth only far below it.
"""

import argparse
import math

import torch

from hf_bnvae.evaluation.inference import aggregate_log_prob
from hf_bnvae.models.distributions import DiagonalGaussian
from hf_bnvae.models.posteriors import MatchedPosterior

JUDGED = 2_000


def estimate(variance: float, spread: float, sentences: int, latent_size: int, seed: int) -> float:
    """The metric on drawn posteriors: the mean of log q(z|x) − log q(z) over the first sentences, in nats."""
    noise = torch.Generator().manual_seed(seed)
    means = variance**0.5 * torch.randn(sentences, latent_size, generator=noise)
    posterior = DiagonalGaussian(means, torch.full_like(means, 2 * math.log(spread)))
    latents = means[:JUDGED] + spread * torch.randn(means[:JUDGED].shape, generator=noise)
    own = DiagonalGaussian(means[:JUDGED], posterior.logvar[:JUDGED]).log_prob(latents.unsqueeze(1)).squeeze(1)
    return float((own.double() - aggregate_log_prob(posterior, latents)).mean())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latent_size", type=int, default=32, help="n")
    parser.add_argument("--sentences", type=int, nargs="+", default=[500, 2_000, 10_000, 100_000], help="N")
    parser.add_argument("--gamma", type=float, default=0.7, help="of BN-VAE, whose σ is 1")
    parser.add_argument("--rates", type=float, nargs="+", default=[4.0, 6.4, 8.0, 16.0], help="of the matched VAE")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    channels = {f"BN-VAE ({args.gamma:g})": (args.gamma**2, 1.0)}
    for rate in args.rates:
        variance = MatchedPosterior.value_at_rate(rate, args.latent_size) ** 2
        channels[f"matched VAE ({rate:g})"] = (variance, math.sqrt(1 - variance))
    print(f"{'N':<18}{'I(x; z)':>9}" + "".join(f"{n:>9,}" for n in args.sentences))
    print(f"{'log N':<27}" + "".join(f"{math.log(n):>9.2f}" for n in args.sentences))
    for name, (variance, spread) in channels.items():
        known = args.latent_size / 2 * math.log1p(variance / spread**2)
        found = (estimate(variance, spread, n, args.latent_size, args.seed) for n in args.sentences)
        print(f"{name:<18}{known:>9.2f}" + "".join(f"{value:>9.2f}" for value in found), flush=True)


if __name__ == "__main__":
    main()
