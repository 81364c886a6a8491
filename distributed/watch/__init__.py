"""How a run is doing, seen from outside its process."""
