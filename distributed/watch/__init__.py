"""How a run is doing, for whoever is not in its process."""
