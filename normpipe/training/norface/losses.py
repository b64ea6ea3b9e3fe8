"""The losses, each a function of tensors and nothing else.

Their forms follow the papers that stand with each; their weights are the training file's.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def known_error(read: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error over what is known.

    Args:
        read: (b, k).
        truth: (b, k), NaN where it is not known.

    Returns:
        (), 0 where nothing is known.
    """
    known = torch.isfinite(truth)
    error = (read - torch.nan_to_num(truth)) ** 2 * known
    return error.sum() / known.sum().clamp(min=1)


def covered_error(drawn: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error within a mask.

    Args:
        drawn: (b, c, h, w).
        wanted: (b, c, h, w).
        mask: (b, 1, h, w), 0 to 1.

    Returns:
        (), 0 where the mask is empty.
    """
    return ((drawn - wanted).abs() * mask).sum() / (mask.sum() * drawn.shape[1]).clamp(min=1)


def hidden_error(guessed: Tensor, pictures: Tensor, hidden: Tensor, patch: int) -> Tensor:
    """Mean squared error of guessed patches, each normalized to mean 0 and deviation 1, where they were hidden.

    Source: He et al., https://arxiv.org/abs/2111.06377, section 3 ("Reconstruction target").

    Args:
        guessed: (b, k, 3 * patch * patch).
        pictures: (b, 3, s, s).
        hidden: (b, k), 1 where a patch was hidden, 0 where it was seen.
        patch: Pixels along its side.
    """
    patches = functional.unfold(pictures, patch, stride=patch).transpose(1, 2)
    spread, middle = torch.std_mean(patches, dim=2, keepdim=True)
    error = ((guessed - (patches - middle) / (spread + 1e-3)) ** 2).mean(dim=2)
    return (error * hidden).sum() / hidden.sum().clamp(min=1)


def fooling(judged: Tensor) -> Tensor:
    """What a picture's maker loses by a discriminator's verdicts: the hinge form, https://arxiv.org/abs/1705.02894."""
    return -judged.mean()


def telling(judged_real: Tensor, judged_drawn: Tensor) -> Tensor:
    """What the discriminator loses: it shall say above 1 of real pictures and below -1 of drawn ones."""
    return functional.relu(1 - judged_real).mean() + functional.relu(1 + judged_drawn).mean()


def perceived_error(drawn: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared distance of two encodings (b, k, dim), each token of length 1; the own encoder's in place of VGG's."""
    difference: Tensor = functional.normalize(drawn, dim=2) - functional.normalize(wanted, dim=2)
    return difference.square().sum(dim=2).mean()


def identity_distance(drawn: Tensor, wanted: Tensor) -> Tensor:
    """One less the cosine of two embeddings (b, d)."""
    cosine: Tensor = functional.cosine_similarity(drawn, wanted, dim=1)
    return (1 - cosine).mean()


def mesh_error(seen: Tensor, wanted: Tensor) -> Tensor:
    """Mean distance of landmarks (b, 468, 2), each face moved and scaled to the other by its eyes' outer corners.

    Returns:
        () in distances of those corners.
    """
    distance: Tensor = torch.linalg.vector_norm(_in_eye_distances(seen) - _in_eye_distances(wanted), dim=2)
    return distance.mean()


def _in_eye_distances(points: Tensor) -> Tensor:
    right, left = points[:, 33], points[:, 263]
    middle, distance = (right + left) / 2, torch.linalg.vector_norm(left - right, dim=1)
    placed: Tensor = (points - middle[:, None]) / distance.clamp(min=1e-6)[:, None, None]
    return placed


def aperture_error(seen: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference of the openings of both eyes and the mouth, from landmarks (b, 468, 2), in eye distances."""
    return (_apertures(seen) - _apertures(wanted)).abs().mean()


def _apertures(points: Tensor) -> Tensor:
    placed = _in_eye_distances(points)
    upper, lower = placed[:, [159, 386, 13]], placed[:, [145, 374, 14]]
    opening: Tensor = torch.linalg.vector_norm(upper - lower, dim=2)
    return opening


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, force: float) -> Tensor:
        ctx.force = force  # type: ignore[attr-defined]  # a context takes any attribute
        return values.view_as(values)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.force * gradients[0], None  # type: ignore[attr-defined]


def reversed_gradient(values: Tensor, force: float) -> Tensor:
    """The same values; what is learnt behind is unlearnt before.

    Source: Ganin and Lempitsky, https://arxiv.org/abs/1409.7495.
    """
    reversed_values: Tensor = _Reversal.apply(values, force)  # type: ignore[no-untyped-call]  # torch gives it no types
    return reversed_values


def adversary(dim: int, people: int) -> nn.Sequential:
    """Guesses who a code (b, dim) is of: logits over the people of the training set."""
    return nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, people))
