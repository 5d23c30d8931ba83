"""Every objective, with a small model whose output has all that they read."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from gradkern import objectives
from gradkern.objectives import Output

N, SIZE, PATCH, DIM = 5, 16, 4, 6
PATCHES = (SIZE // PATCH) ** 2


class Model(nn.Module):
    """Gives every field of an Output, linear in the image's patches; has a teacher, a center and a mask token."""

    def __init__(self, seed: int = 0, with_teacher: bool = True) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.patch = torch.randn(3 * PATCH * PATCH, DIM, generator=g).double()
        self.token = torch.randn(DIM, generator=g).double()
        self.head = torch.randn(DIM, 7, generator=g).double()
        self.spec = SimpleNamespace(class_tokens=1, register_tokens=2, resolution=SIZE)
        self.network = SimpleNamespace(config=SimpleNamespace(patch_size=PATCH, mask_ratio=0.75))
        if with_teacher:
            self.teacher = Model(seed + 1, with_teacher=False)
            self.center = torch.randn(7, generator=g).double()

    def forward(self, images, bool_masked_pos=None, noise=None, query_embeds=None) -> Output:
        n = len(images)
        x = nn.functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2) @ self.patch
        if bool_masked_pos is not None:
            x = torch.where(bool_masked_pos[:, :, None], self.token, x)
        x = x.tanh() + 0.1 * x.mean(1, keepdim=True)
        tokens = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True), x.amin(1, keepdim=True), x], 1)
        mask = None if noise is None else (noise.argsort(1).argsort(1) >= PATCHES // 4).double()
        prediction = (x @ self.patch.T) if noise is None else (x * (1 - mask[:, :, None])) @ self.patch.T
        queries = None if query_embeds is None else x @ query_embeds.transpose(1, 2)
        logits = tokens[:, 0] @ self.head
        return Output(
            tokens[:, 0], logits, tokens, tokens[:, 0], logits, prediction, mask, queries, torch.zeros(n, PATCHES, 4)
        )


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


IMAGES = rand(N, 3, SIZE, SIZE, seed=9)
LABELS = torch.tensor([2, 0, 3, 1, 2])
TEXT, CONTEXT = rand(4, DIM, seed=1), rand(8, DIM, seed=2)
CONTEXT_LABELS, CONTEXT_INDEX = torch.tensor([0, 1, 2, 3, 0, 1, 2, 0]), torch.tensor([-1, 3, 0, -1, 9, 1, 2, 4])
OBJECTIVES = {
    "labels": objectives.CrossEntropy(LABELS),
    "soft labels": objectives.CrossEntropy(rand(N, 7).softmax(1)),
    "predicted class": objectives.CrossEntropy(),
    "entropy": objectives.Entropy(),
    "kl": objectives.KLToUniform(),
    "norm": objectives.FeatureNorm(),
    "distillation": objectives.SelfDistillation(views=3, seed=4),
    "cosine": objectives.SelfDistillationSurrogate(views=3),
    "surrogate ce": objectives.SelfDistillationSurrogate("cross-entropy"),
    "patches": objectives.MaskedPatchSurrogate(seed=2),
    "autoencoder": objectives.MaskedAutoencoder(),
    "raw autoencoder": objectives.MaskedAutoencoder(normalize=False),
    "clip": objectives.Contrastive(TEXT, LABELS, 7.0),
    "clip images": objectives.Contrastive(TEXT, LABELS, 7.0, CONTEXT, CONTEXT_LABELS),
    "clip all": objectives.Contrastive(TEXT, LABELS, 7.0, CONTEXT, CONTEXT_LABELS, CONTEXT_INDEX),
    "siglip": objectives.SigmoidContrastive(TEXT, LABELS),
    "detection": objectives.Detection(rand(3, DIM, seed=5)),
}
