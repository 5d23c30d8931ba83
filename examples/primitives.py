"""Primitives from a script: sketch tensors, capture a network, score its features against responses."""

import torch

import gradkern

torch.manual_seed(0)
images = torch.randn(200, 3, 16, 16)
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(392, 10)
)
objective = gradkern.objectives.FeatureNorm()
features = gradkern.capture(model, images, objective, layers=["0", "3"], kinds=["activation", "weight_gradient"])
responses = model(images).detach() + 0.1 * torch.randn(200, 10)  # ten made-up voxels
for key, X in features.items():
    r = gradkern.cross_val_score(X, responses, cv=5)  # [folds, voxels], alphas chosen inside each training fold
    print(*key, tuple(X.shape), f"held-out r = {r.mean():.2f}")
print(gradkern.sketch(torch.randn(8, 197, 768), 1024).shape)  # NumPy and CuPy arrays work as well
