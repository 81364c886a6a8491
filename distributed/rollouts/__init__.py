"""Who plays, and where: nodes, actors, the weights that they are sent, the tasks that they play."""
