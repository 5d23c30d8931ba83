"""Models, their objectives, and the capture of activations and gradients. Knows nothing of brains."""
