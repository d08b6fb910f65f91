"""Whether a posterior has collapsed: one verdict for the training log, the report, the page and the card."""

from collections.abc import Mapping

MAX_ACTIVE_SHARE = 0.1
MAX_MI = 0.5
MAX_KL = 0.5
MAX_USE = 0.1
ZERO_KL = 0.01
"""Nats below which a KL is nothing. A scalar latent is held to it alone: all that it says may be below `MAX_KL`."""


def collapse_verdict(
    metrics: Mapping[str, float],
    latent_size: int,
    prefix: str = "eval",
    posterior: str = "",
    max_active_share: float = MAX_ACTIVE_SHARE,
    max_mi: float = MAX_MI,
    max_kl: float = MAX_KL,
    max_use: float = MAX_USE,
) -> tuple[bool, str]:
    """Whether the posterior has collapsed, and the signs of it in words.

    It has where few units are active, or mutual information and KL are both small, or the decoder takes nothing from
    the latent, whatever that holds. On the sphere of the posterior `vmf` units say nothing while there is information:
    a sharp one tells sentences apart by directions that are close.

    Args:
        metrics: `<prefix>_kl`, and where they are known `<prefix>_mi`, `<prefix>_au` and `<prefix>_use`; nats per
            sentence.
        latent_size: n.
        posterior: its family.
        max_active_share: at most this share of the units is few.
        max_mi, max_kl: at most so many nats are small.
        max_use: at most so many nats are nothing.
    """
    divergence = metrics[f"{prefix}_kl"]
    signs = f"KL {divergence:.2f} nats"
    collapsed = divergence <= max_kl
    if f"{prefix}_mi" in metrics:
        active, information = metrics[f"{prefix}_au"], metrics[f"{prefix}_mi"]
        few_units = active <= max_active_share * latent_size and not (posterior == "vmf" and information > max_mi)
        collapsed = few_units or (collapsed and information <= max_mi)
        shown = round(information, 2) + 0.0  # an estimate of nothing may be −0.00
        signs = f"{active} of {latent_size} units are active, MI {shown:.2f} and {signs}"
    if f"{prefix}_use" in metrics:
        taken = metrics[f"{prefix}_use"]
        signs += f", the decoder takes {round(taken, 2) + 0.0:.2f} nats from the latent"
        collapsed = collapsed or taken <= max_use
    return collapsed, signs
