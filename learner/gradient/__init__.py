"""Adaptation by gradient steps: policies whose weights are per task, inner steps, the baseline, the trust region."""
