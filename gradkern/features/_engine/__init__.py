"""How a capture runs: hooks, rules for weights, fingerprints, controls of the gradient."""
