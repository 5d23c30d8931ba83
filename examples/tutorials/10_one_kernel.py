"""
One kernel beside plain torch
=============================

A Linear layer's weight gradient of one image is a sum of outer products over positions. Formed for every image of a
batch it takes images x outputs x inputs numbers. ``sketch_outer`` gives its sketch, which keeps inner products, and
never forms it.
"""

import time

import torch

import gradkern

torch.set_num_threads(1)

# %%
# Inputs ``a`` and gradients at the outputs ``g`` of one layer of a vision transformer: 8 images, 197 positions.

torch.manual_seed(0)
a = torch.randn(8, 197, 384)
g = torch.randn(8, 197, 384)
sketched = gradkern.sketch_outer(a, g, 1024)
print(sketched.shape)

# %%
# In plain torch
# --------------
#
# The same numbers: form every image's gradient, then sketch it. ``gradkern.kernels.reference`` has the definition of
# the map in a few lines of torch, which every kernel is tested against.

formed = torch.einsum("nto,ntp->nop", g, a)
print("formed:", tuple(formed.shape), f"{formed.nbytes / 1e6:.0f} MB; sketched: {sketched.nbytes / 1e6:.2f} MB")
plain = gradkern.kernels.reference.sketch(formed, 1024)
print("largest difference:", float((plain - sketched).abs().max() / sketched.abs().max()))

# %%
# What a sketch keeps
# -------------------
#
# Inner products between images, with an error of about 1 / sqrt(k) of the product of their norms. The map is fixed by
# its seed: the same on every device, for every batch and in every version.

flat = formed.flatten(1)
cosine = torch.nn.functional.cosine_similarity
errors = [
    cosine(sketched[i : i + 1], sketched[j : j + 1]) - cosine(flat[i : i + 1], flat[j : j + 1])
    for i in range(8)
    for j in range(i)
]
print(f"root mean square error of the cosines: {torch.cat(errors).square().mean().sqrt():.3f}; 1 / sqrt(1024) = 0.031")

# %%
# Time
# ----
#
# Beside the product that an ordinary backward pass computes, summed over the batch. These are single calls on the
# machine that built this page: for measurements see :doc:`/project/benchmarks`.


def milliseconds(call: object) -> float:
    rounds = []
    for _ in range(7):
        start = time.perf_counter()
        call()
        rounds.append(time.perf_counter() - start)
    return 1000 * sorted(rounds)[3]


print(f"summed over the batch  {milliseconds(lambda: g.flatten(0, 1).T @ a.flatten(0, 1)):6.1f} ms")
print(f"sketch_outer           {milliseconds(lambda: gradkern.sketch_outer(a, g, 1024)):6.1f} ms")
print(f"formed, then sketched  {milliseconds(lambda: gradkern.sketch(torch.bmm(g.mT, a), 1024)):6.1f} ms")

# %%
# NumPy arrays work as well, and come back as such. Linear maps have gradients: ``sketch`` can stand inside a model.

x = torch.randn(4, 1000, requires_grad=True)
gradkern.sketch(x, 256).square().sum().backward()
print(gradkern.sketch(x.detach().numpy(), 256).shape, x.grad.shape)
